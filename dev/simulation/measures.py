"""From runs to figures, pooled over the seeds, and the runs themselves, spread over processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from math import inf, nan
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np

from dev.simulation.bounds import Bound, clairvoyant
from dev.simulation.fleet import FleetSimulation
from dev.simulation.group import Outcome
from dev.simulation.policies import (
    BLIND,
    DEFAULT,
    IDLE_AGENTS,
    IDLE_S,
    MAKERS,
    RECLAIM,
    ScalingPolicy,
    reclaim,
)
from dev.simulation.traces import DAY_S, HOUR_S, MINUTE_S, OUTAGES, Trace, make_trace
from video_reclaim.scaling.records import Safety, Scaling


class Run(NamedTuple):
    """What ran on what, our own decision with ``settings``."""

    trace: str
    contender: str
    safety: Safety
    settings: Scaling = DEFAULT


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
    days = sum(outcome.length_s for outcome in outcomes) / DAY_S
    spent, done = ([getattr(one, name) for one in outcomes] for name in ("instance_s", "work_s"))
    least, due = ([getattr(one, name) for one in bounds] for name in ("instance_s", "work_s"))
    by_seed = [a / b / (c / d) for a, b, c, d in zip(spent, done, least, due, strict=True)]
    return Figures(
        (float(np.concatenate(waits).mean()), _half_interval([float(one.mean()) for one in waits])),
        (float(drains.mean()), float(np.percentile(drains, 95))) if drains.size else (nan, nan),
        (sum(spent) / sum(done) / (sum(least) / sum(due)), _half_interval(by_seed)),
        sum(outcome.killed for outcome in outcomes) / days,
        sum(outcome.rung for outcome in outcomes) / days,
        sum(spent) / HOUR_S / len(outcomes),
    )


def _half_interval(values: Sequence[float]) -> float:
    return float(1.96 * np.std(values, ddof=1) / len(values) ** 0.5)


def run_all(runs: Iterable[Run], *, seeds: int, at_most_days: int | None = None) -> dict[Run, Figures]:
    """Run everything with at least two seeds. A trace is drawn once for all that run on it."""
    by_trace: dict[str, list[Run]] = {}
    for run in dict.fromkeys(runs):
        by_trace.setdefault(run.trace, []).append(run)
    tasks = [(of_trace, seed, at_most_days) for of_trace in by_trace.values() for seed in range(seeds)]
    # Spawned, not forked: the same on every system, and no threads of the parent's are copied.
    with get_context("spawn").Pool() as pool:
        found = pool.starmap(_work, tasks, chunksize=1)
    figures: dict[Run, Figures] = {}
    for number, of_trace in enumerate(by_trace.values()):
        by_seed = found[number * seeds : (number + 1) * seeds]
        bounds = [bound for _, bound in by_seed]
        for run, outcomes in zip(of_trace, zip(*(done for done, _ in by_seed), strict=True), strict=True):
            figures[run] = summarize(outcomes, bounds)
    return figures


def _work(runs: list[Run], seed: int, at_most_days: int | None) -> tuple[list[Outcome], Bound]:
    trace = make_trace(runs[0].trace, seed, at_most_days)
    return [_simulate(trace, run, seed) for run in runs], clairvoyant(trace)


def _simulate(trace: Trace, run: Run, seed: int) -> Outcome:
    if run.contender == RECLAIM:
        policy: ScalingPolicy = partial(reclaim, settings=run.settings)
    else:
        policy = BLIND[run.contender] if run.trace in OUTAGES else MAKERS[run.contender]()
    idle_timeout_s = IDLE_S if run.contender == IDLE_AGENTS else inf
    return FleetSimulation(trace, policy, run.safety, seed, idle_timeout_s=idle_timeout_s).run()
