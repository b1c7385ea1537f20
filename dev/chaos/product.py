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
from video_reclaim.adapters import sqs as product_sqs
from video_reclaim.adapters.postgres import session, statements
from video_reclaim.adapters.postgres import store as postgres_store
from video_reclaim.adapters.postgres.store import Store
from video_reclaim.adapters.redis import session as redis_session
from video_reclaim.adapters.redis.heartbeats import Heartbeats
from video_reclaim.rules import platform
from video_reclaim.settings import Database, Redis

STATE_MACHINE = Path(__file__).resolve().parents[2] / "state_machines/reclaim_videos.asl.json"
QUARANTINE_REASON = platform.QUARANTINE_PREFIX
"""How the ``error_reason`` of a quarantined video begins."""
STAGE = "chaos"
CLEARINGS = 1 + len(postgres_store._LOCKED_ROW_WAITS_S)
"""So often a locked row's handoff is tried to be cleared."""
HEARD_KEY = platform.StageKey.HEARD.of(STAGE)
"""The mark of a Redis in which a heartbeat once moved."""

HANDLERS: Mapping[str, Callable[[dict[str, Any], object], Any]] = {
    "ListStaleVideos": list_stale_videos.handler,
    "Reclaim": reclaim.handler,
    "Enqueue": enqueue.handler,
}
STATEMENTS: Mapping[str, str] = {
    text: name.lower().replace("_", " ")
    for name, text in vars(statements).items()
    if name.isupper() and name[0] != "_"
}
"""Each SQL statement's name in the record of calls."""


def redis_call(commands: Sequence[tuple[Any, ...]]) -> str:
    """Return the name of some Redis commands in the record of calls."""
    names = {str(name) for name, *_ in commands}
    if "TIME" in names:
        return "look"
    if "ZRANGE" in names:
        return "count"
    if "PTTL" in names:
        return "prepare jobs"
    keys = [str(words[0]) for _, *words in commands if words]
    if any(key.endswith(":quarantines") for key in keys):
        return "begin quarantine"
    if any(key.endswith(":reclaims") for key in keys):
        return "end counts"
    return "forget status" if keys[0].endswith(":status") else "remember"


def settings(timing: Timing, queue_url: str) -> dict[str, str]:
    """Return the environment variables from which the handlers read their settings."""
    return {
        "STAGE_NAME": STAGE,
        "RECLAIMING_SILENT_AFTER_SECONDS": str(timing.silent_after_s),
        "RECLAIMING_MASS_SILENCE_SECONDS": str(timing.mass_silence_s),
        "RECLAIMING_LOST_AFTER_SECONDS": str(timing.lost_after_s),
        "RECLAIMING_HANDOFF_SECONDS": str(timing.handoff_s),
        "RECLAIMING_MAX_RECLAIMS": str(timing.max_reclaims),
        "RECLAIMING_EXPIRED_BUT_BEATING": timing.expired_but_beating,
        "QUEUES_URLS": f'{{"Video": ["{queue_url}"]}}',
        "SCHEDULE_RATE_MINUTES": "1",
    }


def open_store(port: int) -> Store:
    """Return a store for the database behind ``port``; it connects on first use."""
    place = {"host": "127.0.0.1", "port": port, "name": "academy", "user": "postgres"}
    return Store(Database(**place, ssl_mode="disable", statement_seconds=20))  # type: ignore[arg-type]


def open_heartbeats(port: int, timing: Timing) -> Heartbeats:
    """Return heartbeats from the Redis behind ``port``; they connect on first use."""
    return Heartbeats(Redis(url=f"redis://127.0.0.1:{port}/0"), STAGE, timeout_s=timing.redis_patience_s)


def disconnect(connected: Heartbeats) -> None:
    """Cut every connection to Redis, if there is any."""
    client = connected._session._client
    if client is not None:
        client.connection_pool.disconnect()


def replacements(
    *,
    psycopg2: object,
    redis: object,
    sqs: Callable[[], object],
    clock: object,
    threads: object,
    store: Callable[[], Store],
    beats: Callable[[], Heartbeats],
) -> Iterator[tuple[object, str, object]]:
    """Yield what to replace in the product's modules: the owner, the name and its replacement.

    Args:
        psycopg2: in place of the library.
        redis: in place of the library.
        sqs: returns the client of the current invocation, in place of boto3's.
        clock: in place of the module ``time`` where the store and botocore wait between attempts.
        threads: in place of the pool of threads that send messages.
        store: returns the store of the current invocation.
        beats: returns the heartbeats of the current invocation.
    """
    yield session, "psycopg2", psycopg2
    yield redis_session, "redis", redis
    yield aws, "client", lambda _service: sqs()
    yield endpoint, "time", clock
    yield postgres_store, "time", clock
    yield product_sqs, "ThreadPoolExecutor", threads
    yield log, "_write", lambda _level, _message, _details: None
    for module in (list_stale_videos, reclaim, enqueue):
        yield module, "store", store
        yield module, "heartbeats", beats
