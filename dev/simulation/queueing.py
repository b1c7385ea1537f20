"""The queueing part of the simulator against the closed form: M/M/c, Erlang C."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import numpy as np

from dev.simulation.fleet import FleetSimulation
from dev.simulation.measures import Interval, bootstrap
from dev.simulation.policies import Constant
from dev.simulation.traces import DAY_S, Trace

WORKERS = 6
JOB_MEAN_S = 300.0
LOAD = 0.8
LENGTH_S = 4 * DAY_S
WARM_UP = 0.1
"""Share of the videos left out, since the fleet starts idle."""

CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Check:
    """One figure: what the formula says, and what the simulator gives."""

    name: str
    expected: float
    simulated: Interval

    @property
    def agrees(self) -> bool:
        """Whether the formula's value lies within the simulator's confidence interval."""
        return self.simulated.low <= self.expected <= self.simulated.high


def erlang_c(workers: int, offered: float) -> float:
    """Give the probability that an arrival has to wait.

    Args:
        workers: How many servers there are.
        offered: Arrival rate times mean service time, in Erlangs.

    Raises:
        ValueError: The offered load is not below the number of workers: the queue grows for ever.
    """
    if not 0 <= offered < workers:
        raise ValueError(f"offered: must be at least 0 and below {workers} workers, is {offered}")
    waiting = offered**workers / factorial(workers) * workers / (workers - offered)
    return waiting / (sum(offered**busy / factorial(busy) for busy in range(workers)) + waiting)


def mean_wait_s(workers: int, offered: float, job_mean_s: float) -> float:
    """Give the mean wait of all arrivals, those that need not wait included.

    Raises:
        ValueError: As ``erlang_c``.
    """
    return erlang_c(workers, offered) * job_mean_s / (workers - offered)


def check(seeds: int) -> list[Check]:
    """Run so many replications of a constant fleet and compare."""
    waited, waits_s = [], []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 99])
        rate = LOAD * WORKERS / JOB_MEAN_S
        arrivals_s = np.sort(rng.uniform(0, LENGTH_S, rng.poisson(rate * LENGTH_S)))
        jobs_s = rng.exponential(JOB_MEAN_S, arrivals_s.size)
        trace = Trace(
            name="M/M/c",
            length_s=LENGTH_S,
            arrivals_s=tuple(arrivals_s.tolist()),
            jobs_s=tuple(jobs_s.tolist()),
            burst_of=(-1,) * arrivals_s.size,
        )
        fleet = FleetSimulation(
            trace, Constant(), "unprotected", seed, low=WORKERS, high=WORKERS, failures=False
        )
        all_waits_s = fleet.run().waits_s
        steady_s = all_waits_s[int(WARM_UP * all_waits_s.size) :]
        waited.append(float(np.mean(steady_s > 0)))
        waits_s.append(float(np.mean(steady_s)))
    offered = LOAD * WORKERS
    return [
        Check("probability of waiting", erlang_c(WORKERS, offered), bootstrap(waited, CONFIDENCE)),
        Check("mean wait, s", mean_wait_s(WORKERS, offered, JOB_MEAN_S), bootstrap(waits_s, CONFIDENCE)),
    ]
