"""What is compared, and the figures as Markdown in their place in the document."""

from collections.abc import Iterator

from msgspec.structs import replace

from dev.bench.report import table
from dev.simulation.fleet import SURVIVE
from dev.simulation.measures import Figures, Run
from dev.simulation.policies import BUILDKITE, DEFAULT, MAKERS, RECLAIM
from dev.simulation.traces import COMPARED, OUTAGES
from video_reclaim.scaling.records import Scaling

CURVE_TRACES = ("diurnal with bursts", "endless trickle", "phantom rows")
"""The mass upload is ruled by the group's maximum, the quiet week by its minimum, whatever the settings."""
UNPROTECTED_TRACES = (*CURVE_TRACES, "quiet week")
AWAY_POLICIES = (RECLAIM, BUILDKITE)
"""What is compared while the database is away."""
WAIT, COST = "mean wait, min", "cost"
_PAIRS = [f"{title}, {group}" for group in SURVIVE for title in (WAIT, COST)]

Found = dict[Run, Figures]


def curve() -> dict[str, Scaling]:
    """Give the settings of the trade-off by what is varied."""
    windows = {
        "short": ("peak_window_seconds", (1, 2, 5, 10)),
        "long": ("scale_in_window_seconds", (5, 10, 20, 40)),
    }
    varied = {f"spare workers: {value}": replace(DEFAULT, spare_workers=value) for value in range(4)}
    for name, (setting, minutes) in windows.items():
        varied |= {
            f"{name} window: {value} min": replace(DEFAULT, **{setting: 60 * value}) for value in minutes
        }
    return varied


def all_runs() -> Iterator[Run]:
    """Give every run of the document."""
    for trace in COMPARED:
        yield from (Run(trace, contender, safety) for contender in MAKERS for safety in SURVIVE)
    for trace in UNPROTECTED_TRACES:
        yield from (Run(trace, contender, "unprotected") for contender in MAKERS)
    for trace in CURVE_TRACES:
        yield from (
            Run(trace, RECLAIM, safety, settings) for settings in curve().values() for safety in SURVIVE
        )
    for trace in OUTAGES:
        yield from (Run(trace, policy, "hooked") for policy in AWAY_POLICIES)


def render(found: Found, seeds: int) -> str:
    """Write everything that the command prints."""
    parts = [
        f"{seeds} seeds; ± is half of the 95 % interval, by the seeds.",
        *("### Protected and hooked groups", _compared(found)),
        "### Unprotected groups",
        f"Over {', '.join(UNPROTECTED_TRACES)}, from the lowest to the highest.",
        _unprotected(found),
        *("### While the database is away", _outages(found)),
        *("### Settings", f"Over {', '.join(CURVE_TRACES)}. One setting is varied at a time.", _curve(found)),
    ]
    return "\n\n".join(parts)


def _compared(found: Found) -> str:
    rows = []
    for trace in COMPARED:
        for contender in MAKERS:
            runs = [found[Run(trace, contender, safety)] for safety in SURVIVE]
            pairs = [pair for run in runs for pair in (run.wait, run.cost)]
            rows.append([trace, contender, *(f"{value:.2f} ± {around:.2f}" for value, around in pairs)])
    return table(["trace", "policy", *_PAIRS], rows)


def _unprotected(found: Found) -> str:
    rows = []
    for contender in MAKERS:
        runs = [found[Run(trace, contender, "unprotected")] for trace in UNPROTECTED_TRACES]
        columns = zip(*((run.wait[0], run.cost[0], run.killed) for run in runs), strict=True)
        rows.append([contender, *(f"{min(column):.2f} to {max(column):.2f}" for column in columns)])
    return table(["policy", WAIT, COST, "busy ended a day"], rows)


def _outages(found: Found) -> str:
    rows = []
    for policy in AWAY_POLICIES:
        without, run = (found[Run(trace, policy, "hooked")] for trace in OUTAGES)
        extra_h = run.instance_h - without.instance_h
        rows.append([policy, f"{extra_h:.2f}", *(f"{minutes:.1f}" for minutes in run.drain)])
    return table(["policy", "extra instance-hours", "drain mean, min", "drain p95, min"], rows)


def _curve(found: Found) -> str:
    rows = []
    for name, settings in curve().items():
        row = [f"{name}{' (default)' if settings == DEFAULT else ''}"]
        for safety in SURVIVE:
            runs = [found[Run(trace, RECLAIM, safety, settings)] for trace in CURVE_TRACES]
            columns = zip(*((run.wait[0], run.cost[0]) for run in runs), strict=True)
            row += [f"{sum(column) / len(runs):.3f}" for column in columns]
        rows.append(row)
    return table(["varied", *_PAIRS], rows)
