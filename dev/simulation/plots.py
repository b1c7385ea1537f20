"""A day of backlog and fleet under some policies, and the trade-off curves."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from dev.simulation.fleet import MAX_WORKERS
from dev.simulation.goals import WAIT_MEAN_MIN
from dev.simulation.policies import DEFAULT, IDLE_AGENTS, RECLAIM
from dev.simulation.report import delay_figures, settings_figures
from dev.simulation.runs import Results, Run
from dev.simulation.traces import DAY_S, HOUR_S, TRACES, Trace, make_trace
from video_reclaim.scaling.records import Safety

SOURCE_COLOURS = {"database": "tab:red", "queue": "tab:orange", "cloudwatch": "tab:purple"}
COLOURS = {"spare workers": "tab:blue", "short window, min": "tab:green", "long window, min": "tab:purple"}
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
        len(DRAWN), 1, sharex=True, sharey=True, figsize=(11, 1.7 * len(DRAWN)), layout="constrained"
    )
    for axis, (contender, safety) in zip(axes, DRAWN, strict=True):
        day = [
            row for row in results.outcomes[Run(trace.name, contender, safety, 0)].series if row[0] < DAY_S
        ]
        hours = [row[0] / HOUR_S for row in day]
        axis.fill_between(hours, [row[1] for row in day], step="post", color="0.85", label="backlog")
        axis.step(hours, [row[3] for row in day], where="post", color="tab:blue", lw=1.2, label="instances")
        axis.step(
            hours, [row[2] for row in day], where="post", color="black", lw=0.8, ls=":", label="desired"
        )
        for source, from_s, to_s in trace.outages_s:
            if from_s < DAY_S:
                axis.axvspan(
                    from_s / HOUR_S,
                    to_s / HOUR_S,
                    color=SOURCE_COLOURS[source],
                    alpha=0.15,
                    lw=0,
                    label=f"{source} out",
                )
        axis.set_title(f"{contender}, {safety}", fontsize=9, loc="left")
        axis.set_ylim(0, MAX_WORKERS * 1.3)
    axes[0].legend(loc="upper right", ncols=6, fontsize=7, frameon=False)
    axes[-1].set_xlim(0, 24)
    axes[-1].set_xlabel("hour")
    figure.suptitle(
        f"{trace.name[0].upper()}{trace.name[1:]}: backlog and fleet, first day, first seed", fontsize=11
    )
    return figure


def _draw_trade_off(results: Results) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for varied, group in groupby(settings_figures(results), key=lambda row: row[0]):
        rows = list(group)
        colour = COLOURS[varied]
        for safety, style in (("protected", "o-"), ("hooked", "s:")):
            points = [
                (found[safety]["over_clairvoyant"].value, found[safety]["wait_mean_min"].value)  # type: ignore[index]
                for *_, found in rows
            ]
            left.plot(
                *zip(*points, strict=True), style, ms=4, lw=1, color=colour, label=f"{varied}, {safety}"
            )
            for (cost, wait), (_, value, policy, _) in zip(points, rows, strict=True):
                if policy == DEFAULT:
                    left.plot([cost], [wait], "o", ms=9, mfc="none", mec="black")
                else:
                    left.annotate(f"  {value}", (cost, wait), fontsize=8, color=colour)
    left.axhline(WAIT_MEAN_MIN, color="0.6", lw=0.8)
    left.set_title("Spare and windows (circles: default; grey: goal)", fontsize=10)
    left.set_xlabel("instance-hours, over those of the clairvoyant bound")
    left.set_ylabel("mean wait, min")
    left.margins(x=0.08)
    left.legend(fontsize=7, frameon=False)
    delays = delay_figures(results)
    ended = [summary["killed"] for _, summary in delays]
    right.errorbar(
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
    right.set_title("Unprotected: delay between measuring and ending", fontsize=10)
    right.set_xlabel("delay, s")
    right.set_ylabel("busy workers ended in 100 days")
    right.set_ylim(bottom=0)
    return figure
