"""Listing and counting as the table grows, heartbeats by the hundred thousand, and memory."""

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import redis

from cdk.bundle import dependency_layer
from dev.bench import academy, cold_start
from dev.bench.figures import RATIO, Figure, Goal, Growth, Section, Table, number, ratios
from dev.bench.servers import Servers, environment

TITLE = "Listing, counting, heartbeats, memory"
PROCESSING = 5_000
STALE = 100
BEATING = 100_000


def measure(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Time the statements on tables of each size, one after the other and again; then the largest run."""
    sizes = (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000)
    repeats = 5 if quick else 15
    rounds = 1 if quick else 2
    beating = 10_000 if quick else BEATING
    listed: dict[int, list[float]] = {size: [] for size in sizes}
    counted: dict[int, list[float]] = {size: [] for size in sizes}
    with cold_start.world() as here:
        for turn in range(rounds):
            for size in sizes:
                academy.fill(
                    here.servers.postgres.dsn, processing=PROCESSING, stale=STALE, ready=size - PROCESSING
                )
                _time(here.servers, repeats, listed[size], counted[size])
                say(f"{turn + 1}/{rounds}  {size:>9} videos: listed in {listed[size][-1] * 1000:.0f} ms")
        plans = _plans(here.servers)
        checked_s = _heartbeats(here.servers, beating, 3 if quick else 7)
        say(f"{beating} heartbeats in {checked_s[-1]:.2f} s")
        memory = _memory(here, beating, stale=1_000 if quick else 10_000)
        say(f"memory, MiB: {memory}")
    small, large = sizes[0], sizes[-1]
    pairs = f"{large:,} videos against {small:,}, {PROCESSING:,} PROCESSING in both"
    figures = [
        Figure(
            "listing", f"listing {pairs}", RATIO, ratios(listed[large], listed[small]), Goal("at most", 2)
        ),
        Figure(
            "counting", f"counting {pairs}", RATIO, ratios(counted[large], counted[small]), Goal("at most", 2)
        ),
        Figure("heartbeats_s", f"{beating:,} live heartbeats checked", "s", checked_s, Goal("at most", 2)),
        *(
            Figure(
                f"memory_{step}",
                f"{step}: memory at the largest run, above the interpreter with its imports",
                "MiB",
                [mib],
                Goal("at most", 128),
            )
            for step, mib in memory.items()
        ),
    ]
    rows = [
        (
            number(size),
            *(
                number(Figure("", "", "", [s * 1000 for s in times[size]]).median)
                for times in (listed, counted)
            ),
        )
        for size in sizes
    ]
    growth = Growth(
        "listing",
        f"Listing and counting, {PROCESSING:,} videos PROCESSING",
        "videos in the table",
        "milliseconds",
        {
            name: [(size, Figure("", "", "", times[size]).median * 1000) for size in sizes]
            for name, times in (("listing", listed), ("counting", counted))
        },
    )
    table = Table("Medians in milliseconds", ("videos", "listing", "counting"), rows)
    return Section("listing", TITLE, figures, _meaning(), [table], plans, [growth])


def _time(here: Servers, repeats: int, listed: list[float], counted: list[float]) -> None:
    from video_reclaim.adapters.postgres.store import store

    with environment(here.settings()):
        store().list_candidates()
        store().measure_backlog()
        for _ in range(repeats):
            began_s = time.perf_counter()
            found = store().list_candidates()
            listed_s = time.perf_counter()
            backlog = store().measure_backlog()
            counted.append(time.perf_counter() - listed_s)
            listed.append(listed_s - began_s)
            if (len(found), backlog.processing) != (PROCESSING, PROCESSING):
                raise RuntimeError(f"{len(found)} listed, {backlog.processing} counted")


def _plans(here: Servers) -> dict[str, str]:
    """How the two statements are carried out on the largest table.

    Raises:
        RuntimeError: one of them reads the whole table.
    """
    from video_reclaim.adapters.postgres.statements import LIST_CANDIDATES, MEASURE_BACKLOG

    plans = {}
    with closing(academy.connect(here.postgres.dsn)) as connection, connection.cursor() as cursor:
        for name, statement in (("listing", LIST_CANDIDATES), ("counting", MEASURE_BACKLOG)):
            cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) {statement}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            if "Seq Scan on video_video" in plan:
                raise RuntimeError(f"{name} reads the whole table:\n{plan}")
            plans[f"The plan of {name}, on the largest table"] = plan
    return plans


def _beat(here: Servers, video_ids: Iterable[int]) -> None:
    client: redis.Redis = redis.Redis.from_url(here.valkey.url)
    client.flushall()
    pipeline = client.pipeline(transaction=False)
    for count, video_id in enumerate(video_ids, start=1):
        pipeline.set(f"tenant:{academy.tenant_of(video_id)}:video:{video_id}:heartbeat", "1", ex=3600)
        if count % 10_000 == 0:
            pipeline.execute()
    pipeline.execute()
    client.close()


def _heartbeats(here: Servers, beating: int, repeats: int) -> list[float]:
    """Seconds to ask Redis about every video of a fleet that is well."""
    from video_reclaim.adapters.heartbeats import heartbeats
    from video_reclaim.adapters.postgres.store import store

    academy.fill(here.postgres.dsn, processing=beating, stale=0)
    _beat(here, range(1, beating + 1))
    taken = []
    with environment(here.settings()):
        videos = store().list_candidates()
        for _ in range(repeats):
            began_s = time.perf_counter()
            pulses = heartbeats().pulses(videos) or {}
            taken.append(time.perf_counter() - began_s)
            if sum(bool(pulse.beating) for pulse in pulses.values()) != beating:
                raise RuntimeError("heartbeats are missing")
    return taken


def _memory(here: cold_start.World, beating: int, *, stale: int) -> dict[str, float]:
    """What the largest run adds to each function's memory, in MiB.

    That is a fleet that is well, and as many stale videos as a run takes.
    """
    dsn = here.servers.postgres.dsn
    path = [cold_start.ROOT / "functions", dependency_layer("host") / "python"]
    academy.fill(dsn, processing=beating + stale, stale=stale)
    _beat(here.servers, range(stale + 1, stale + beating + 1))
    batch = {"videos": list(range(1, 101)), "execution": cold_start.EXECUTION, "insist": False}
    results = [{"reclaimed": 100, "quarantined": 0, "skipped": {}, "enqueued": 100}] * 100
    told = {"ListStaleVideos": cold_start.probe("list_stale_videos", {}, path, here.variables)}
    told["Reclaim"] = cold_start.probe("reclaim", batch, path, here.variables)
    event = cold_start.probe_answer(here, path, batch)
    told["Enqueue"] = cold_start.probe("enqueue", {**event, "insist": False}, path, here.variables)
    run: dict[str, Any] = {"stale": {}, "spared": {}}
    event = {"run": run, "results": results, "retried": False}
    told["PublishBacklog"] = cold_start.probe("publish_backlog", event, path, here.variables)
    return {step: (one["peak_kib"] - one["after_import_kib"]) / 1024 for step, one in told.items()}


def _meaning() -> str:
    return (
        "The listing reads the videos that are being processed by the index on their status, and the "
        "orphans by an index as well; counting goes by an index too. So both grow with the work in hand "
        "and not with the archive. Heartbeats are asked for five thousand keys at a time. Memory is "
        f"what the largest run adds to a process that has imported everything: {BEATING:,} videos whose "
        "workers beat, and 10,000 stale ones, as many as a run takes. AWS's own client libraries, which "
        "are imported on the first call, are in the figure too."
    )
