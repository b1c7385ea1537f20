"""A day of backlog and fleet under some policies, and the trade-off curves."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from dev.simulation.fleet import MAX_WORKERS
from dev.simulation.goals import WAIT_MEAN_MIN, Summary
from dev.simulation.policies import DEFAULT, IDLE_AGENTS, RECLAIM
from dev.simulation.report import Setting, delay_figures, settings_figures
from dev.simulation.runs import Results, Run
from dev.simulation.traces import DAY_S, HOUR_S, TRACES, Trace, make_trace
from video_reclaim.scaling.records import Safety

SOURCES = {
    "database": ("tab:red", "database out"),
    "queue": ("tab:orange", "queue out"),
    "cloudwatch": ("tab:purple", "CloudWatch out"),
}
HIGHEST_AXIS = MAX_WORKERS * 1.3
GROUPS: tuple[tuple[Safety, str, str, tuple[float, float]], ...] = (
    ("protected", "o-", "tab:blue", (-6, -15)),
    ("hooked", "s:", "tab:green", (5.5, 2.5)),
)
"""In the trade-off: marker and line, colour, and where the values stand, in points from their marker."""

DRAWN: tuple[tuple[str, Safety], ...] = (
    (RECLAIM, "protected"),
    (RECLAIM, "hooked"),
    (RECLAIM, "unprotected"),
    ("platform, as deployed", "unprotected"),
    ("KEDA/HPA", "protected"),
    (IDLE_AGENTS, "unprotected"),
)


def draw_all(folder: Path, results: Results, at_most_days: int | None = None) -> list[Path]:
    """Draw one picture a trace and one of the trade-offs.

    Returns:
        The files, all PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for trace in TRACES:
        files.append(folder / f"{trace.replace(' ', '-')}.png")
        _save(_draw_day(make_trace(trace, 0, at_most_days), results), files[-1])
    files.append(folder / "trade-off.png")
    _save(_draw_trade_off(results), files[-1])
    return files


def _save(figure: Figure, path: Path) -> None:
    # Without the program's version inside, the same figures give the same file.
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def _draw_day(trace: Trace, results: Results) -> Figure:
    figure, axes = plt.subplots(
        len(DRAWN), 1, sharex=True, sharey=True, figsize=(11, 1.7 * len(DRAWN) + 0.4), layout="constrained"
    )
    days = [
        [row for row in results.outcomes[Run(trace.name, *drawn, 0)].series if row[0] < DAY_S]
        for drawn in DRAWN
    ]
    highest = max(max(row[1:]) for day in days for row in day)
    for axis, day, (contender, safety) in zip(axes, days, DRAWN, strict=True):
        _draw_fleet(axis, day, min(1.15 * highest, HIGHEST_AXIS))
        for source, from_s, to_s in trace.outages_s:
            if from_s < DAY_S:
                colour, label = SOURCES[source]
                axis.axvspan(from_s / HOUR_S, to_s / HOUR_S, color=colour, alpha=0.15, lw=0, label=label)
        axis.set_title(f"{contender}, {safety}", fontsize=9, loc="left")
    axes[-1].set_xlim(0, 24)
    axes[-1].xaxis.set_major_locator(MultipleLocator(4))
    axes[-1].yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[-1].set_xlabel("hour")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
    figure.suptitle(
        f"{trace.name[0].upper()}{trace.name[1:]}: backlog and fleet, first day, first seed", fontsize=11
    )
    return figure


def _draw_fleet(axis: Axes, day: list[tuple[float, int, int, int]], top: float) -> None:
    """Draw backlog and fleet. A backlog that is higher than the axis is cut, and its maximum printed."""
    hours = [row[0] / HOUR_S for row in day]
    backlog = [row[1] for row in day]
    axis.fill_between(hours, backlog, step="post", color="0.85", label="backlog")
    axis.step(hours, [row[3] for row in day], where="post", color="tab:blue", lw=1.2, label="instances")
    axis.step(hours, [row[2] for row in day], where="post", color="black", lw=0.8, ls=":", label="desired")
    axis.set_ylim(0, top)
    if max(backlog) > top:
        axis.set_title(f"backlog up to {max(backlog)}, cut at {top:g}", fontsize=9, loc="right")


def _draw_trade_off(results: Results) -> Figure:
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    *settings, last = axes.flat
    for axis, (varied, group) in zip(
        settings, groupby(settings_figures(results), lambda row: row[0]), strict=True
    ):
        _draw_setting(axis, varied, list(group))
        if axis is not settings[0]:
            axis.sharex(settings[0])
            axis.sharey(settings[0])
    handles, labels = settings[0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once, loc="outside lower center", ncols=len(once), fontsize=8)
    _draw_delays(last, delay_figures(results))
    return figure


def _draw_setting(axis: Axes, varied: str, rows: list[Setting]) -> None:
    """Draw the curve of one setting in each kind of group; one's values stand above it, the other's below."""
    for safety, style, colour, offset in GROUPS:
        points = [
            (found[safety]["over_clairvoyant"].value, found[safety]["wait_mean_min"].value)
            for *_, found in rows
        ]
        axis.plot(*zip(*points, strict=True), style, ms=4, lw=1, color=colour, label=safety)
        for point, (_, value, policy, _) in zip(points, rows, strict=True):
            if policy == DEFAULT:
                axis.plot(*point, "o", ms=9, mfc="none", mec="black", ls="none", label="default")
            axis.annotate(f"{value}", point, offset, textcoords="offset points", fontsize=8, color=colour)
    axis.axhline(WAIT_MEAN_MIN, color="0.6", lw=0.8, label="goal")
    axis.set_title(varied[0].upper() + varied[1:], fontsize=10)
    axis.set_xlabel("instance-hours, over those of the clairvoyant bound")
    axis.set_ylabel("mean wait, min")
    axis.margins(0.1)


def _draw_delays(axis: Axes, delays: list[tuple[float, Summary]]) -> None:
    ended = [summary["killed"] for _, summary in delays]
    axis.errorbar(
        [delay_s for delay_s, _ in delays],
        [one.value * 100 for one in ended],
        yerr=(
            [(one.value - one.low) * 100 for one in ended],
            [(one.high - one.value) * 100 for one in ended],
        ),
        fmt="o-",
        color="tab:red",
        capsize=3,
        lw=1,
    )
    axis.set_title("Unprotected: delay between measuring and ending", fontsize=10)
    axis.set_xlabel("delay, s")
    axis.set_ylabel("busy workers ended in 100 days")
    axis.set_ylim(bottom=0)
