"""The database step alone: stuck rows put back, against another job queue's own code on the same PostgreSQL."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dev.bench import academy, pg_boss
from dev.bench.report import RATIO, Figure, Section, number, ratios, say, spread, table
from dev.bench.rivals import BATCH, LANES
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.watchdog import scratch_folder

WIDTH = 400
"""Bytes of a row, in every contender's table."""

OURS = f"this product, as the workflow does it: {LANES} lanes, {BATCH} a batch, each row read again"
PG_BOSS = "pg-boss, its expiry statement"
_TITLE_CHARACTERS = 247  # give a row of the platform's table its width
_TOKEN, _HANDOFF_S = "bench.0123456789ab", 900


def measure(*, quick: bool) -> Section:
    """Time both in turn, so that each repeat pairs them."""
    repeats = {1_000: 1} if quick else {10_000: 5, 50_000: 3}  # a listing has at most 50,000
    taken_s: dict[int, dict[str, list[float]]] = {size: {OURS: [], PG_BOSS: []} for size in repeats}
    pg_boss.install()
    with scratch_folder() as scratch, Postgres(scratch / "postgres") as server:
        create_schema(server.dsn)
        academy.query(server.dsn, 'CREATE DATABASE "pg-boss"')
        peer_dsn = f"{server.dsn.rpartition('/')[0]}/pg-boss"
        batched = _workflow(server)
        for size, times in repeats.items():
            for turn in range(times):
                taken_s[size][OURS].append(_time(server.dsn, size, batched))
                taken_s[size][PG_BOSS].append(pg_boss.expire(peer_dsn, size, WIDTH))
                latest = ", ".join(f"{name}: {seconds[-1]:.3f} s" for name, seconds in taken_s[size].items())
                say(f"{turn + 1}/{times}  {size:>7} rows  {latest}")
        width = academy.query(server.dsn, "SELECT avg(pg_column_size(v.*))::int FROM video_video v")
    if abs(width[0][0] - WIDTH) > 5:
        raise RuntimeError(f"a row of the platform's table has {width[0][0]} bytes")
    figures = {
        f"pg-boss_{size}": Figure(
            f"{size:,} rows: times as fast as pg-boss", RATIO, ratios(s[PG_BOSS], s[OURS]), 1, "higher"
        )
        for size, s in taken_s.items()
    }
    rows = [
        (f"{size:,}", name, spread(seconds), number(size / min(seconds)))
        for size, times_s in taken_s.items()
        for name, seconds in times_s.items()
    ]
    details = table(("rows", "", "seconds", "rows per second, at most"), rows)
    return Section(
        "database", figures, f"{pg_boss.PACKAGE}; a row has {WIDTH} bytes in both tables:\n\n{details}"
    )


def _workflow(server: Postgres) -> Callable[[], int]:
    """Connect every lane; return what lists the stale videos and leases them as the workflow does, and counts them."""
    from video_reclaim.adapters.postgres.store import Store
    from video_reclaim.settings import Database

    settings = Database(
        "127.0.0.1", server.port, "academy", ssl_mode="disable", statement_seconds=600, user="postgres"
    )
    store = Store(settings)
    lanes, workers = [Store(settings) for _ in range(LANES)], ThreadPoolExecutor(LANES)

    def batched() -> int:
        ids = [video.id for video in store.list_candidates()]
        batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
        return sum(workers.map(lane, lanes, [batches[number::LANES] for number in range(LANES)]))

    def lane(own: Store, batches: Sequence[Sequence[int]]) -> int:
        read = (own.read_videos(batch) for batch in batches)
        return sum(
            len(own.lease_for_handoff(videos, token=_TOKEN, handoff_s=_HANDOFF_S).ids) for videos in read
        )

    return batched


def _time(dsn: str, size: int, work: Callable[[], int]) -> float:
    for rows in (BATCH, size):  # the first opens the connections, as it is for the peer
        academy.fill(dsn, processing=rows, stale=rows, title="x" * _TITLE_CHARACTERS)
        began_s = time.perf_counter()
        done = work()
        seconds = time.perf_counter() - began_s
        if done != rows:
            raise RuntimeError(f"{done} of {rows} videos were leased")
    return seconds
