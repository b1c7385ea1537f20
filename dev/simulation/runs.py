"""All runs, spread over processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from multiprocessing import get_context
from typing import NamedTuple

from msgspec.structs import replace as varied

from dev.simulation.bounds import Bounds, bounds
from dev.simulation.fleet import FleetSimulation
from dev.simulation.group import SAFETIES
from dev.simulation.measures import SeedRuns
from dev.simulation.outcome import Outcome
from dev.simulation.policies import DEFAULT, IDLE_AGENTS, MAKERS, MAXIMUM, RECLAIM, Reclaim
from dev.simulation.traces import TRACES, make_trace
from video_reclaim.scaling.records import Safety, Scaling

SPARES = (0, 1, 2, 3, 4)
SHORT_MINUTES = (2, 5, 10, 20)
LONG_MINUTES = (5, 10, 20, 40, 60)
APPLY_AFTER_S = (0.0, 5.0, 15.0, 30.0, 60.0, 120.0)
CURVE_TRACES = ("diurnal with bursts", "endless trickle", "phantom rows")
"""The mass upload is ruled by the group's maximum, the quiet week by its minimum, whatever the settings."""

CURVE_SAFETIES: tuple[Safety, ...] = ("protected", "hooked")
"""An unprotected group shrinks only at a moment without work, whatever the settings."""


class Run(NamedTuple):
    """One run's name.

    Attributes:
        trace, contender, safety, seed: What ran on what.
        policy: The settings, for our own decision.
        apply_after_s: From measuring to the group's change; None: as the trace has drawn it.
    """

    trace: str
    contender: str
    safety: Safety
    seed: int
    policy: Scaling = DEFAULT
    apply_after_s: float | None = None


class Results(NamedTuple):
    """All runs and the bounds of all traces.

    Attributes:
        outcomes: What came of each run.
        bounds: Those of each trace by name and seed.
        seeds, curve_seeds: How many seeds the comparison has, and the curves of settings.
    """

    outcomes: dict[Run, Outcome]
    bounds: dict[tuple[str, int], Bounds]
    seeds: int
    curve_seeds: int

    def of(self, run: Run, traces: Sequence[str], seeds: int) -> list[SeedRuns]:
        """Give the runs like this one on these traces, by seed."""
        return [
            SeedRuns(
                tuple(self.outcomes[run._replace(trace=trace, seed=seed)] for trace in traces),
                tuple(self.bounds[trace, seed] for trace in traces),
            )
            for seed in range(seeds)
        ]


def safeties_of(contender: str) -> tuple[Safety, ...]:
    """Give the kinds of group that make a difference: one where nothing is ever scaled in by the group."""
    return ("unprotected",) if contender in (IDLE_AGENTS, MAXIMUM) else SAFETIES


def settings_curve() -> list[tuple[str, int, Scaling]]:
    """Give the settings of the trade-off curve: what is varied, its value, the policy."""
    return (
        [("spare workers", value, varied(DEFAULT, spare_workers=value)) for value in SPARES]
        + [
            ("short window, min", value, varied(DEFAULT, peak_window_seconds=60 * value))
            for value in SHORT_MINUTES
        ]
        + [
            ("long window, min", value, varied(DEFAULT, scale_in_window_seconds=60 * value))
            for value in LONG_MINUTES
        ]
    )


def all_runs(seeds: int, curve_seeds: int, *, processes: int, at_most_days: int | None = None) -> Results:
    """Run every contender on every trace with every seed, and our decision with other settings and delays.

    Args:
        seeds: How many seeds the comparison and the curve of delays have.
        curve_seeds: How many of them the curve of settings uses.
        processes: How many processes to spread the work over.
        at_most_days: Cuts the traces.
    """
    tasks = [
        (_runs_on(trace, seed, with_settings=seed < curve_seeds), at_most_days)
        for trace in TRACES
        for seed in range(seeds)
    ]
    outcomes: dict[Run, Outcome] = {}
    limits: dict[tuple[str, int], Bounds] = {}
    if processes == 1:
        _collect(map(_work, tasks), outcomes, limits)
    else:
        # Spawned, not forked: the same on every system, and no threads of the parent's are copied.
        with get_context("spawn").Pool(processes) as pool:
            _collect(pool.imap_unordered(_work, tasks), outcomes, limits)
    return Results(outcomes, limits, seeds, curve_seeds)


def _runs_on(trace: str, seed: int, *, with_settings: bool) -> list[Run]:
    runs = [Run(trace, contender, safety, seed) for contender in MAKERS for safety in safeties_of(contender)]
    if trace in CURVE_TRACES:
        runs += [Run(trace, RECLAIM, "unprotected", seed, apply_after_s=delay_s) for delay_s in APPLY_AFTER_S]
        if with_settings:
            runs += [
                Run(trace, RECLAIM, safety, seed, policy)
                for safety in CURVE_SAFETIES
                for _, _, policy in settings_curve()
            ]
    return list(dict.fromkeys(runs))


_Done = tuple[list[tuple[Run, Outcome]], Bounds]


def _work(task: tuple[list[Run], int | None]) -> _Done:
    runs, at_most_days = task
    trace = make_trace(runs[0].trace, runs[0].seed, at_most_days)
    done = []
    for run in runs:
        policy = Reclaim(run.policy) if run.contender == RECLAIM else MAKERS[run.contender]()
        given = trace
        if run.apply_after_s is not None:
            given = replace(
                trace, runs=tuple(one._replace(apply_after_s=run.apply_after_s) for one in trace.runs)
            )
        drawn = run == Run(run.trace, run.contender, run.safety, 0)
        done.append((run, FleetSimulation(given, policy, run.safety, run.seed, record=drawn).run()))
    return done, bounds(trace)


def _collect(
    done: Iterable[_Done], outcomes: dict[Run, Outcome], limits: dict[tuple[str, int], Bounds]
) -> None:
    for found, bound in done:
        outcomes.update(found)
        limits[found[0][0].trace, found[0][0].seed] = bound
