"""A backlog over a network: a whole execution where every round trip takes time.

The relays add the latency of a network within one zone. The functions' code, PostgreSQL and Valkey are real;
AWS is the emulator.
"""

import time
from collections.abc import Callable

from dev.bench.deployed import POSTGRES, REDIS, SQS, Deployed, deployed_behind_relays
from dev.bench.report import RATIO, Figure, Say, Section, Table, number, ratios, spread
from dev.bench.rivals import Floor, platform

TITLE = "A backlog over a network"

LATENCY_MS = {POSTGRES: 1.0, REDIS: 1.0, SQS: 8.0}
"""Added to every round trip, by server."""

SIZES = (100, 1_000, 10_000)
SAMPLE = 300
"""Videos that the platform's way puts back in each repeat; each takes it the same time."""

LANES = 5  # the workflow's MaxConcurrency
OURS, PLATFORM = "this product", "the platform's way"
FLOOR = f"the floor, {LANES} lanes"


def measure(*, quick: bool, say: Say) -> Section:
    """Run every contender in turn, so that each repeat pairs them."""
    sizes, repeats, sample = (SIZES[:2], 1, 50) if quick else (SIZES, 5, SAMPLE)
    seconds: dict[str, dict[int, list[float]]] = {
        name: {size: [] for size in sizes} for name in (OURS, FLOOR)
    }
    each_s: list[float] = []
    delays_s = {server: latency_ms / 1000 for server, latency_ms in LATENCY_MS.items()}
    with deployed_behind_relays(delays_s) as here, Floor(here.places, lanes=LANES) as floor:
        for turn in range(repeats):
            for size in sizes:
                here.prepare(size)
                seconds[OURS][size].append(here.reclaim(size))
                seconds[FLOOR][size].append(_timed(here, size, floor.run))
            each_s.append(_timed(here, sample, lambda ids: platform(here.places, ids)) / sample)
            times = ", ".join(f"{name} {times[sizes[-1]][-1]:.2f} s" for name, times in seconds.items())
            say(f"{turn + 1}/{repeats}  {sizes[-1]} videos: {times}; one by one {each_s[-1]:.4f} s each")
    seconds[PLATFORM] = {size: [each * size for each in each_s] for size in sizes}
    return Section("network", TITLE, _figures(seconds, sizes[-1]), [_table(seconds)])


def _figures(seconds: dict[str, dict[int, list[float]]], size: int) -> list[Figure]:
    ours, floor, platforms = (seconds[name][size] for name in (OURS, FLOOR, PLATFORM))
    faster, above = f"{size:,} videos: times as fast as", f"{size:,} videos: duration, times that of"
    return [
        Figure("faster_than_platform", f"{faster} {PLATFORM}", RATIO, ratios(platforms, ours), 60, "higher"),
        Figure("above_floor", f"{above} {FLOOR}", RATIO, ratios(ours, floor), 1.5),
    ]


def _table(seconds: dict[str, dict[int, list[float]]]) -> Table:
    added = ", ".join(f"{number(ms)} ms to {server}" for server, ms in LATENCY_MS.items())
    rows = [(number(size), *(spread(times[size]) for times in seconds.values())) for size in seconds[OURS]]
    return Table(f"Seconds, with {added} added to each round trip", ("stale videos", *seconds), rows)


def _timed(here: Deployed, videos: int, work: Callable[[range], None]) -> float:
    here.prepare(videos)
    began_s = time.perf_counter()
    work(range(1, videos + 1))
    taken_s = time.perf_counter() - began_s
    here.check(videos)
    return taken_s
