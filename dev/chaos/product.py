"""Everything that the fault injection knows about the product's own code.

Classes, named statements, settings, handlers, and what the handlers look up at run time. The other modules of
this package take these from here, so that a change in the product's layout or names changes this file alone
(and `execution.py`, which follows the states of the workflow).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore import endpoint

import enqueue
import list_stale_videos
import reclaim
from dev.chaos.environment import Timing
from video_reclaim import aws, log
from video_reclaim.adapters import autoscaling, cloudwatch
from video_reclaim.adapters.postgres import session, statements
from video_reclaim.adapters.postgres import store as postgres_store
from video_reclaim.adapters.postgres.store import Store
from video_reclaim.adapters.redis import session as redis_session
from video_reclaim.adapters.redis.heartbeats import Heartbeats
from video_reclaim.rules import platform, staleness, waiting
from video_reclaim.settings import Database, Queues, Reclaiming, Redis, Schedule, Workers

STATE_MACHINE = Path(__file__).resolve().parents[2] / "state_machines/reclaim_videos.asl.json"
QUARANTINE_REASON = platform.QUARANTINE_PREFIX
"""How the ``error_reason`` of a quarantined video begins."""
ID, STATUS, TENANT, LEASED_BY, EXPIRED, NOW_S = 0, 1, 2, 3, 6, 8
"""Columns of ``list candidates`` and ``read videos``; the last is the database's clock, seconds since 1970."""
CLEARINGS = 1 + len(postgres_store._LOCKED_ROW_WAITS_S)
"""So often a locked row's handoff is tried to be cleared."""
MASS = staleness._MASS
"""So many workers must be silent, and none heard, for mass silence."""
QUEUE_EMPTY_FIELD, LOOKED_AT_FIELD = b"queue-empty", b"looked-at"
HEARTBEAT_SEEN_KEY, WAITING_KEY = platform.HEARTBEAT_SEEN_KEY, platform.WAITING_KEY
COUNTED_KEY = platform.COUNTED_KEY
silence_key, reclaims_key = platform.silence_key, platform.reclaims_key
instance_of = platform.instance_of

HANDLERS: Mapping[str, Callable[[dict[str, Any], object], Any]] = {
    "ListStaleVideos": list_stale_videos.handler,
    "Reclaim": reclaim.handler,
    "Enqueue": enqueue.handler,
}
STATEMENTS: Mapping[str, str] = {
    statements.SET_UP_SESSION: "set up session",
    statements.LIST_CANDIDATES: "list candidates",
    statements.READ_VIDEOS: "read videos",
    statements.LEASE_FOR_HANDOFF: "lease for handoff",
    statements.QUARANTINE: "quarantine",
    statements.READ_HANDOFFS: "read handoffs",
    statements.CLEAR_HANDOFFS: "clear handoffs",
    statements.READ_OWN: "read own",
    statements.READ_UNCLEARED: "read uncleared",
    statements.READ_UNFINISHED: "read unfinished",
}
"""Each SQL statement's name in the record of calls."""


def redis_answers(commands: Sequence[tuple[Any, ...]], answers: Sequence[Any]) -> list[Any]:
    """Return the answer to each command of a pipeline; inside MULTI and EXEC it comes with the EXEC."""
    found, queued = list(answers), list[int]()
    for index, (name, *_) in enumerate(commands):
        if name == "MULTI":
            queued = []
        elif name == "EXEC":
            for position, answer in zip(queued, answers[index], strict=True):
                found[position] = answer
        else:
            queued.append(index)
    return found


def redis_call(commands: Sequence[tuple[Any, ...]]) -> str:
    """Return the name of a pipeline of Redis commands in the record of calls."""
    first, key = next((name, str(words[0])) for name, *words in commands if words)
    if key == WAITING_KEY:
        return "take waits" if first == "HMGET" else "record waits"
    if first in ("TTL", "MGET"):
        return "read heartbeats"
    if first == "EXISTS":
        return "read heartbeats and reclaims" if key == HEARTBEAT_SEEN_KEY else "read missing heartbeats"
    if first == "PTTL":
        return "prepare jobs"
    if first == "ZREM":
        return "undo counts"
    names = {"reclaims": "end counts", "status": "forget status"}
    return names.get(key.rpartition(":")[2], "record strikes")


def open_store(port: int) -> Store:
    """Return a store for the database behind ``port``; it connects on first use."""
    return Store(
        Database(
            host="127.0.0.1",
            port=port,
            name="academy",
            user="postgres",
            ssl_mode="disable",
            statement_seconds=20,
        )
    )


def open_heartbeats(port: int, timing: Timing) -> Heartbeats:
    """Return heartbeats from the Redis behind ``port``; they connect on first use."""
    return Heartbeats(Redis(url=f"redis://127.0.0.1:{port}/0"), timeout_s=timing.redis_patience_s)


def disconnect(connected: Heartbeats) -> None:
    """Cut every connection to Redis, if there is any."""
    client = connected._session._client
    if client is not None:
        client.connection_pool.disconnect()


def replacements(
    timing: Timing,
    queue_url: str,
    *,
    psycopg2: object,
    redis: object,
    sqs: Callable[[], object],
    instances: Callable[[str], set[str] | None],
    oldest_message_s: Callable[..., float | None],
    retry_clock: object,
    store: Callable[[], Store],
    beats: Callable[[], Heartbeats],
) -> Iterator[tuple[object, str, object]]:
    """Yield what to replace in the product's modules: the owner, the name and its replacement.

    Args:
        timing: becomes the settings that the handlers read.
        queue_url: the queue that the handlers send to.
        psycopg2: in place of the library.
        redis: in place of the library.
        sqs: returns the client of the current invocation, in place of boto3's.
        instances: in place of the question to Auto Scaling.
        oldest_message_s: in place of the question to CloudWatch.
        retry_clock: in place of the module ``time`` where botocore waits between attempts.
        store: returns the store of the current invocation.
        beats: returns the heartbeats of the current invocation.
    """
    settings: dict[type, object] = {
        Reclaiming: Reclaiming(
            confirm_silence_seconds=timing.confirm_s,  # type: ignore[arg-type]
            handoff_seconds=timing.handoff_s,  # type: ignore[arg-type]
            max_reclaims=timing.max_reclaims,
            mass_silence_seconds=timing.mass_silence_s,  # type: ignore[arg-type]
            lost_after_seconds=timing.lost_after_s,  # type: ignore[arg-type]
            lost_messages=timing.lost_messages,
            expired_but_beating=timing.expired_but_beating,
        ),
        Workers: Workers(group_name="any"),
        Schedule: Schedule(rate_minutes=1),
        Queues: Queues(urls={"Video": [queue_url]}),
    }
    yield session, "psycopg2", psycopg2
    yield redis_session, "redis", redis
    yield aws, "client", lambda _service: sqs()
    yield endpoint, "time", retry_clock
    yield log, "_write", lambda _level, _message, _details: None
    yield list_stale_videos, "strike_memory_s", lambda _minutes: timing.strike_memory_s
    for module in (list_stale_videos, reclaim, enqueue):
        yield module, "read", settings.__getitem__
        yield module, "store", store
        yield module, "heartbeats", beats
    yield autoscaling, "instances", instances
    yield cloudwatch, "oldest_message_s", oldest_message_s
    yield waiting, "WORKER_RECEIVE_LIMIT_S", timing.receive_limit_s
    yield waiting, "_EMPTY_LOOKS_APART_S", timing.empty_looks_apart_s
    for name in ("_LOCKED_ROW_WAITS_S", "_RENEWED_ROW_WAITS_S"):
        waits_s = tuple(timing.locked_row_scale * wait_s for wait_s in getattr(postgres_store, name))
        yield postgres_store, name, waits_s
