"""What a fleet is put through: uploads, encodes, dead rows, outages, and the times of the scaling runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400
HOUR_S = 3_600
MINUTE_S = 60
OUTAGE_S = 45 * 60
SOURCES = ("database", "queue", "cloudwatch")

JOB_MEDIAN_S = 30 * 60
JOB_SIGMA = 0.9
"""Log-normal encodes: half take under 30 minutes, the mean is 45, one in a hundred takes over four hours."""

START_JITTER_S = 60.0
"""EventBridge Scheduler invokes with 60 second precision (AWS, "Schedule types on EventBridge Scheduler")."""
MEASURE_AFTER_S = (3.0, 12.0)
"""From a run's start to its measurement: the steps before it, cold starts included."""
APPLY_AFTER_S = (2.0, 30.0)
"""From the measurement to SetDesiredCapacity having ended or launched instances."""
LAG_MEAN_S = 25.0
"""From PutMetricData to the point being readable. AWS documents no bound."""
LOST = 0.002
"""Share of puts, and of reads, that fail by themselves outside of the outages."""
QUEUE_LAGS = 0.5
"""Share of the queue's counts that are a minute old: SQS's counts are approximate and settle within one."""

SHORTAGE_S = 2 * HOUR_S
"""Once a day one zone has no instances to give; afterwards the zones are uneven."""

DELETIONS_PER_HOUR = 1.0
DELETION_BATCH = 15
"""Deletion messages travel in the video queue: single ones, and once a day a whole course."""


class ScheduledRun(NamedTuple):
    """One run of the schedule.

    Attributes:
        at_s: When it measures.
        database, queue, cloudwatch: Whether each can be read.
        readable_s: When its point can be read back; infinite if the put was lost.
        queue_lags: The queue's counts are those of the run before.
        apply_after_s: From measuring to the group having been changed.
    """

    at_s: float
    database: bool
    queue: bool
    cloudwatch: bool
    readable_s: float
    queue_lags: bool
    apply_after_s: float


@dataclass(frozen=True, slots=True)
class Trace:
    """A stretch of days, the same for every policy.

    Attributes:
        name: Its name.
        length_s: How long it is.
        arrivals_s: When each video is uploaded, ascending.
        jobs_s: How long each takes to encode.
        burst_of: The number of the burst that each belongs to; -1: none.
        phantoms_s: From when to when a row is PROCESSING although nobody works on it.
        deletions_s: When a deletion message is sent.
        outages_s: For each source, from when to when it cannot be read.
        shortages_s: From when to when the first zone launches nothing.
        runs: The scaling runs, by the time of their measurement.
    """

    name: str
    length_s: float
    arrivals_s: tuple[float, ...]
    jobs_s: tuple[float, ...]
    burst_of: tuple[int, ...]
    phantoms_s: tuple[tuple[float, float], ...] = ()
    deletions_s: tuple[float, ...] = ()
    outages_s: tuple[tuple[str, float, float], ...] = ()
    shortages_s: tuple[tuple[float, float], ...] = ()
    runs: tuple[ScheduledRun, ...] = ()


Bursts = list[NDArray[np.float64]]
Uploads = Callable[[np.random.Generator, int], tuple[NDArray[np.float64], Bursts]]


def _poisson(rng: np.random.Generator, per_hour: float, from_s: float, to_s: float) -> NDArray[np.float64]:
    count = rng.poisson(per_hour * (to_s - from_s) / HOUR_S)
    return rng.uniform(from_s, to_s, count)


def _burst(rng: np.random.Generator, at_s: float, count: int, within_s: float) -> NDArray[np.float64]:
    return at_s + rng.uniform(0, within_s, count)


def _diurnal(rng: np.random.Generator, days: int) -> tuple[NDArray[np.float64], Bursts]:
    """Nights near silence, afternoons of ten an hour, and two courses a day uploaded in one go."""
    parts: Bursts = []
    bursts: Bursts = []
    for day in range(days):
        start = day * DAY_S
        candidates = _poisson(rng, 10.5, start, start + DAY_S)
        hours = (candidates - start) / HOUR_S
        share = np.where((hours > 7) & (hours < 21), np.maximum(np.sin((hours - 7) / 14 * np.pi), 0.05), 0.05)
        parts.append(candidates[rng.uniform(size=candidates.size) < share])
        bursts += [
            _burst(rng, start + hour * HOUR_S, int(rng.integers(5, 11)), 180)
            for hour in rng.uniform(8, 20, 2)
        ]
    return np.concatenate(parts), bursts


def _trickle(rng: np.random.Generator, days: int) -> tuple[NDArray[np.float64], Bursts]:
    """Five an hour for ever, after one early burst: a fleet that waits for emptiness stays large."""
    return _poisson(rng, 5.0, 0, days * DAY_S), [_burst(rng, rng.uniform(1, 3) * HOUR_S, 12, 180)]


def _mass_upload(rng: np.random.Generator, days: int) -> tuple[NDArray[np.float64], Bursts]:
    """A whole catalogue at once: many times what the largest fleet can work on."""
    return _poisson(rng, 2.0, 0, days * DAY_S), [_burst(rng, rng.uniform(2, 8) * HOUR_S, 160, 1800)]


def _quiet_week(rng: np.random.Generator, days: int) -> tuple[NDArray[np.float64], Bursts]:
    """Holidays: six videos a day."""
    return _poisson(rng, 0.25, 0, days * DAY_S), []


def _ordinary(rng: np.random.Generator, days: int) -> tuple[NDArray[np.float64], Bursts]:
    """Three an hour and a burst; the phantoms are added apart."""
    return _poisson(rng, 3.0, 0, days * DAY_S), [_burst(rng, rng.uniform(8, 16) * HOUR_S, 10, 180)]


TRACES: dict[str, tuple[int, Uploads]] = {
    "diurnal with bursts": (7, _diurnal),
    "endless trickle": (2, _trickle),
    "mass upload": (1, _mass_upload),
    "quiet week": (7, _quiet_week),
    "phantom rows": (2, _ordinary),
}
"""Each trace's days and its uploads: the scattered ones, and the bursts."""


def make_trace(name: str, seed: int, at_most_days: int | None = None) -> Trace:
    """Draw one trace; the same arguments always give the same.

    Raises:
        KeyError: There is no trace of that name.
    """
    days, uploads = TRACES[name]
    days = days if at_most_days is None else min(days, at_most_days)
    rng = np.random.default_rng([seed, list(TRACES).index(name)])
    scattered, bursts = uploads(rng, days)
    at = np.concatenate([scattered, *bursts])
    burst_of = np.concatenate(
        [np.full(part.size, index - 1) for index, part in enumerate([scattered, *bursts])]
    )
    order = np.argsort(at, kind="stable")
    at, burst_of = at[order], burst_of[order]
    jobs = rng.lognormal(np.log(JOB_MEDIAN_S), JOB_SIGMA, at.size)
    phantoms: list[tuple[float, float]] = []
    if name == "phantom rows":
        for _ in range(6 * days):  # most are found by their silence, some only when the lease runs out
            start = rng.uniform(0, days * DAY_S)
            phantoms.append((start, start + (4 * HOUR_S if rng.uniform() < 0.25 else rng.uniform(120, 300))))
    outages, shortages = [], []
    deletions = [_poisson(rng, DELETIONS_PER_HOUR, 0, days * DAY_S)]
    for day in range(days):
        deletions.append(_burst(rng, day * DAY_S + rng.uniform(8, 20) * HOUR_S, DELETION_BATCH, 30))
        for source in SOURCES:
            start = day * DAY_S + rng.uniform(0, DAY_S - OUTAGE_S)
            outages.append((source, start, start + OUTAGE_S))
        start = day * DAY_S + rng.uniform(0, DAY_S - SHORTAGE_S)
        shortages.append((start, start + SHORTAGE_S))
    return Trace(
        name=name,
        length_s=days * DAY_S,
        arrivals_s=tuple(at.tolist()),
        jobs_s=tuple(jobs.tolist()),
        burst_of=tuple(burst_of.tolist()),
        phantoms_s=tuple(phantoms),
        deletions_s=tuple(np.sort(np.concatenate(deletions)).tolist()),
        outages_s=tuple(outages),
        shortages_s=tuple(shortages),
        runs=schedule(days * DAY_S, tuple(outages), rng),
    )


def schedule(
    length_s: float, outages_s: tuple[tuple[str, float, float], ...], rng: np.random.Generator
) -> tuple[ScheduledRun, ...]:
    """Draw a run a minute: when it measures, what it can read, when its point and its decision arrive."""
    count = int(length_s // MINUTE_S)
    starts_s = np.arange(count) * MINUTE_S + rng.uniform(0, START_JITTER_S, count)
    at_s = np.sort(starts_s + rng.uniform(*MEASURE_AFTER_S, count))
    at_s = at_s[at_s < length_s]
    known = {source: np.ones(at_s.size, dtype=bool) for source in SOURCES}
    for source, from_s, to_s in outages_s:
        known[source] &= (at_s < from_s) | (at_s > to_s)
    readable_s = at_s + rng.exponential(LAG_MEAN_S, at_s.size)
    put = known["cloudwatch"] & known["database"] & (rng.uniform(size=at_s.size) >= LOST)
    known["cloudwatch"] &= rng.uniform(size=at_s.size) >= LOST
    columns = (
        at_s,
        *(known[source] for source in SOURCES),
        np.where(put, readable_s, inf),
        rng.uniform(size=at_s.size) < QUEUE_LAGS,
        rng.uniform(*APPLY_AFTER_S, at_s.size),
    )
    return tuple(ScheduledRun(*row) for row in zip(*(column.tolist() for column in columns), strict=True))
