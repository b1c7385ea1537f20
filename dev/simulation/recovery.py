"""Time to recover, simulated: from the death of a worker at time 0 until its video's message is in the queue.

The schedule starts a run in each minute, anywhere within it (AWS, "Schedule types in EventBridge Scheduler": a
precision of 60 seconds). Nothing else is wrong, so a run looks twice only for this video's sake.
"""

import heapq
import random
from collections.abc import Callable

BEAT_EVERY_S, BEAT_TTL_S = 20.0, 60.0  # docs/worker-contract.md
LEASE_S = 14_400.0
ENCODING_S = 3_600.0
"""A worker dies at any moment of an hour of encoding; only the lease alone depends on it."""

RATE_S = JITTER_S = 60.0
CONFIRM_S, SECOND_LOOK_S = 30.0, 32.0  # reclaiming.confirmSilenceSeconds, and the workflow's wait for it
LOOK_AFTER_S = SEND_AFTER_S = 1.0
"""From the start of a run to its look at the heartbeats, and from that look to the message in the queue."""

DEATHS, SEED = 10_000, 20
PRODUCT, GONE = "this product", "this product, the worker's instance gone"
CRON_1, CRON_5 = "the platform's command, every minute", "the platform's command, every 5 minutes"
LEASE = "a lease of 4 h alone"


def simulate(deaths: int = DEATHS) -> dict[str, list[float]]:
    """Return the sorted times to recover, by way of recovery; every call returns the same."""
    ways: dict[str, Callable[[random.Random], float]] = {
        PRODUCT: lambda rng: product_s(rng, worker_gone=False),
        GONE: lambda rng: product_s(rng, worker_gone=True),
        CRON_1: lambda rng: next_cron(rng, silent_after_s(rng), RATE_S),
        CRON_5: lambda rng: next_cron(rng, silent_after_s(rng), 5 * RATE_S),
        LEASE: lambda rng: next_cron(rng, LEASE_S - rng.uniform(0, ENCODING_S), RATE_S),
    }
    sources = {name: random.Random(SEED) for name in ways}
    return {name: sorted(way(sources[name]) for _ in range(deaths)) for name, way in ways.items()}


def silent_after_s(rng: random.Random) -> float:
    """Return the time from a death to the end of its last heartbeat."""
    return BEAT_TTL_S - rng.uniform(0, BEAT_EVERY_S)


def product_s(rng: random.Random, *, worker_gone: bool) -> float:
    """Return the time to recover by this product; with ``worker_gone`` the first miss counts."""
    silent_s, strike_s = silent_after_s(rng), None
    minute_s = -rng.uniform(0, RATE_S)  # the death lies anywhere within its minute
    starts_s = [minute_s + number * RATE_S + rng.uniform(0, JITTER_S) for number in range(-2, 8)]
    looks = [(start_s + LOOK_AFTER_S, True) for start_s in starts_s]
    heapq.heapify(looks)
    while True:
        at_s, first_look = heapq.heappop(looks)
        if at_s < silent_s:
            continue
        if worker_gone or (strike_s is not None and at_s - strike_s >= CONFIRM_S):
            return at_s + SEND_AFTER_S
        if strike_s is None:
            strike_s = at_s
            if first_look:
                heapq.heappush(looks, (at_s + SECOND_LOOK_S, False))


def next_cron(rng: random.Random, ready_s: float, every_s: float) -> float:
    """Return when cron next starts the command, to which the first miss counts, after ``ready_s``."""
    first_s = rng.uniform(0, every_s)
    return first_s + max(0, -int((first_s - ready_s) // every_s)) * every_s


def percentile(times: list[float], share: float) -> float:
    """Return the time within which ``share`` of the sorted times lie (nearest rank)."""
    return times[max(0, -int(-share * len(times) // 1) - 1)]
