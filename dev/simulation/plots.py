"""A day of backlog and fleet under each policy, and the trade-off curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from dev.simulation.policies import CONTENDERS
from dev.simulation.report import packing_curve, window_curve
from dev.simulation.runs import VIDEOS_PER_WORKER, WINDOWS_S, Run
from dev.simulation.traces import DAY_S, HOUR_S, TRACES, make_trace
from dev.simulation.world import MAX_WORKERS, Outcome

SOURCE_COLOURS = {"database": "tab:red", "queue": "tab:orange", "cloudwatch": "tab:purple"}


def draw_all(
    folder: Path, outcomes: Mapping[Run, Outcome], trade_off_seeds: int, at_most_days: int | None = None
) -> list[Path]:
    """Draw one picture a trace and one of the trade-offs.

    Returns:
        The files, all PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for trace in TRACES:
        files.append(folder / f"{trace.replace(' ', '-')}.png")
        _save(_draw_day(trace, outcomes, at_most_days), files[-1])
    files.append(folder / "trade-off.png")
    _save(_draw_trade_off(outcomes, trade_off_seeds), files[-1])
    return files


def _save(figure: Figure, path: Path) -> None:
    # Without the program's version inside, the same figures give the same file.
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def _draw_day(name: str, outcomes: Mapping[Run, Outcome], at_most_days: int | None) -> Figure:
    trace = make_trace(name, 0, at_most_days)
    contenders = CONTENDERS[:-1]
    figure, axes = plt.subplots(
        len(contenders),
        1,
        sharex=True,
        sharey=True,
        figsize=(11, 1.7 * len(contenders)),
        layout="constrained",
    )
    for axis, contender in zip(axes, contenders, strict=True):
        day = [row for row in outcomes[Run(name, contender, 0)].series if row[0] < DAY_S]
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
        axis.set_title(contender, fontsize=9, loc="left")
        axis.set_ylim(0, MAX_WORKERS * 1.3)
    axes[0].legend(loc="upper right", ncols=6, fontsize=7, frameon=False)
    axes[-1].set_xlim(0, 24)
    axes[-1].set_xlabel("hour")
    figure.suptitle(f"{name[0].upper()}{name[1:]}: backlog and fleet, first day, first seed", fontsize=11)
    return figure


def _draw_trade_off(outcomes: Mapping[Run, Outcome], seeds: int) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    windows = window_curve(outcomes, seeds)
    left.plot(
        [row["cost"].mean for row in windows], [row["turns"].mean for row in windows], "o-", color="tab:blue"
    )
    for window_s, row in zip(WINDOWS_S, windows, strict=True):
        left.annotate(f"  {window_s} s", (row["cost"].mean, row["turns"].mean), fontsize=8)
    left.set_title("Protected: length of the calm window", fontsize=10)
    left.set_xlabel("instance-hours a work-hour")
    left.set_ylabel("direction changes an hour")
    left.margins(x=0.12)
    packing = packing_curve(outcomes, seeds)
    right.plot(
        [row["cost"].mean for row in packing],
        [row["wait_p95_min"].mean for row in packing],
        "o-",
        color="tab:green",
    )
    for videos, row in zip(VIDEOS_PER_WORKER, packing, strict=True):
        right.annotate(f"  {videos} a worker", (row["cost"].mean, row["wait_p95_min"].mean), fontsize=8)
    right.set_title("Unprotected: videos per worker", fontsize=10)
    right.set_xlabel("instance-hours a work-hour")
    right.set_ylabel("wait p95, min")
    right.margins(x=0.12)
    return figure
