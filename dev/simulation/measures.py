"""From runs to figures, pooled over the seeds, and the runs themselves, spread over processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np

from dev.simulation.bounds import Bound, clairvoyant
from dev.simulation.fleet import FleetSimulation
from dev.simulation.group import Outcome
from dev.simulation.policies import BLIND, DEFAULT, MAKERS, RECLAIM, Reclaim
from dev.simulation.traces import DAY_S, HOUR_S, MINUTE_S, OUTAGES, make_trace
from video_reclaim.scaling.records import Safety, Scaling


class Run(NamedTuple):
    """What ran on what, our own decision with ``settings``; without ``outage`` a trace of `OUTAGES` has none."""

    trace: str
    contender: str
    safety: Safety
    settings: Scaling = DEFAULT
    outage: bool = True


class Figures(NamedTuple):
    """What came of a run over all seeds; NaN where there is nothing to measure.

    Attributes:
        wait, cost: mean wait in minutes, and instance-hours per work-hour over those of the clairvoyant bound; each
            with half of its 95 % interval, by the seeds.
        drain: mean and 95th percentile of a burst's drain, minutes.
        killed: busy workers ended a day.
        rings: times a day that WorkersIdle is raised.
        instance_h: instance-hours a seed.
    """

    wait: tuple[float, float]
    drain: tuple[float, float]
    cost: tuple[float, float]
    killed: float
    rings: float
    instance_h: float


def summarize(outcomes: Sequence[Outcome], bounds: Sequence[Bound]) -> Figures:
    """Pool the runs of all seeds: a percentile is that of all of them, a rate a sum over a sum."""
    waits = [outcome.waits_s / MINUTE_S for outcome in outcomes]
    drains = np.concatenate([outcome.drains_s for outcome in outcomes]) / MINUTE_S
    length_s = sum(outcome.length_s for outcome in outcomes)
    spent, done = ([getattr(one, name) for one in outcomes] for name in ("instance_s", "work_s"))
    least, due = ([getattr(one, name) for one in bounds] for name in ("instance_s", "work_s"))
    by_seed = [a / b / (c / d) for a, b, c, d in zip(spent, done, least, due, strict=True)]
    nan = float("nan")
    return Figures(
        (float(np.concatenate(waits).mean()), _half_interval([float(one.mean()) for one in waits])),
        (float(drains.mean()), float(np.percentile(drains, 95))) if drains.size else (nan, nan),
        (sum(spent) / sum(done) / (sum(least) / sum(due)), _half_interval(by_seed)),
        sum(outcome.killed for outcome in outcomes) / length_s * DAY_S,
        sum(outcome.rung for outcome in outcomes) / length_s * DAY_S,
        sum(spent) / HOUR_S / len(outcomes),
    )


def _half_interval(values: Sequence[float]) -> float:
    return float(1.96 * np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def run_all(
    runs: Iterable[Run], *, seeds: int, processes: int, at_most_days: int | None = None
) -> dict[Run, Figures]:
    """Run everything with every seed. A trace is drawn once for all that run on it."""
    by_trace: dict[tuple[str, bool], list[Run]] = {}
    for run in dict.fromkeys(runs):
        by_trace.setdefault((run.trace, run.outage), []).append(run)
    tasks = [(runs, seed, at_most_days) for runs in by_trace.values() for seed in range(seeds)]
    outcomes: dict[Run, list[Outcome]] = {}
    bounds: dict[tuple[str, bool], list[Bound]] = {}
    # Spawned, not forked: the same on every system, and no threads of the parent's are copied.
    with get_context("spawn").Pool(processes) as pool:
        for done, bound in pool.imap(_work, tasks):
            for run, outcome in done:
                outcomes.setdefault(run, []).append(outcome)
            bounds.setdefault((done[0][0].trace, done[0][0].outage), []).append(bound)
    return {run: summarize(found, bounds[run.trace, run.outage]) for run, found in outcomes.items()}


def _work(task: tuple[list[Run], int, int | None]) -> tuple[list[tuple[Run, Outcome]], Bound]:
    runs, seed, at_most_days = task
    trace = make_trace(runs[0].trace, seed, at_most_days, outage=runs[0].outage)
    done = []
    for run in runs:
        makers = BLIND if run.trace in OUTAGES else MAKERS
        policy = Reclaim(run.settings) if run.contender == RECLAIM else makers[run.contender]()
        # Without failures of instances, what the outage cost is not hidden by chance.
        failures = run.trace not in OUTAGES
        done.append((run, FleetSimulation(trace, policy, run.safety, seed, failures=failures).run()))
    return done, clairvoyant(trace)
