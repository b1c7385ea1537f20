"""Everything that the fault injection knows about the product's own code, and the boundary around it.

The product runs as it is deployed, but with other clients: psycopg2's and redis' are wrapped, and a queue takes the
place of boto3's for SQS. Each call is reported to its invocation before it is made and after it is answered; see
`Invocation.reach`. The other modules take the product's names from here (only `execution.py` follows the states of the
workflow too).
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psycopg2
import psycopg2.extensions
import redis
from botocore.exceptions import EndpointConnectionError

import enqueue
import list_stale_videos
import reclaim
from dev.chaos.environment import FaultyEnvironment, Sandbox, Timing, current
from dev.chaos.history import Record
from dev.chaos.queue import FaultyQueue
from dev.chaos.timeline import Timeline
from dev.local.postgres import Postgres
from dev.local.relay import Relay
from dev.local.valkey import Valkey
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
HEARD_KEY = platform.StageKey.HEARD.of(STAGE)
"""The mark of a Redis in which a heartbeat once moved."""

_REDIS_PATIENCE_S = 0.5
"""The time-out of a call to Redis, in real seconds."""

HANDLERS: Mapping[str, Callable[[dict[str, Any], object], Any]] = {
    "ListStaleVideos": list_stale_videos.handler,
    "Reclaim": reclaim.handler,
    "Enqueue": enqueue.handler,
}
_STATEMENTS = {
    text: name.lower().replace("_", " ") for name, text in vars(statements).items() if name.isupper()
}


def _name_of(commands: Sequence[tuple[Any, ...]]) -> str:
    """Return the name of some Redis commands in the record of calls."""
    names = {str(name) for name, *_ in commands}
    for command, call in (("TIME", "look"), ("ZRANGE", "count"), ("PTTL", "prepare jobs")):
        if command in names:
            return call
    keys = [str(words[0]) for _, *words in commands if words]
    for end, call in (
        (":quarantines", "begin quarantine"),
        (":reclaims", "end counts"),
        (":status", "forget status"),
    ):
        if any(key.endswith(end) for key in keys):
            return call
    return "remember"


@cache
def _store(sandbox: Sandbox) -> Store:
    place = {"host": "127.0.0.1", "name": "academy", "user": "postgres"}
    port = sandbox.environment.postgres_relay.port
    return Store(Database(**place, port=port, ssl_mode="disable", statement_seconds=20))


@cache
def _heartbeats(sandbox: Sandbox) -> Heartbeats:
    url = f"redis://127.0.0.1:{sandbox.environment.redis_relay.port}/0"
    return Heartbeats(Redis(url=url), STAGE, timeout_s=_REDIS_PATIENCE_S)


@contextlib.contextmanager
def boundary(
    timeline: Timeline, postgres: Postgres, valkey: Valkey, timing: Timing
) -> Iterator[FaultyEnvironment]:
    """Replace the clients of the product's functions in this process, within a ``with`` block."""
    record = Record(timeline.now)
    queue = FaultyQueue(now=timeline.now, tell=record.note)
    variables = {
        "STAGE_NAME": STAGE,
        **{f"RECLAIMING_{name.upper()}": str(value) for name, value in asdict(timing).items()},
        "QUEUES_URLS": json.dumps({"Video": [queue.url]}),
        "SCHEDULE_RATE_MINUTES": "1",
    }
    sqs = _Sqs(queue)
    replacements: list[tuple[object, str, object]] = [
        (session, "psycopg2", _replaced(psycopg2, connect=_connect)),
        (redis_session, "redis", _replaced(redis, Redis=_Redis)),
        (aws, "client", lambda _service: sqs),
        (postgres_store, "time", _replaced(time, sleep=timeline.sleep)),
        # Everything happens in the thread of the invocation.
        (
            product_sqs,
            "ThreadPoolExecutor",
            lambda _at_once: contextlib.nullcontext(SimpleNamespace(map=map)),
        ),
        (log, "print", lambda *_, **__: None),
    ]
    for module in (list_stale_videos, reclaim, enqueue):
        replacements.append((module, "store", lambda: _store(current().sandbox)))
        replacements.append((module, "heartbeats", lambda: _heartbeats(current().sandbox)))
    with contextlib.ExitStack() as undo:
        undo.enter_context(mock.patch.dict(os.environ, variables))
        for owner, name, value in replacements:
            undo.enter_context(mock.patch.object(owner, name, value, create=name == "print"))
        postgres_relay = undo.enter_context(Relay(postgres.port))
        redis_relay = undo.enter_context(Relay(valkey.port))
        yield FaultyEnvironment(timeline, postgres_relay, redis_relay, queue, timing, record)


def _replaced(module: object, **names: object) -> SimpleNamespace:
    """Return a module with some of its names replaced."""
    return SimpleNamespace(**{**vars(module), **names})


def _connect(*args: Any, **given: Any) -> Any:  # noqa: ANN401
    current().reach("connect", "before")
    connection = psycopg2.connect(*args, cursor_factory=_Cursor, **given)
    current().sandbox.disconnect.append(connection.close)
    return connection


class _Cursor(psycopg2.extensions.cursor):
    _statement = ""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: ANN401 - psycopg2's own signature
        self._statement = _STATEMENTS[query]
        invocation = current()
        instead = invocation.reach(self._statement, "before", parameters=vars)
        # The comment tells the trigger in `history` whose write it is.
        super().execute(f"/* {invocation.id} */ {instead or query}", None if instead else vars)

    def fetchall(self) -> list[tuple[Any, ...]]:
        rows = super().fetchall()
        current().reach(self._statement, "after", rows=rows)
        return rows


class _Redis(redis.Redis):
    def __init__(self, *args: Any, **given: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **given)
        current().sandbox.disconnect.append(self.connection_pool.disconnect)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:  # noqa: ANN401
        pipeline = super().pipeline(transaction, shard_hint)
        execute = pipeline.execute

        def traced(raise_on_error: bool = True) -> list[Any]:
            commands = [command for command, _ in pipeline.command_stack]
            pipeline.command_stack = [
                (("PEXPIRETIME", *command[1:]) if command[0] == "PTTL" else command, options)
                for command, options in pipeline.command_stack
            ]
            return self._traced(commands, lambda: execute(raise_on_error)) if commands else []

        pipeline.execute = traced  # type: ignore[method-assign]
        return pipeline

    def execute_command(self, *command: Any, **options: Any) -> Any:  # noqa: ANN401
        execute = super().execute_command  # type: ignore[no-untyped-call, unused-ignore]
        (answer,) = self._traced([command], lambda: [execute(*command, **options)])  # type: ignore[no-untyped-call]
        return answer

    def _traced(self, commands: list[tuple[Any, ...]], execute: Callable[[], list[Any]]) -> list[Any]:
        invocation, name = current(), _name_of(commands)
        timeline = invocation.sandbox.environment.timeline
        invocation.reach(name, "before", commands=commands)
        timeline.settle_redis()
        answers = execute()
        for index, command in enumerate(commands):
            if command[0] == "TIME" and isinstance(answers[index], tuple):
                answers[index] = int(timeline.now()), round(timeline.now() % 1 * 1_000_000)
            elif command[0] == "PTTL" and isinstance(answers[index], int):
                answers[index] = timeline.left_ms(answers[index])
        invocation.reach(name, "after", commands=commands, answers=answers)
        return answers


@dataclass
class _Sqs:
    """The queue, with each call reported to its invocation."""

    queue: FaultyQueue

    def send_message_batch(self, **given: Any) -> dict[str, Any]:  # noqa: ANN401
        invocation, videos = current(), [int(entry["Id"]) for entry in given["Entries"]]
        invocation.reach("send", "before", videos=videos)
        answer = self.queue.send_message_batch(**given, sender=invocation.id)
        invocation.reach("send", "after", videos=videos)
        return answer

    def get_queue_attributes(self, **given: Any) -> dict[str, Any]:  # noqa: ANN401
        if current().reach("read depth", "before"):
            raise EndpointConnectionError(endpoint_url=self.queue.url)
        answer = self.queue.get_queue_attributes(**given)
        current().reach("read depth", "after", depth=answer["Attributes"])
        return answer
