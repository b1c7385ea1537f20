"""The database step alone: stuck rows put back, against other job queues' own code on the same PostgreSQL."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dev.bench import academy
from dev.bench.peers import installed
from dev.bench.report import RATIO, Figure, Section, Table, number, ratios, say, spread
from dev.bench.rivals import BATCH, LANES
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.watchdog import scratch_folder

TITLE = "The database step, against other job queues"

WIDTH = 400
"""Bytes of a row, in every contender's table."""

OURS = f"this product, as the workflow does it: {LANES} lanes, {BATCH} a batch, each row read again"
LEAST = "the least: one UPDATE of what has expired, on the platform's table"
PG_BOSS = "pg-boss, its expiry statement"
CHANCY = "Chancy, its Recovery plugin"
_COMPARED = (("pg-boss", "pg-boss", PG_BOSS), ("chancy", "Chancy", CHANCY))
_TITLE_CHARACTERS = 247  # give a row of the platform's table its width
_TOKEN, _HANDOFF_S = "bench.0123456789ab", 900
_LEAST = """
UPDATE video_video SET status = 'UPLOADED', leased_by = %s, leased_until = now() + make_interval(secs => %s)
WHERE status = 'PROCESSING' AND leased_until < now() RETURNING id
"""


def measure(*, quick: bool) -> Section:
    """Time every contender in turn, so that each repeat pairs them."""
    repeats = {1_000: 1} if quick else {10_000: 5, 50_000: 3}  # a listing has at most 50,000
    taken_s: dict[int, dict[str, list[float]]] = {size: {} for size in repeats}
    with scratch_folder() as scratch, Postgres(scratch / "postgres") as server:
        create_schema(server.dsn)
        contenders = _contenders(server)
        for size, times in repeats.items():
            for turn in range(times):
                for name, work in contenders.items():
                    taken_s[size].setdefault(name, []).append(work(size))
                    say(f"{turn + 1}/{times}  {size:>7} rows  {name}: {taken_s[size][name][-1]:.3f} s")
        width = academy.query(server.dsn, "SELECT avg(pg_column_size(v.*))::int FROM video_video v")
    if abs(width[0][0] - WIDTH) > 5:
        raise RuntimeError(f"a row of the platform's table has {width[0][0]} bytes")
    figures = [
        Figure(
            f"{key}_{size}",
            f"{size:,} rows: times as fast as {peer}",
            RATIO,
            ratios(s[theirs], s[OURS]),
            1,
            "higher",
        )
        for size, s in taken_s.items()
        for key, peer, theirs in _COMPARED
    ]
    rows = [
        (f"{size:,}", name, spread(seconds), number(size / min(seconds)))
        for size, times_s in taken_s.items()
        for name, seconds in sorted(times_s.items(), key=lambda item: min(item[1]))
    ]
    caption = f"{installed.PG_BOSS}, {installed.CHANCY[0]}; a row has {WIDTH} bytes in every table"
    table = Table(caption, ("rows", "", "seconds", "rows per second, at most"), rows)
    return Section("database", TITLE, figures, [table])


def _contenders(server: Postgres) -> dict[str, Callable[[int], float]]:
    """Install and connect everybody; each returns its seconds for a number of rows."""
    from video_reclaim.adapters.postgres.store import Store
    from video_reclaim.settings import Database

    settings = Database(
        "127.0.0.1", server.port, "academy", ssl_mode="disable", statement_seconds=600, user="postgres"
    )
    store, cursor = Store(settings), academy.connect(server.dsn).cursor()
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

    def least() -> int:
        cursor.execute(_LEAST, (f"reclaim:{_TOKEN}", _HANDOFF_S))
        return len(cursor.fetchall())

    def timed(work: Callable[[], int]) -> Callable[[int], float]:
        def run(size: int) -> float:
            for rows in (BATCH, size):  # the first opens the connection, as it is for the peers
                academy.fill(server.dsn, processing=rows, stale=rows, title="x" * _TITLE_CHARACTERS)
                began_s = time.perf_counter()
                done = work()
                seconds = time.perf_counter() - began_s
                if done != rows:
                    raise RuntimeError(f"{done} of {rows} videos were leased")
            return seconds

        return run

    def peer(name: str, command: list[str]) -> Callable[[int], float]:
        academy.query(server.dsn, f'CREATE DATABASE "{name}"')
        dsn = f"{server.dsn.rpartition('/')[0]}/{name}"
        return lambda size: installed.time_peer(command, dsn, size, WIDTH)

    peers = {PG_BOSS: peer("pg-boss", installed.pg_boss()), CHANCY: peer("chancy", installed.chancy())}
    return {OURS: timed(batched), LEAST: timed(least), **peers}
