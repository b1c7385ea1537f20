"""A backlog over a network: a whole execution where every round trip takes time.

The relays add the latency of a network within one zone. The functions' code, PostgreSQL and Valkey are real;
AWS is the emulator.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from dev.bench import rivals
from dev.bench.deployed import POSTGRES, REDIS, SQS, RelayedStack, deployed
from dev.bench.report import RATIO, Figure, Section, number, ratios, say, spread, table

LATENCY_MS = {POSTGRES: 1.0, REDIS: 1.0, SQS: 8.0}
"""Added to every round trip, by server."""

SIZES = (100, 1_000, 10_000)
SAMPLE = 300
"""Videos that the platform's way puts back in each repeat; each takes it the same time."""

OURS, PLATFORM = "this product", "the platform's way"
FLOOR = f"the floor, {rivals.LANES} lanes"
Seconds = dict[str, dict[int, list[float]]]


def measure(*, quick: bool) -> Section:
    """Run every contender in turn, so that each repeat pairs them."""
    sizes, repeats, sample = (SIZES[:2], 1, 50) if quick else (SIZES, 5, SAMPLE)
    seconds: Seconds = {name: {size: [] for size in sizes} for name in (OURS, FLOOR, PLATFORM)}
    delays_s = {server: latency_ms / 1000 for server, latency_ms in LATENCY_MS.items()}
    with (
        deployed(delays_s) as here,
        ProcessPoolExecutor(
            rivals.LANES,
            get_context("spawn"),
            rivals.opened,
            (here.reached.postgres_dsn, here.reached.endpoint_url),
        ) as lanes,
    ):
        floor = partial(rivals.floor, lanes, here.reached)
        _timed(here, SIZES[1], floor)  # makes the first calls of every lane
        for turn in range(repeats):
            each_s = _timed(here, sample, partial(rivals.platform, here.reached)) / sample
            for size in sizes:
                here.prepare(size)
                seconds[OURS][size].append(here.reclaim(size))
                seconds[FLOOR][size].append(_timed(here, size, floor))
                seconds[PLATFORM][size].append(each_s * size)
            times = ", ".join(f"{name} {times[sizes[-1]][-1]:.2f} s" for name, times in seconds.items())
            say(f"{turn + 1}/{repeats}  {sizes[-1]} videos: {times}")
    return Section("network", _figures(seconds, sizes[-1]), _details(seconds))


def _figures(seconds: Seconds, size: int) -> dict[str, Figure]:
    ours, floor, platforms = (seconds[name][size] for name in (OURS, FLOOR, PLATFORM))
    faster, above = f"{size:,} videos: times as fast as", f"{size:,} videos: duration, times that of"
    return {
        "faster_than_platform": Figure(f"{faster} {PLATFORM}", RATIO, ratios(platforms, ours), 60, "higher"),
        "above_floor": Figure(f"{above} {FLOOR}", RATIO, ratios(ours, floor), 1.5),
    }


def _details(seconds: Seconds) -> str:
    added = ", ".join(f"{number(ms)} ms to {server}" for server, ms in LATENCY_MS.items())
    rows = [(number(size), *(spread(times[size]) for times in seconds.values())) for size in seconds[OURS]]
    return f"Seconds, with {added} added to each round trip:\n\n{table(('stale videos', *seconds), rows)}"


def _timed(here: RelayedStack, videos: int, work: Callable[[range], None]) -> float:
    here.prepare(videos)
    began_s = time.perf_counter()
    work(range(1, videos + 1))
    taken_s = time.perf_counter() - began_s
    here.check(videos)
    return taken_s
