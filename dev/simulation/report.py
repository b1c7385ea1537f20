"""The figures as Markdown, and their place in the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path

from dev.simulation.measures import MEASURES, Interval, measure, summarize
from dev.simulation.policies import CONTENDERS
from dev.simulation.queueing import Check
from dev.simulation.runs import PROTECTED, TRADE_OFF_TRACES, UNPROTECTED, VIDEOS_PER_WORKER, WINDOWS_S, Run
from dev.simulation.traces import TRACES
from dev.simulation.world import Outcome
from video_reclaim.scaling import Policy

BEGIN = "<!-- written by make simulate: begin -->"
END = "<!-- written by make simulate: end -->"

DRAIN_GOAL_MIN = 10.0
COST_GOALS = {PROTECTED: 1.4, UNPROTECTED: 2.0}
TURNS_GOAL = 1.5

Summary = dict[str, Interval]


def summaries(outcomes: Mapping[Run, Outcome], seeds: int) -> dict[tuple[str, str], Summary]:
    """Give the figures of each trace and contender, and of all traces together under the name ``all``."""
    found = {}
    for contender in CONTENDERS:
        for trace in TRACES:
            found[trace, contender] = summarize(
                measure([outcomes[Run(trace, contender, seed)]]) for seed in range(seeds)
            )
        found["all", contender] = summarize(
            measure([outcomes[Run(trace, contender, seed)] for trace in TRACES]) for seed in range(seeds)
        )
    return found


def curve(
    outcomes: Mapping[Run, Outcome],
    contender: str,
    policies: Sequence[Policy],
    seeds: int,
    traces: Sequence[str] = TRADE_OFF_TRACES,
) -> list[Summary]:
    """Give the figures for each setting, over these traces together."""
    return [
        summarize(
            measure([outcomes[Run(trace, contender, seed, policy)] for trace in traces])
            for seed in range(seeds)
        )
        for policy in policies
    ]


def window_curve(
    outcomes: Mapping[Run, Outcome], seeds: int, traces: Sequence[str] = TRADE_OFF_TRACES
) -> list[Summary]:
    """Give the protected figures for each window of ``WINDOWS_S``."""
    policies = [Policy(scale_in_window_s=window_s) for window_s in WINDOWS_S]
    return curve(outcomes, PROTECTED, policies, seeds, traces)


def packing_curve(outcomes: Mapping[Run, Outcome], seeds: int) -> list[Summary]:
    """Give the unprotected figures for each of ``VIDEOS_PER_WORKER``."""
    return curve(
        outcomes, UNPROTECTED, [Policy(videos_per_worker=videos) for videos in VIDEOS_PER_WORKER], seeds
    )


def render(outcomes: Mapping[Run, Outcome], checks: Sequence[Check], seeds: int, trade_off_seeds: int) -> str:
    """Write everything that the command prints."""
    found = summaries(outcomes, seeds)
    parts = [
        f"Means over {seeds} seeds, with 95 % confidence intervals (bootstrap over the seeds) in brackets.",
        "### Goals",
        *_goals(found),
    ]
    for trace in TRACES:
        days = outcomes[Run(trace, PROTECTED, 0)].length_s / 86_400
        parts += [f"### {trace[0].upper()}{trace[1:]}, {days:.0f} {'day' if days == 1 else 'days'}"]
        parts += [_table(trace, found)]
    parts += ["### All traces together", _table("all", found)]
    parts += ["### Trade-off: length of the calm window, protected", _windows(outcomes, trade_off_seeds)]
    parts += ["### Trade-off: videos per worker, unprotected", _packing(outcomes, trade_off_seeds)]
    parts += ["### The queue against the closed form (M/M/c)", _checks(checks)]
    return "\n\n".join(parts) + "\n"


def insert(document: str, text: str) -> str:
    """Put the text between the document's markers.

    Raises:
        ValueError: The document lacks a marker.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def write(path: Path, text: str) -> None:
    """Put the text into the document at this path.

    Raises:
        ValueError: The document lacks a marker.
    """
    path.write_text(insert(path.read_text(encoding="utf-8"), text), encoding="utf-8")


def _goals(found: Mapping[tuple[str, str], Summary]) -> list[str]:
    columns = [*TRACES, "all"]
    lines = [f"| goal | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for contender, cost_goal in COST_GOALS.items():
        mode = contender.rpartition(", ")[2]
        for key, goal, title in (
            ("drain_p95_min", DRAIN_GOAL_MIN, f"drain p95 ≤ {DRAIN_GOAL_MIN:.0f} min"),
            ("cost", cost_goal, f"instance-hours a work-hour ≤ {cost_goal}"),
            ("killed", 0.0, "busy workers killed = 0"),
            ("turns", TURNS_GOAL, f"direction changes an hour ≤ {TURNS_GOAL}"),
        ):
            cells = []
            for trace in columns:
                value = found[trace, contender][key].mean
                best = _best_possible(found, trace, key)
                digits = 1 if key == "drain_p95_min" else 2
                floor = "" if best is None else f" (best possible {best:.{digits}f})"
                if isnan(value):
                    cells.append("no burst")
                elif value <= goal:
                    cells.append(f"{value:.{digits}f}")
                else:
                    cells.append(f"**{value:.{digits}f}, not met**{floor}")
            lines.append(f"| {mode}: {title} | {' | '.join(cells)} |")
    return [
        "\n".join(lines),
        "Best possible: for drains, the maximum running all the time; for instance-hours, in hindsight, "
        "the busy workers alone, or the group's minimum when fewer are busy.",
    ]


def _best_possible(found: Mapping[tuple[str, str], Summary], trace: str, key: str) -> float | None:
    ceiling = found[trace, CONTENDERS[-1]]
    if key == "drain_p95_min":
        return ceiling["drain_p95_min"].mean
    return ceiling["floor"].mean if key == "cost" else None


def _table(trace: str, found: Mapping[tuple[str, str], Summary]) -> str:
    lines = [
        f"| policy | {' | '.join(column.title for column in MEASURES)} |",
        "|---" * (len(MEASURES) + 1) + "|",
    ]
    for contender in CONTENDERS:
        summary = found[trace, contender]
        cells = (_cell(summary[column.key], column.digits) for column in MEASURES)
        lines.append(f"| {contender} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(interval: Interval, digits: int) -> str:
    if isnan(interval.mean):
        return "none"
    mean, low, high = (f"{value:.{digits}f}" for value in interval)
    return mean if low == high else f"{mean} [{low}, {high}]"


def _windows(outcomes: Mapping[Run, Outcome], seeds: int) -> str:
    lines = [
        f"Over {', '.join(TRADE_OFF_TRACES)}; {seeds} seeds.",
        "",
        "| window, s | drain p95, min | instance-hours a work-hour | direction changes an hour "
        "| the same, on the endless trickle alone |",
        "|---|---|---|---|---|",
    ]
    everywhere = window_curve(outcomes, seeds)
    trickle = window_curve(outcomes, seeds, ["endless trickle"])
    for window_s, summary, restless in zip(WINDOWS_S, everywhere, trickle, strict=True):
        default = " (default)" if window_s == Policy().scale_in_window_s else ""
        lines.append(
            f"| {window_s}{default} | {_cell(summary['drain_p95_min'], 1)} | {_cell(summary['cost'], 2)} "
            f"| {_cell(summary['turns'], 2)} | {_cell(restless['turns'], 2)} |"
        )
    return "\n".join(lines)


def _packing(outcomes: Mapping[Run, Outcome], seeds: int) -> str:
    lines = [
        f"Over {', '.join(TRADE_OFF_TRACES)}; {seeds} seeds. A worker still encodes one video at a time: "
        "more of them per worker means a smaller fleet and a longer wait.",
        "",
        "| videos per worker | wait p95, min | drain p95, min | instance-hours a work-hour |",
        "|---|---|---|---|",
    ]
    for videos, summary in zip(VIDEOS_PER_WORKER, packing_curve(outcomes, seeds), strict=True):
        default = " (default)" if videos == Policy().videos_per_worker else ""
        lines.append(
            f"| {videos}{default} | {_cell(summary['wait_p95_min'], 1)} "
            f"| {_cell(summary['drain_p95_min'], 1)} | {_cell(summary['cost'], 2)} |"
        )
    return "\n".join(lines)


def _checks(checks: Sequence[Check]) -> str:
    lines = ["| figure | closed form | simulated, 99 % interval | agrees |", "|---|---|---|---|"]
    for item in checks:
        verdict = "yes" if item.agrees else "NO"
        lines.append(f"| {item.name} | {item.expected:.3f} | {_cell(item.simulated, 3)} | {verdict} |")
    return "\n".join(lines)
