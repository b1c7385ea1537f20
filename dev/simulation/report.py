"""The figures as Markdown, and their place in the document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from math import isnan
from pathlib import Path

from dev.simulation.fleet import SAFETIES
from dev.simulation.goals import MASS_UPLOAD, Find, Summary, Verdict, verdicts
from dev.simulation.measures import MEASURES, Interval, summarize
from dev.simulation.policies import DEFAULT, MAKERS, RECLAIM
from dev.simulation.queueing import Check
from dev.simulation.runs import (
    APPLY_AFTER_S,
    CURVE_SAFETIES,
    CURVE_TRACES,
    Results,
    Run,
    safeties_of,
    settings_curve,
)
from dev.simulation.traces import TRACES
from video_reclaim.scaling.records import Safety, Scaling

BEGIN = "<!-- written by make simulate: begin -->"
END = "<!-- written by make simulate: end -->"
IN_OVERVIEW = ("wait_mean_min", "over_clairvoyant", "killed", "rebalanced")


Setting = tuple[str, int, Scaling, dict[Safety, Summary]]
"""What is varied, its value, the policy, and the figures by group."""


def settings_figures(results: Results) -> list[Setting]:
    """Give the figures of each setting of the curve."""

    def figures(policy: Scaling, safety: Safety) -> Summary:
        return summarize(results.of(Run("", RECLAIM, safety, 0, policy), CURVE_TRACES, results.curve_seeds))

    return [
        (varied, value, policy, {safety: figures(policy, safety) for safety in CURVE_SAFETIES})
        for varied, value, policy in settings_curve()
    ]


def delay_figures(results: Results) -> list[tuple[float, Summary]]:
    """Give the figures of an unprotected group for each delay between measuring and the group's change."""
    return [
        (
            delay_s,
            summarize(
                results.of(
                    Run("", RECLAIM, "unprotected", 0, apply_after_s=delay_s), CURVE_TRACES, results.seeds
                )
            ),
        )
        for delay_s in APPLY_AFTER_S
    ]


def render(results: Results, checks: Sequence[Check]) -> str:
    """Write everything that the command prints."""

    @cache
    def find(trace: str, contender: str, safety: Safety) -> Summary:
        return summarize(results.of(Run(trace, contender, safety, 0), [trace], results.seeds))

    parts = [
        f"{results.seeds} seeds. Percentiles are those of all videos, or all bursts, of all seeds together. "
        "In brackets the 95 % confidence interval: a bootstrap over the seeds.",
        "### Goals",
        _goals(verdicts(find)),
    ]
    parts += [
        "### All traces",
        f"From the lowest to the highest figure of the traces; the mean wait without the {MASS_UPLOAD}.",
        _overview(find),
    ]
    for trace in TRACES:
        days = results.outcomes[Run(trace, RECLAIM, "protected", 0)].length_s / 86_400
        parts += [
            f"### {trace[0].upper()}{trace[1:]}, {days:.0f} {'day' if days == 1 else 'days'}",
            _bounds(results, trace),
            _table((name, find(trace, contender, safety)) for name, contender, safety in _contenders()),
        ]
    parts += [
        "### Trade-off: spare and windows",
        f"Over {', '.join(CURVE_TRACES)}; {results.curve_seeds} seeds. One setting is varied at a time.",
        _settings(settings_figures(results)),
        "### Delay between measuring and ending, unprotected",
        f"Over {', '.join(CURVE_TRACES)}; {results.seeds} seeds. The traces themselves draw 2 to 30 s.",
        _delays(delay_figures(results)),
        "### The queue against the closed form (M/M/c)",
        _checks(checks),
    ]
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


def _contenders() -> Iterator[tuple[str, str, Safety]]:
    """Give for each policy in each kind of group the name of its row, the policy and the kind."""
    for contender in MAKERS:
        safeties = safeties_of(contender)
        for safety in safeties:
            yield f"{contender}, {safety if len(safeties) > 1 else 'any group'}", contender, safety


def _goals(found: Iterable[Verdict]) -> str:
    def cell(verdict: Verdict, value: float | None) -> str:
        if value is None:
            return "-"
        if verdict.limit is None:
            return f"{value:.2f}"
        missed = verdict.misses(value)
        # Two digits, and more where rounding would hide that a limit is exceeded.
        text = f"{value:.2f}" if (round(value, 2) > verdict.limit) == missed else f"{value:.3g}"
        return f"**{text} missed**" if missed else f"{text} met"

    rows = []
    for verdict in found:
        cells = " | ".join(cell(verdict, value) for value in verdict.values)
        limit = " (no goal)" if verdict.limit is None else f" ≤ {verdict.limit:g}"
        best = "" if verdict.best is None else f" (always the maximum: {verdict.best:.1f})"
        rows.append(f"| {verdict.trace} | {verdict.goal}{limit}{best} | {cells} |")
    return "\n".join([_head(["trace", "goal", *SAFETIES]), *rows])


def _bounds(results: Results, trace: str) -> str:
    of_trace = [results.bounds[trace, seed] for seed in range(results.seeds)]
    work_s = sum(bound.work_s for bound in of_trace)
    clairvoyant = sum(bound.clairvoyant_s for bound in of_trace) / work_s
    blind = sum(bound.blind_s for bound in of_trace) / work_s
    return f"Instance-hours per work-hour of the bounds: clairvoyant {clairvoyant:.2f}, blind {blind:.2f}."


def _overview(find: Find) -> str:
    columns = [column for column in MEASURES if column.key in IN_OVERVIEW]
    lines = [_head(["policy, group", *(column.title for column in columns)])]
    for name, contender, safety in _contenders():
        cells = []
        for column in columns:
            traces = [trace for trace in TRACES if (column.key, trace) != ("wait_mean_min", MASS_UPLOAD)]
            figures = sorted(find(trace, contender, safety)[column.key].value for trace in traces)
            low, high = (f"{figure:.{column.digits}f}" for figure in (figures[0], figures[-1]))
            cells.append(low if low == high else f"{low} to {high}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(rows: Iterable[tuple[str, Summary]]) -> str:
    lines = [_head(["policy, group", *(column.title for column in MEASURES)])]
    for name, summary in rows:
        cells = (_cell(summary[column.key], column.digits) for column in MEASURES)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _head(titles: Sequence[str]) -> str:
    return f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|"


def _cell(interval: Interval, digits: int) -> str:
    if isnan(interval.value):
        return "none"
    value, low, high = (f"{number:.{digits}f}" for number in interval)
    return value if low == high else f"{value} [{low}, {high}]"


def _settings(rows: Iterable[Setting]) -> str:
    keys = (
        ("mean wait, min", "wait_mean_min", 2),
        ("cost / clairvoyant", "over_clairvoyant", 3),
        ("turns an hour", "turns", 2),
    )
    titles = [f"{title}, {safety}" for title, _, _ in keys for safety in CURVE_SAFETIES]
    lines = [_head(["varied", *titles])]
    for varied, value, policy, summaries in rows:
        default = " (default)" if policy == DEFAULT else ""
        cells = [
            _cell(summaries[safety][key], digits) for _, key, digits in keys for safety in CURVE_SAFETIES
        ]
        lines.append(f"| {varied}: {value}{default} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _delays(rows: Iterable[tuple[float, Summary]]) -> str:
    lines = [_head(["delay, s", "busy ended in 100 days by scale-in", "cost / blind bound"])]
    for delay_s, summary in rows:
        killed = Interval(*(value * 100 for value in summary["killed"]))
        lines.append(f"| {delay_s:g} | {_cell(killed, 1)} | {_cell(summary['over_blind'], 2)} |")
    return "\n".join(lines)


def _checks(checks: Sequence[Check]) -> str:
    lines = [_head(["figure", "closed form", "simulated, 99 % interval", "agrees"])]
    for item in checks:
        verdict = "yes" if item.agrees else "NO"
        lines.append(f"| {item.name} | {item.expected:.3f} | {_cell(item.simulated, 3)} | {verdict} |")
    return "\n".join(lines)
