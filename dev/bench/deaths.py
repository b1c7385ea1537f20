"""Time to recover, simulated: from the death of a worker at time 0 until its video's message is in the queue.

The schedule starts a run in each minute, anywhere within it (AWS, "Schedule types in EventBridge Scheduler": a
precision of 60 seconds). Nothing else is wrong, so a run looks twice only for this video's sake.
"""

import heapq
import random
from collections.abc import Callable

BEAT_EVERY_S, BEAT_TTL_S = 20.0, 60.0  # docs/worker-contract.md
RECORD_EVERY_S, RECORD_TTL_S = 3_600.0 / 35, 300.0
"""The platform's progress records, about 35 in an encode of an hour, set the same key; the next beat ends that."""

LEASE_S = 14_400.0
ENCODING_S = 3_600.0
"""A worker dies at any moment of an hour of encoding; only the lease alone depends on it."""

RATE_S = JITTER_S = 60.0
SILENT_AFTER_S, QUIET_AFTER_S, WAIT_MARGIN_S = (
    60.0,
    22.0,
    2.0,
)  # reclaiming.silentAfterSeconds, and the rules'
LOOK_AFTER_S = SEND_AFTER_S = 1.0
"""From the start of a run to its look at the heartbeats, and from that look to the message in the queue."""

DEATHS, SEED = 10_000, 20
PRODUCT = "this product"
CRON_1, CRON_5 = "the platform's command, every minute", "the platform's command, every 5 minutes"
LEASE = "a lease of 4 h alone"


def simulate(deaths: int = DEATHS) -> dict[str, list[float]]:
    """Return the sorted times to recover, by way of recovery; every call returns the same."""
    ways: dict[str, Callable[[random.Random], float]] = {
        PRODUCT: product_s,
        CRON_1: lambda rng: next_cron(rng, BEAT_TTL_S - rng.uniform(0, BEAT_EVERY_S), RATE_S),
        CRON_5: lambda rng: next_cron(rng, BEAT_TTL_S - rng.uniform(0, BEAT_EVERY_S), 5 * RATE_S),
        LEASE: lambda rng: next_cron(rng, LEASE_S - rng.uniform(0, ENCODING_S), RATE_S),
    }
    sources = {name: random.Random(SEED) for name in ways}
    return {name: sorted(way(sources[name]) for _ in range(deaths)) for name, way in ways.items()}


def product_s(rng: random.Random) -> float:
    """Return the time to recover by this product.

    A look that sees a heartbeat for 60 s knows when it was set, and of one for 300 s only that it moved. One that
    misses the heartbeat has to be confirmed, unless an earlier one saw it stand still. A run waits once.
    """
    set_s, ttl_s = -rng.uniform(0, BEAT_EVERY_S), BEAT_TTL_S
    if rng.uniform(-RECORD_EVERY_S, 0) > set_s:
        set_s, ttl_s = rng.uniform(set_s, 0), RECORD_TTL_S
    minute_s = -rng.uniform(0, RATE_S)  # the death lies anywhere within its minute
    starts_s = [minute_s + number * RATE_S + rng.uniform(0, JITTER_S) for number in range(-2, 8)]
    looks = [(start_s + LOOK_AFTER_S, True) for start_s in starts_s if start_s + LOOK_AFTER_S > set_s]
    heapq.heapify(looks)
    since_s, looked_s, missed = None, set_s, False
    while True:
        at_s, first_look = heapq.heappop(looks)
        there = at_s < set_s + ttl_s
        if since_s is None:
            since_s = min(at_s, set_s + ttl_s - BEAT_TTL_S)
        if not there and not missed and looked_s < since_s + QUIET_AFTER_S:
            since_s = max(since_s, at_s - (SILENT_AFTER_S - QUIET_AFTER_S))
        missed, looked_s = not there, at_s
        if at_s - since_s >= SILENT_AFTER_S:
            return max(at_s, 0.0) + SEND_AFTER_S
        if first_look and at_s - since_s >= QUIET_AFTER_S:
            heapq.heappush(looks, (since_s + SILENT_AFTER_S + WAIT_MARGIN_S, False))


def next_cron(rng: random.Random, ready_s: float, every_s: float) -> float:
    """Return when cron next starts the command, to which the first miss counts, after ``ready_s``."""
    first_s = rng.uniform(0, every_s)
    return first_s + max(0, -int((first_s - ready_s) // every_s)) * every_s


def percentile(times: list[float], share: float) -> float:
    """Return the time within which ``share`` of the sorted times lie (nearest rank)."""
    return times[max(0, -int(-share * len(times) // 1) - 1)]
