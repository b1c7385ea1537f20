"""From runs to figures, pooled over the seeds, and the runs themselves, spread over processes."""

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from math import nan
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np

from dev.simulation.bounds import Bound, clairvoyant
from dev.simulation.fleet import FleetSimulation, Outcome
from dev.simulation.policies import DEFAULT, MAKERS, RECLAIM, ScalingPolicy, reclaim
from dev.simulation.traces import DAY_S, HOUR_S, MINUTE_S, TRACES, Trace, make_trace
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
        instance_h: instance-hours a seed.
    """

    wait: tuple[float, float]
    drain: tuple[float, float]
    cost: tuple[float, float]
    killed: float
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
        sum(spent) / HOUR_S / len(outcomes),
    )


def _half_interval(values: Sequence[float]) -> float:
    return float(1.96 * np.std(values, ddof=1) / len(values) ** 0.5)


def run_all(runs: Iterable[Run], *, seeds: int, at_most_days: int | None = None) -> dict[Run, Figures]:
    """Run everything with at least two seeds."""
    runs = list(dict.fromkeys(runs))
    tasks = [(run, seed, at_most_days) for seed in range(seeds) for run in runs]
    # Spawned, not forked: the same on every system, and no threads of the parent's are copied.
    with get_context("spawn").Pool() as pool:
        found = dict(zip(tasks, pool.starmap(_simulate, tasks), strict=True))
    by_run = {run: [found[run, seed, at_most_days] for seed in range(seeds)] for run in runs}
    return {run: summarize(*zip(*of_run, strict=True)) for run, of_run in by_run.items()}


@lru_cache(maxsize=len(TRACES))  # a seed's traces: the tasks of the next seed come after all of this one's
def _drawn(name: str, seed: int, at_most_days: int | None) -> tuple[Trace, Bound]:
    trace = make_trace(name, seed, at_most_days)
    return trace, clairvoyant(trace)


def _simulate(run: Run, seed: int, at_most_days: int | None) -> tuple[Outcome, Bound]:
    trace, bound = _drawn(run.trace, seed, at_most_days)
    if run.contender == RECLAIM:
        policy: ScalingPolicy = partial(reclaim, settings=run.settings)
    else:
        policy = MAKERS[run.contender]()
    return FleetSimulation(trace, policy, run.safety, seed).run(), bound
