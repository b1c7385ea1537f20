"""The database step alone: putting stuck rows back, against the peers' own code on the same PostgreSQL."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from dev.bench import academy, environments
from dev.bench.figures import RATIO, Figure, Goal, Section, Table, number, ratios
from dev.bench.servers import Servers, environment, servers

TITLE = "The database step, against other job rescuers"

TOKEN = "bench.0123456789ab"
HANDOFF_S = 900
BATCH = 100
WIDTH = 400
"""Bytes of a row, in every contender's table."""

GUARANTEES = Table(
    "What each guarantees, and what it does not",
    (
        "",
        "safe against a worker that lives after all",
        "poison",
        "between the database and a queue elsewhere",
    ),
    [
        (
            "this product",
            "fenced by the very lease that was seen, and a heartbeat outside the database asked twice",
            "counted over seven days, then FAILED with a reason",
            "the lease is taken, and cleared once SQS has accepted: nothing is lost, at worst sent twice",
        ),
        (
            "pg-boss",
            "by state and expiry time: whoever overruns is failed; a settlement is fenced by the retry count",
            "retry limit, then failed or to a dead letter queue",
            "none needed: the queue is the table",
        ),
        (
            "Chancy",
            "by the worker's heartbeat; a claim id fences late results",
            "none here: each recovery raises max_attempts by one",
            "none needed: the queue is the table",
        ),
        (
            "Procrastinate",
            "by the worker's heartbeat; the retry looks at the state alone",
            "none",
            "none needed: the queue is the table",
        ),
    ],
)


def measure(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Run ours and the peers in turn, so that each repeat pairs them."""
    sizes = (1_000,) if quick else (10_000, 100_000)
    repeats = 1 if quick else 5
    versions: dict[str, str] = {}
    widths: dict[str, int] = {}
    with servers() as here:
        contenders = _contenders(here, versions, widths)
        taken_s: dict[int, dict[str, list[float]]] = {
            size: {name: [] for name in contenders} for size in sizes
        }
        for size in sizes:
            for turn in range(repeats if size < 100_000 else min(repeats, 3)):
                for name, work in contenders.items():
                    if name == LOOP and (size > 10_000 or turn >= 2):
                        continue  # eleven seconds for ten thousand, and it grows in proportion
                    for part, seconds in work(size).items():
                        taken_s[size].setdefault(part, []).append(seconds)
                        say(f"{turn + 1}  {size:>7} rows  {part}: {seconds:.3f} s")
    return Section(
        "database", TITLE, _figures(taken_s, sizes), _meaning(), _tables(taken_s, versions, widths)
    )


OURS = "this product, all in one statement"
BARE = "the least: one UPDATE of what has expired, on our table"
BATCHED = f"this product, as the workflow does it: {BATCH} a batch, each row looked at afresh"
EXPIRY = "pg-boss, its expiry statement, 1,000 a batch"
SUPERVISE = "pg-boss, its public supervise()"
CHANCY = "Chancy, its Recovery plugin"
LOOP = "Procrastinate, the loop of its documentation"

Work = Callable[[int], dict[str, float]]


def _contenders(here: Servers, versions: dict[str, str], widths: dict[str, int]) -> dict[str, Work]:
    """Prepare everybody; what a contender returns is seconds by what it did."""
    commands: dict[str, tuple[Sequence[str], str]] = {}
    for name in environments.PYTHON_PEERS:
        commands[name] = environments.python_peer(name), here.database(name)
    node, folder = environments.pg_boss()
    boss = here.database("pgboss")

    def ran(name: str, answer: str, size: int) -> dict[str, float]:
        told = json.loads(answer.strip().splitlines()[-1])
        if told["rows"] != size:
            raise environments.PeerFailed(f"{name} put {told['rows']} of {size} rows back")
        versions[name], widths[name] = told["version"], told["width"]
        return dict(told)

    def peer(name: str, label: str) -> Work:
        def work(size: int) -> dict[str, float]:
            command, dsn = commands[name]
            answer = environments.run_peer([*command], dsn, str(size), str(WIDTH))
            return {label: ran(name, answer, size)["seconds"]}

        return work

    def pg_boss(size: int) -> dict[str, float]:
        answer = environments.run_peer(node, boss, str(size), str(WIDTH), cwd=folder)
        told = ran("pg-boss", answer, size)
        return {EXPIRY: told["seconds"], SUPERVISE: told["superviseSeconds"]}

    def ours(size: int) -> dict[str, float]:
        return {
            OURS: reclaim(here, size, at_once=True, widths=widths),
            BATCHED: reclaim(here, size, at_once=False, widths=widths),
            BARE: update_barely(here, size),
        }

    return {
        OURS: ours,
        EXPIRY: pg_boss,
        CHANCY: peer("chancy", CHANCY),
        LOOP: peer("procrastinate", LOOP),
    }


def fill(here: Servers, size: int) -> int:
    """Stale videos of the agreed width; return what it came to, in bytes a row."""
    academy.fill(here.postgres.dsn, processing=size, stale=size)
    with closing(academy.connect(here.postgres.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT avg(pg_column_size(v.*))::int FROM video_video v")
        ((narrow,),) = cursor.fetchall()
        cursor.execute("CREATE TEMP TABLE wide AS SELECT * FROM video_video")
        cursor.execute("UPDATE wide SET title = repeat('x', %s)", (max(0, min(WIDTH - narrow, 255)),))
        cursor.execute("TRUNCATE video_video")
        cursor.execute("INSERT INTO video_video SELECT * FROM wide ORDER BY id")
        cursor.execute("VACUUM (ANALYZE) video_video")
        cursor.execute("SELECT avg(pg_column_size(v.*))::int FROM video_video v")
        ((wide,),) = cursor.fetchall()
        return int(wide)


def reclaim(here: Servers, size: int, *, at_once: bool, widths: dict[str, int]) -> float:
    """Seconds to list what is stuck and to take all of it, with the product's own statements.

    Args:
        here: the servers.
        size: stale videos.
        at_once: in one statement; or as the workflow does it, with a look and a statement per batch.
        widths: is told how wide a row was.
    """
    from video_reclaim.adapters.postgres.store import store

    def work() -> int:
        videos = store().list_candidates()
        if at_once:
            return len(store().take(videos, token=TOKEN, handoff_s=HANDOFF_S).ids)
        ids = [video.id for video in videos]
        taken = 0
        for start in range(0, len(ids), BATCH):
            seen = store().look(ids[start : start + BATCH])
            taken += len(store().take(seen, token=TOKEN, handoff_s=HANDOFF_S).ids)
        return taken

    with environment(here.settings()):
        fill(here, BATCH)
        work()  # a warm function's connection has done this before, like the connections of the peers
        widths["this product"] = fill(here, size)
        began_s = time.perf_counter()
        taken = work()
        seconds = time.perf_counter() - began_s
    return _all_taken(taken, size, seconds)


_BARE = """
UPDATE video_video SET status = 'UPLOADED', leased_by = %s, leased_until = now() + make_interval(secs => %s)
WHERE status = 'PROCESSING' AND leased_until < now()
RETURNING id
"""


def update_barely(here: Servers, size: int) -> float:
    """Seconds for PostgreSQL to write the same rows, whatever decides that they are to be written."""
    with closing(academy.connect(here.postgres.dsn)) as connection, connection.cursor() as cursor:

        def work() -> int:
            cursor.execute(_BARE, (f"reclaim:{TOKEN}", HANDOFF_S))
            return len(cursor.fetchall())

        fill(here, BATCH)
        work()
        fill(here, size)
        began_s = time.perf_counter()
        taken = work()
        seconds = time.perf_counter() - began_s
    return _all_taken(taken, size, seconds)


def _all_taken(taken: int, size: int, seconds: float) -> float:
    if taken != size:
        raise RuntimeError(f"{taken} of {size} videos were taken")
    return seconds


def _figures(taken_s: dict[int, dict[str, list[float]]], sizes: Sequence[int]) -> list[Figure]:
    figures = []
    for size in sizes:
        times, rows = taken_s[size], f"{size:,} rows"
        for key, peer, bound in (("pgboss", EXPIRY, 1.0), ("chancy", CHANCY, 2.0)):
            short = peer.partition(",")[0]
            figures.append(
                Figure(
                    f"{key}_{size}",
                    f"{rows}: times as fast as {short}",
                    RATIO,
                    ratios(times[peer], times[OURS]),
                    Goal("at least", bound),
                    "higher",
                )
            )
            figures.append(
                Figure(
                    f"{key}_batched_{size}",
                    f"{rows}: times as fast as {short}, in the workflow's batches",
                    RATIO,
                    ratios(times[peer], times[BATCHED]),
                    None,
                    "higher",
                )
            )
        figures += [
            Figure(
                f"chancy_bare_{size}",
                f"{rows}: times as fast as Chancy that the least itself is",
                RATIO,
                ratios(times[CHANCY], times[BARE]),
                None,
                "higher",
            ),
            Figure(f"bare_{size}", f"{rows}: times the least", RATIO, ratios(times[OURS], times[BARE])),
        ]
        if times[LOOP]:
            pairs = len(times[LOOP])
            figures.append(
                Figure(
                    f"procrastinate_{size}",
                    f"{rows}: times as fast as Procrastinate",
                    RATIO,
                    ratios(times[LOOP], times[OURS][:pairs]),
                    None,
                    "higher",
                )
            )
    return figures


def _tables(
    taken_s: dict[int, dict[str, list[float]]], versions: dict[str, str], widths: dict[str, int]
) -> list[Table]:
    rows = []
    for size, times in taken_s.items():
        for name, seconds in sorted(times.items(), key=lambda item: min(item[1], default=float("inf"))):
            if seconds:
                figure = Figure("", "", "s", seconds)
                low, high = figure.spread
                rows.append(
                    (
                        f"{size:,}",
                        name,
                        f"{number(figure.median)} ({number(low)} to {number(high)})",
                        number(size / figure.median),
                    )
                )
    contenders = [
        (name, versions.get(name, "this checkout"), f"{width} bytes")
        for name, width in sorted(widths.items())
    ]
    return [
        Table("Medians, with the smallest and largest", ("rows", "", "seconds", "rows a second"), rows),
        Table("Versions, and how wide a row is", ("", "version", "a row"), contenders),
        GUARANTEES,
    ]


def _meaning() -> str:
    return (
        "What is timed is finding the stuck rows and putting them back, over an open connection, after "
        "VACUUM ANALYZE, everybody on the same server. For the peers that is all there is to do, since "
        "their queue is the table; for us it is the first half, and the message follows (it is in the "
        "whole execution above). pg-boss is timed twice: its expiry statement alone, which is what we "
        "are held against, and supervise(), which counts and maintains the queue as well. Ours is timed "
        "twice too: in one statement, which is the like of what they do, and the way the workflow "
        "really goes, in batches small enough to be shown, retried and redriven one by one, each row "
        "read once more before it is taken. Procrastinate's loop goes one job at a time, so it is not "
        "run on the largest table. The least is what nobody on our table can beat: an UPDATE that lists "
        "nothing, asks nobody and fences nothing. PostgreSQL writes each row anew, into the platform's "
        "five indexes too, since `status` and `leased_until` are in three of them. What lies between it "
        "and ours is the listing, which a run has to bring to its caller because Redis has a say, and "
        "the leases on their way back, by which every row is fenced."
    )
