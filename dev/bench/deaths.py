"""Time to recover, simulated: from the death of a worker at time 0 until its video's message is in the queue.

The schedule starts a run in each minute, anywhere within it (AWS, "Schedule types in EventBridge Scheduler": a
precision of 60 seconds), and the product's own rule judges each look. Nothing else is wrong, so a run looks twice only
for this video's sake.
"""

import heapq
import random
from collections.abc import Callable
from math import ceil

from video_reclaim.rules.sightings import Look, Sighting, see

BEAT_EVERY_S, BEAT_TTL_S = 20.0, 60.0  # docs/worker-contract.md
RECORD_EVERY_S, RECORD_TTL_S = 3_600.0 / 35, 300.0
"""The platform's progress records, about 35 in an encode of an hour, set the same key; the next beat ends that."""

RATE_S = JITTER_S = 60.0
SILENT_AFTER_S, WAIT_MARGIN_S = 60.0, 2  # reclaiming.silentAfterSeconds, and what a run waits longer

LOOK_AFTER_S = SEND_AFTER_S = 1.0
"""From the start of a run to its look at the heartbeats, and from that look to the message in the queue."""

DEATHS, SEED = 10_000, 20
PRODUCT = "this product"


def simulate(deaths: int = DEATHS) -> dict[str, list[float]]:
    """Return the sorted times to recover, by way of recovery; every call returns the same."""
    ways: dict[str, Callable[[random.Random], float]] = {
        PRODUCT: product_s,
        "the platform's command, every minute": lambda rng: _command_s(rng, RATE_S),
        "the platform's command, every 5 minutes": lambda rng: _command_s(rng, 5 * RATE_S),
    }
    sources = {name: random.Random(SEED) for name in ways}
    return {name: sorted(way(sources[name]) for _ in range(deaths)) for name, way in ways.items()}


def product_s(rng: random.Random) -> float:
    """Draw a death, and return the time to recover by this product."""
    set_s, ttl_s = -rng.uniform(0, BEAT_EVERY_S), BEAT_TTL_S
    if rng.uniform(-RECORD_EVERY_S, 0) > set_s:
        set_s, ttl_s = rng.uniform(set_s, 0), RECORD_TTL_S
    minute_s = -rng.uniform(0, RATE_S)  # the death lies anywhere within its minute
    starts_s = [minute_s + number * RATE_S + rng.uniform(0, JITTER_S) for number in range(-2, 8)]
    return silent_s(set_s, ttl_s, [start_s + LOOK_AFTER_S for start_s in starts_s]) + SEND_AFTER_S


def silent_s(set_s: float, ttl_s: float, looks_s: list[float]) -> float:
    """Return when the product finds that a heartbeat, last set at ``set_s`` for ``ttl_s``, is silent.

    Before that it was set every 20 s. The first look must be earlier. A run waits once, for what its look tells.
    """
    looks = [(at_s, True) for at_s in looks_s]
    heapq.heapify(looks)
    recorded, looked_at_s = dict[int, Sighting](), 0.0
    while True:
        at_s, is_first = heapq.heappop(looks)
        beats = max(0, ceil((set_s - at_s) / BEAT_EVERY_S))  # that follow until the last one
        expires_s = set_s - beats * BEAT_EVERY_S + BEAT_TTL_S if beats else set_s + ttl_s
        expiries = {1: expires_s if expires_s > at_s else None}
        look = Look(True, at_s, expiries, recorded, looked_at_s)
        seen = see(1, "the video's row", look, SILENT_AFTER_S)
        if seen.unchanged_s >= SILENT_AFTER_S:
            return at_s
        if is_first and (left_s := seen.told_in_s(SILENT_AFTER_S)):
            heapq.heappush(looks, (at_s + ceil(left_s) + WAIT_MARGIN_S, False))
        recorded, looked_at_s = ({1: seen.sighting} if seen.sighting else {}), at_s


def _command_s(rng: random.Random, every_s: float) -> float:
    return next_cron(rng, BEAT_TTL_S - rng.uniform(0, BEAT_EVERY_S), every_s)


def next_cron(rng: random.Random, ready_s: float, every_s: float) -> float:
    """Return when cron next starts the command, to which the first miss counts, after ``ready_s``."""
    first_s = rng.uniform(0, every_s)
    return first_s + max(0, -int((first_s - ready_s) // every_s)) * every_s


def percentile(times: list[float], share: float) -> float:
    """Return the time within which ``share`` of the sorted times lie (nearest rank)."""
    return times[max(0, -int(-share * len(times) // 1) - 1)]
