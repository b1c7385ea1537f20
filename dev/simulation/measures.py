"""From runs to figures with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dev.simulation.fleet import Outcome

RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean over seeds and its confidence interval."""

    mean: float
    low: float
    high: float


class Measure(NamedTuple):
    """One figure of a run.

    Attributes:
        key: Its name in code.
        title: Its column.
        digits: How many decimals it deserves.
    """

    key: str
    title: str
    digits: int


MEASURES = (
    Measure("wait_p50_min", "wait p50, min", 1),
    Measure("wait_p95_min", "wait p95, min", 1),
    Measure("drain_p50_min", "drain p50, min", 1),
    Measure("drain_p95_min", "drain p95, min", 1),
    Measure("cost", "instance-hours a work-hour", 2),
    Measure("killed", "busy killed a day", 2),
    Measure("lost_h", "work-hours lost a day", 2),
    Measure("turns", "direction changes an hour", 2),
)


def measure(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Give the figures of one seed's runs, pooled; NaN where there is nothing to measure."""
    waits_s = [wait_s for outcome in outcomes for wait_s in outcome.waits_s]
    drains_s = [drain_s for outcome in outcomes for drain_s in outcome.drains_s]
    length_s = sum(outcome.length_s for outcome in outcomes)
    work_s = sum(outcome.work_s for outcome in outcomes)
    return {
        "wait_p50_min": _percentile(waits_s, 50) / 60,
        "wait_p95_min": _percentile(waits_s, 95) / 60,
        "drain_p50_min": _percentile(drains_s, 50) / 60,
        "drain_p95_min": _percentile(drains_s, 95) / 60,
        "cost": sum(outcome.instance_s for outcome in outcomes) / work_s,
        "floor": sum(outcome.needed_s for outcome in outcomes) / work_s,
        "killed": sum(outcome.killed for outcome in outcomes) / length_s * 86_400,
        "lost_h": sum(outcome.lost_s for outcome in outcomes) / 3600 / length_s * 86_400,
        "turns": sum(outcome.turns for outcome in outcomes) / length_s * 3600,
    }


def summarize(by_seed: Iterable[dict[str, float]]) -> dict[str, Interval]:
    """Give each figure's mean over seeds with its interval."""
    rows = list(by_seed)
    return {key: bootstrap([row[key] for row in rows]) for key in rows[0]}


def bootstrap(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Resample the seeds; the same values always give the same interval."""
    array = np.array(values)
    picks = np.random.default_rng(7).integers(0, array.size, (RESAMPLES, array.size))
    means = array[picks].mean(axis=1)
    tail = (1 - confidence) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(array.mean()), float(low), float(high))


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")
