"""What is compared, and the figures as Markdown in their place in the document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path

from msgspec.structs import replace

from dev.simulation.group import SAFETIES
from dev.simulation.measures import Figures, Run
from dev.simulation.policies import BLIND, DEFAULT, MAKERS, RECLAIM
from dev.simulation.traces import OUTAGES, TRACES
from video_reclaim.scaling.records import Scaling

BEGIN, END = "<!-- written by make simulate: begin -->", "<!-- written by make simulate: end -->"
COMPARED = [trace for trace in TRACES if trace not in OUTAGES]
CURVE_TRACES = ("diurnal with bursts", "endless trickle", "phantom rows")
"""The mass upload is ruled by the group's maximum, the quiet week by its minimum, whatever the settings."""
UNPROTECTED_TRACES = ("diurnal with bursts", "endless trickle", "phantom rows", "quiet week")
SURVIVE = SAFETIES[:2]


def curve() -> list[tuple[str, Scaling]]:
    """Give the settings of the trade-off: what is varied, and all of them."""
    return [
        *((f"spare workers: {value}", replace(DEFAULT, spare_workers=value)) for value in (0, 1, 2, 3)),
        *(
            (f"short window: {value} min", replace(DEFAULT, peak_window_seconds=60 * value))
            for value in (1, 2, 5, 10)
        ),
        *(
            (f"long window: {value} min", replace(DEFAULT, scale_in_window_seconds=60 * value))
            for value in (5, 10, 20, 40)
        ),
    ]


def all_runs() -> Iterator[Run]:
    """Give every run of the document."""
    for trace in COMPARED:
        yield from (Run(trace, contender, safety) for contender in MAKERS for safety in SURVIVE)
    for trace in UNPROTECTED_TRACES:
        yield from (Run(trace, contender, "unprotected") for contender in MAKERS)
    for trace in CURVE_TRACES:
        yield from (Run(trace, RECLAIM, safety, settings) for _, settings in curve() for safety in SURVIVE)
    for trace in OUTAGES:
        yield from (Run(trace, rule, "hooked", outage=outage) for rule in BLIND for outage in (True, False))


Found = dict[Run, Figures]


def render(found: Found, seeds: int) -> str:
    """Write everything that the command prints."""
    parts = [
        f"{seeds} seeds; ± is half of the 95 % interval, by the seeds.",
        *("### Protected and hooked groups", _compared(found)),
        *("### Unprotected groups", _unprotected(found)),
        *("### While the database is away", _outages(found)),
        *("### Settings", f"Over {', '.join(CURVE_TRACES)}. One setting is varied at a time.", _curve(found)),
        *("### How often WorkersIdle rings", _rings(found)),
    ]
    return "\n\n".join(parts) + "\n"


def write(path: Path, text: str) -> None:
    """Put the text between the markers of the document.

    Raises:
        ValueError: the document lacks a marker.
    """
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document needs the lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _table(titles: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (titles, *rows)]
    return "\n".join([lines[0], "|---" * len(titles) + "|", *lines[1:]])


def _number(value: float, digits: int = 2) -> str:
    return "-" if isnan(value) else f"{value:.{digits}f}"


def _with_interval(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.2f} ± {pair[1]:.2f}"


def _compared(found: Found) -> str:
    rows = [
        [
            *(trace, contender),
            *(
                text
                for figures in (found[Run(trace, contender, safety)] for safety in SURVIVE)
                for text in (_with_interval(figures.wait), _with_interval(figures.cost))
            ),
            _number(found[Run(trace, contender, "hooked")].drain[1], 1),
        ]
        for trace in COMPARED
        for contender in MAKERS
    ]
    titles = [f"{title}, {safety}" for safety in SURVIVE for title in ("mean wait, min", "cost")]
    return _table(["trace", "policy", *titles, "drain p95, min, hooked"], rows)


def _unprotected(found: Found) -> str:
    rows = []
    for contender in MAKERS:
        runs = [found[Run(trace, contender, "unprotected")] for trace in UNPROTECTED_TRACES]
        columns: list[list[float]] = [
            [one.wait[0] for one in runs],
            [one.cost[0] for one in runs],
            [one.killed for one in runs],
        ]
        rows.append([contender, *(f"{min(column):.2f} to {max(column):.2f}" for column in columns)])
    return f"Over {', '.join(UNPROTECTED_TRACES)}, from the lowest to the highest.\n\n" + _table(
        ["policy", "mean wait, min", "cost", "busy ended a day"], rows
    )


def _outages(found: Found) -> str:
    rows = []
    for rule in BLIND:
        row = [rule]
        for trace in OUTAGES:
            with_it, without = (found[Run(trace, rule, "hooked", outage=outage)] for outage in (True, False))
            row += [
                _number(with_it.instance_h - without.instance_h),
                *(_number(one, 1) for one in with_it.drain),
            ]
        rows.append(row)
    titles = [
        f"{title}, {'alone' if 'alone' in trace else 'everybody'}"
        for trace in OUTAGES
        for title in ("extra instance-hours", "drain mean, min", "drain p95, min")
    ]
    return _table(["rule meanwhile", *titles], rows)


def _curve(found: Found) -> str:
    rows = []
    for name, settings in curve():
        row = [f"{name}{' (default)' if settings == DEFAULT else ''}"]
        for safety in SURVIVE:
            runs = [found[Run(trace, RECLAIM, safety, settings)] for trace in CURVE_TRACES]
            figures = ([one.wait[0] for one in runs], [one.cost[0] for one in runs])
            row += [f"{sum(values) / len(values):.3f}" for values in figures]
        rows.append(row)
    titles = [f"{title}, {safety}" for safety in SURVIVE for title in ("mean wait, min", "cost")]
    return _table(["varied", *titles], rows)


def _rings(found: Found) -> str:
    rows = [
        [trace, *(_number(found[Run(trace, RECLAIM, safety)].rings) for safety in SURVIVE)]
        for trace in COMPARED
    ]
    return _table(["trace", *(f"times a day, {safety}" for safety in SURVIVE)], rows)
