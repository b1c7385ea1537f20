"""From runs to figures: pooled over all runs, with confidence intervals by a bootstrap over the seeds.

A percentile is that of all videos or bursts of all seeds together, a rate is a sum over a sum. The interval
comes from drawing the seeds anew, with replacement, and computing the pooled figure of each draw: runs of one
seed belong together, since they share a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dev.simulation.bounds import Bounds
from dev.simulation.outcome import Outcome
from dev.simulation.traces import DAY_S, HOUR_S, MINUTE_S

RESAMPLES = 400

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A figure and its confidence interval; NaN where there is nothing to measure."""

    value: float
    low: float
    high: float


class Measure(NamedTuple):
    """One figure of a policy.

    Attributes:
        key: Its name in code.
        title: Its column.
        digits: How many decimals it is printed with.
    """

    key: str
    title: str
    digits: int


MEASURES = (
    Measure("wait_mean_min", "mean wait, min", 2),
    Measure("wait_p95_min", "wait p95, min", 1),
    Measure("drain_p95_min", "drain p95, min", 1),
    Measure("cost", "instance-hours per work-hour", 2),
    Measure("over_clairvoyant", "cost / clairvoyant", 2),
    Measure("over_blind", "cost / blind bound", 2),
    Measure("killed", "busy ended a day by scale-in", 2),
    Measure("rebalanced", "by rebalancing", 2),
    Measure("lost_h", "work-hours lost a day", 2),
    Measure("turns", "turns an hour", 2),
)


class SeedRuns(NamedTuple):
    """What one seed gave: its runs, and the bounds of each run's trace."""

    outcomes: tuple[Outcome, ...]
    bounds: tuple[Bounds, ...]


def summarize(by_seed: Sequence[SeedRuns]) -> dict[str, Interval]:
    """Give each figure of ``MEASURES``."""
    counts = _draws(len(by_seed))
    waits_s = [np.concatenate([outcome.waits_s for outcome in seed.outcomes]) for seed in by_seed]
    drains_s = [np.concatenate([outcome.drains_s for outcome in seed.outcomes]) for seed in by_seed]
    length_s = _sums(by_seed, "length_s")
    instances_s, work_s = _sums(by_seed, "instance_s"), _sums(by_seed, "work_s")
    bound_work_s = _bound_sums(by_seed, "work_s")
    cost = counts @ instances_s / (counts @ work_s)
    of_bound = {
        name: counts @ _bound_sums(by_seed, f"{name}_s") / (counts @ bound_work_s)
        for name in ("clairvoyant", "blind")
    }
    days = counts @ length_s / DAY_S
    waits = counts @ np.array([seed_s.sum() for seed_s in waits_s])
    videos = counts @ np.array([float(seed_s.size) for seed_s in waits_s])
    figures = {
        "wait_mean_min": waits / videos / MINUTE_S,
        "wait_p95_min": _percentiles(waits_s, 95, counts) / MINUTE_S,
        "drain_p95_min": _percentiles(drains_s, 95, counts) / MINUTE_S,
        "cost": cost,
        "over_clairvoyant": cost / of_bound["clairvoyant"],
        "over_blind": cost / of_bound["blind"],
        "killed": counts @ _sums(by_seed, "killed") / days,
        "rebalanced": counts @ _sums(by_seed, "rebalanced") / days,
        "lost_h": counts @ _sums(by_seed, "lost_s") / HOUR_S / days,
        "turns": counts @ _sums(by_seed, "turns") / days / 24,
    }
    return {key: interval(values) for key, values in figures.items()}


def bootstrap(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Give the mean of one value a seed; the same values always give the same interval."""
    return interval(_draws(len(values)) @ np.array(values) / len(values), confidence)


def interval(values: Floats, confidence: float = 0.95) -> Interval:
    """Give the first value, and the interval of the others: those of the draws."""
    if np.isnan(values).any():
        return Interval(float("nan"), float("nan"), float("nan"))
    tail = (1 - confidence) / 2 * 100
    low, high = np.percentile(values[1:], [tail, 100 - tail])
    return Interval(float(values[0]), float(low), float(high))


def _draws(seeds: int) -> Floats:
    """Give how often each seed counts: once in the first row, as drawn in the others."""
    drawn = np.random.default_rng(7).multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    return np.vstack([np.ones(seeds), drawn])


def _percentiles(by_seed: Sequence[Floats], percent: float, counts: Floats) -> Floats:
    """Give for each draw the smallest value that is at least so high in the pool (nearest rank)."""
    values = np.concatenate(by_seed)
    if not values.size:
        return np.full(len(counts), np.nan)
    order = np.argsort(values, kind="stable")
    seed_of = np.repeat(np.arange(len(by_seed)), [part.size for part in by_seed])[order]
    ranks = counts[:, seed_of].cumsum(axis=1)
    reached = ranks >= ranks[:, -1:] * (percent / 100)
    found: Floats = values[order][reached.argmax(axis=1)]
    return found


def _sums(by_seed: Sequence[SeedRuns], name: str) -> Floats:
    return np.array([float(sum(getattr(outcome, name) for outcome in seed.outcomes)) for seed in by_seed])


def _bound_sums(by_seed: Sequence[SeedRuns], name: str) -> Floats:
    return np.array([float(sum(getattr(bound, name) for bound in seed.bounds)) for seed in by_seed])
