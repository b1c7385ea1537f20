"""A backlog over a network: a whole execution where every round trip takes time.

The relays add the latency of a network within one zone. The functions' code, PostgreSQL and Valkey are real;
AWS is the emulator.
"""

import time
from collections.abc import Callable
from statistics import median

from dev.bench.deployed import POSTGRES, REDIS, SQS, Deployed, deployed_behind_relays
from dev.bench.figures import RATIO, Figure, Plot, Say, Section, Table, number, ratios, spread
from dev.bench.rivals import Floor, platform

TITLE = "A backlog over a network"

LATENCY_MS = {POSTGRES: 1.0, REDIS: 1.0, SQS: 8.0}
"""Added to every round trip, by server; ``--latency`` sets them."""

SIZES = (100, 1_000, 10_000)
SAMPLE = 300
"""Videos that the platform's way puts back in each repeat; each takes it the same time."""

LANES = 5  # the workflow's MaxConcurrency
OURS, PLATFORM = "this product", "the platform's way"
FLOOR = f"the floor, {LANES} lanes, one call after the other in each"
WIDE_FLOOR = f"the floor, {LANES} lanes, 5 calls side by side in each, as this product sends"


def measure(*, quick: bool, say: Say) -> Section:
    """Run every contender in turn, so that each repeat pairs them."""
    sizes, repeats, sample = (SIZES[:2], 1, 50) if quick else (SIZES, 5, SAMPLE)
    seconds: dict[str, dict[int, list[float]]] = {
        name: {size: [] for size in sizes} for name in (OURS, FLOOR, WIDE_FLOOR)
    }
    each_s: list[float] = []
    delays_s = {server: latency_ms / 1000 for server, latency_ms in LATENCY_MS.items()}
    with (
        deployed_behind_relays(delays_s) as here,
        Floor(here.places, lanes=LANES) as floor,
        Floor(here.places, lanes=LANES, calls_at_once=5) as wide_floor,
    ):
        for turn in range(repeats):
            for size in sizes:
                here.prepare(size)
                seconds[OURS][size].append(here.reclaim(size))
                seconds[FLOOR][size].append(_timed(here, size, floor.run))
                seconds[WIDE_FLOOR][size].append(_timed(here, size, wide_floor.run))
            each_s.append(_timed(here, sample, lambda ids: platform(here.places, ids)) / sample)
            times = ", ".join(f"{name} {times[sizes[-1]][-1]:.2f} s" for name, times in seconds.items())
            say(f"{turn + 1}/{repeats}  {sizes[-1]} videos: {times}; one by one {each_s[-1]:.4f} s each")
    seconds[PLATFORM] = {size: [each * size for each in each_s] for size in sizes}
    lines = {name: [(float(size), median(s)) for size, s in times.items()] for name, times in seconds.items()}
    plot = Plot("network", TITLE, "stale videos", "seconds", lines)
    return Section("network", TITLE, _figures(seconds, sizes[-1]), _tables(seconds, sample), [plot])


def _figures(seconds: dict[str, dict[int, list[float]]], size: int) -> list[Figure]:
    ours, floor, wide_floor, platforms = (seconds[name][size] for name in (OURS, FLOOR, WIDE_FLOOR, PLATFORM))
    faster, above = f"{size:,} videos: times as fast as", f"{size:,} videos: duration, times that of"
    return [
        Figure("faster_than_platform", f"{faster} {PLATFORM}", RATIO, ratios(platforms, ours), 60, "higher"),
        Figure("above_floor", f"{above} {FLOOR}", RATIO, ratios(ours, floor), 1.5),
        Figure("above_wide_floor", f"{above} {WIDE_FLOOR}", RATIO, ratios(ours, wide_floor), 1.5),
    ]


def _tables(seconds: dict[str, dict[int, list[float]]], sample: int) -> list[Table]:
    constants = [
        *((f"added to a round trip to {server}", f"{number(ms)} ms") for server, ms in LATENCY_MS.items()),
        (f"videos of {PLATFORM}, measured in each repeat", number(sample)),
    ]
    rows = [(number(size), *(spread(times[size]) for times in seconds.values())) for size in seconds[OURS]]
    return [
        Table("Constants", ("", "value"), constants),
        Table("Seconds, medians with the smallest and largest", ("stale videos", *seconds), rows),
    ]


def _timed(here: Deployed, videos: int, work: Callable[[range], None]) -> float:
    here.prepare(videos)
    began_s = time.perf_counter()
    work(range(1, videos + 1))
    taken_s = time.perf_counter() - began_s
    here.check(videos)
    return taken_s
