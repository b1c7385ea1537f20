"""What a fleet is put through: uploads, encodes, dead rows, outages, and the times of the scaling runs."""

from collections.abc import Callable
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60
OUTAGE_S = 45 * 60
SOURCES = ("database", "queue", "cloudwatch")

JOB_MEDIAN_S, JOB_SIGMA = 30 * 60, 0.9
"""Log-normal encodes: half take under 30 minutes, the mean is 45, one in a hundred takes over four hours."""

MAX_WORKERS = 20
PENDING_S = 40.0  # from launch to InService: an instance in service is not a worker at work
BOOT_S = (150.0, 240.0)  # from launch to the worker's first receive
SPOT_MEAN_S = 500.0 * HOUR_S  # instance time between interruptions
SILENCE_S = (120.0, 240.0)  # from the end of a busy instance to its video being UPLOADED again

START_JITTER_S = 60.0  # the precision of AWS, "Schedule types on EventBridge Scheduler"
MEASURE_AFTER_S = (3.0, 12.0)  # from a run's start, cold starts included
APPLY_AFTER_S = (2.0, 30.0)  # from the measurement until SetDesiredCapacity has ended or launched instances
LAG_MEAN_S = 25.0  # from PutMetricData until the point is readable; AWS documents no bound
LOST = 0.002  # share of puts, and of reads, that fail by themselves outside of the outages
QUEUE_LAGS = 0.5  # share of the queue's counts that are a minute old: they settle within one


class ScheduledRun(NamedTuple):
    """One run of the schedule: when it measures, what it can read, and when its point and its decision arrive.

    The put is lost if ``readable_s`` is infinite. If ``queue_lags``, the counts are those of the run before.
    """

    at_s: float
    database: bool
    queue: bool
    cloudwatch: bool
    readable_s: float
    queue_lags: bool
    apply_after_s: float


class Trace(NamedTuple):
    """A stretch of days, the same for every policy; all times in seconds since it began, ascending.

    Attributes:
        burst_of: the number of the burst that each upload belongs to; -1: none.
        phantoms_s: from when to when a row is PROCESSING although nobody works on it.
        low: the group's minimum.
        failures: whether Spot takes instances.
    """

    length_s: float
    arrivals_s: tuple[float, ...]
    jobs_s: tuple[float, ...]
    burst_of: tuple[int, ...]
    phantoms_s: tuple[tuple[float, float], ...] = ()
    runs: tuple[ScheduledRun, ...] = ()
    low: int = 1
    failures: bool = True


Floats = NDArray[np.float64]
Uploads = Callable[[np.random.Generator, int], tuple[Floats, list[Floats]]]
"""The scattered uploads of so many days, and the bursts."""


def _poisson(rng: np.random.Generator, per_hour: float, from_s: float, to_s: float) -> Floats:
    return rng.uniform(from_s, to_s, rng.poisson(per_hour * (to_s - from_s) / HOUR_S))


def _burst(rng: np.random.Generator, at_s: float, count: int, within_s: float = 180) -> Floats:
    return at_s + rng.uniform(0, within_s, count)


def _scattered(per_hour: float) -> Uploads:
    return lambda rng, days: (_poisson(rng, per_hour, 0, days * DAY_S), [])


def _with_burst(per_hour: float, hours: tuple[int, int], count: int, within_s: float = 180) -> Uploads:
    """Scattered uploads, and one burst between two hours of the first day."""

    def uploads(rng: np.random.Generator, days: int) -> tuple[Floats, list[Floats]]:
        scattered = _poisson(rng, per_hour, 0, days * DAY_S)
        return scattered, [_burst(rng, rng.uniform(*hours) * HOUR_S, count, within_s)]

    return uploads


def _diurnal(rng: np.random.Generator, days: int) -> tuple[Floats, list[Floats]]:
    """Nights near silence, afternoons of ten an hour, and two courses a day uploaded in one go."""
    parts: list[Floats] = []
    bursts: list[Floats] = []
    for day in range(days):
        start = day * DAY_S
        candidates = _poisson(rng, 10.5, start, start + DAY_S)
        hours = (candidates - start) / HOUR_S
        share = np.where((hours > 7) & (hours < 21), np.maximum(np.sin((hours - 7) / 14 * np.pi), 0.05), 0.05)
        parts.append(candidates[rng.uniform(size=candidates.size) < share])
        bursts += [
            _burst(rng, start + hour * HOUR_S, int(rng.integers(5, 11))) for hour in rng.uniform(8, 20, 2)
        ]
    return np.concatenate(parts), bursts


def _outage(rng: np.random.Generator, days: int) -> tuple[Floats, list[Floats]]:
    return _poisson(rng, 3.0, 0, days * DAY_S), [_burst(rng, OUTAGE_FROM_S + 300, 8)]


OUTAGE_FROM_S = 8 * HOUR_S
COMPARED: dict[str, tuple[int, Uploads]] = {
    "diurnal with bursts": (7, _diurnal),
    "endless trickle": (2, _with_burst(5.0, (1, 3), 12)),
    "mass upload": (1, _with_burst(2.0, (2, 8), 160, 1800)),
    "quiet week": (7, _scattered(0.25)),
    "phantom rows": (2, _with_burst(3.0, (8, 16), 10)),
    "sparse, minimum 0": (7, _scattered(0.25)),
}
OUTAGES = ("no outage", "outage")
"""The same day without an outage of the database and with one."""
TRACES = COMPARED | dict.fromkeys(OUTAGES, (1, _outage))
"""Each trace's days and uploads."""


def make_trace(name: str, seed: int, at_most_days: int | None = None) -> Trace:
    """Draw one trace; the same arguments always give the same."""
    most_days, uploads = TRACES[name]
    days = min(most_days, at_most_days or most_days)
    rng = np.random.default_rng([seed, min(list(TRACES).index(name), len(COMPARED))])
    scattered, bursts = uploads(rng, days)
    at = np.concatenate([scattered, *bursts])
    burst_of = np.repeat(np.arange(-1, len(bursts)), [scattered.size, *(burst.size for burst in bursts)])
    order = np.argsort(at, kind="stable")
    jobs = rng.lognormal(np.log(JOB_MEDIAN_S), JOB_SIGMA, at.size)
    phantoms = [_phantom(rng, days) for _ in range(6 * days if name == "phantom rows" else 0)]
    outages = []
    for day in range(days):
        for source in SOURCES:
            start = day * DAY_S + rng.uniform(0, DAY_S - OUTAGE_S)
            outages.append((source, start, start + OUTAGE_S))
    if name in OUTAGES:
        outages = [("database", OUTAGE_FROM_S, OUTAGE_FROM_S + OUTAGE_S)] if name == "outage" else []
    return Trace(
        length_s=days * DAY_S,
        arrivals_s=tuple(at[order].tolist()),
        jobs_s=tuple(jobs.tolist()),
        burst_of=tuple(burst_of[order].tolist()),
        phantoms_s=tuple(phantoms),
        runs=_schedule(days * DAY_S, outages, rng),
        low=0 if name == "sparse, minimum 0" else 1,
        failures=name not in OUTAGES,  # what an outage costs is not to be hidden by chance
    )


def _phantom(rng: np.random.Generator, days: int) -> tuple[float, float]:
    """Draw a row without a worker: most are found by their silence, some only when the lease runs out."""
    start = rng.uniform(0, days * DAY_S)
    return start, start + (4 * HOUR_S if rng.uniform() < 0.25 else rng.uniform(120, 300))


def _schedule(
    length_s: float, outages: list[tuple[str, float, float]], rng: np.random.Generator
) -> tuple[ScheduledRun, ...]:
    """Draw a run a minute: when it measures, what it can read, when its point and its decision arrive."""
    count = int(length_s // MINUTE_S)
    starts_s = np.arange(count) * MINUTE_S + rng.uniform(0, START_JITTER_S, count)
    at_s = np.sort(starts_s + rng.uniform(*MEASURE_AFTER_S, count))
    at_s = at_s[at_s < length_s]
    known = {source: np.ones(at_s.size, dtype=bool) for source in SOURCES}
    for source, from_s, to_s in outages:
        known[source] &= (at_s < from_s) | (at_s > to_s)
    readable_s = at_s + rng.exponential(LAG_MEAN_S, at_s.size)
    put = known["cloudwatch"] & (rng.uniform(size=at_s.size) >= LOST)
    known["cloudwatch"] &= rng.uniform(size=at_s.size) >= LOST
    columns = (
        at_s,
        *(known[source] for source in SOURCES),
        np.where(put, readable_s, inf),
        rng.uniform(size=at_s.size) < QUEUE_LAGS,
        rng.uniform(*APPLY_AFTER_S, at_s.size),
    )
    return tuple(ScheduledRun(*row) for row in zip(*(column.tolist() for column in columns), strict=True))
