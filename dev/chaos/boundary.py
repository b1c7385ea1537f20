"""The client libraries of the product (psycopg2, redis, boto3), wrapped so that faults can be injected.

The product's own code runs as it is deployed. Each call to a service is reported to its invocation before it
is made and after it is answered; see `Invocation.reach`.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest import mock

import psycopg2
import psycopg2.extensions
import redis
from botocore.exceptions import EndpointConnectionError

from dev.chaos import product
from dev.chaos.environment import FaultyEnvironment
from dev.chaos.invocation import current
from dev.chaos.queue import PATIENCE_S
from dev.chaos.sandbox import Sandbox
from dev.chaos.sqs_server import INVOCATION_HEADER
from dev.local.emulator import CREDENTIALS, REGION

if TYPE_CHECKING:
    import boto3


class _Cursor(psycopg2.extensions.cursor):
    _statement = ""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: ANN401 - psycopg2's own signature
        invocation = current()
        if invocation is None:
            return super().execute(query, vars)
        self._statement = product.STATEMENTS.get(query, "statement")
        instead = invocation.reach(self._statement, "before", self.connection, parameters=vars)
        super().execute(instead or query, None if instead else vars)
        return None

    def fetchall(self) -> list[tuple[Any, ...]]:
        rows = super().fetchall()
        invocation = current()
        if invocation is not None:
            invocation.reach(self._statement, "after", self.connection, rows=rows)
        return rows


class _Redis(redis.Redis):
    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:  # noqa: ANN401
        pipeline = super().pipeline(transaction, shard_hint)
        execute = pipeline.execute

        def traced(raise_on_error: bool = True) -> list[Any]:
            commands = [tuple(command[0]) for command in pipeline.command_stack]
            return list(self._traced(commands, lambda: execute(raise_on_error))) if commands else []

        pipeline.execute = traced  # type: ignore[method-assign]
        return pipeline

    def execute_command(self, *command: Any, **options: Any) -> Any:  # noqa: ANN401
        execute = super().execute_command  # type: ignore[no-untyped-call, unused-ignore]
        (answer,) = self._traced([command], lambda: [execute(*command, **options)])  # type: ignore[no-untyped-call]
        return answer

    def _traced(self, commands: list[tuple[Any, ...]], execute: Callable[[], list[Any]]) -> list[Any]:
        invocation = current()
        if invocation is None:
            return execute()
        name = product.redis_call(commands)
        invocation.reach(name, "before", self, commands=commands)
        ahead_s = invocation.sandbox.environment.schedule.ahead_s
        answers = [
            _later(answer, ahead_s) if command[0] == "TIME" else answer
            for command, answer in zip(commands, execute(), strict=True)
        ]
        invocation.reach(name, "after", self, commands=commands, answers=answers)
        return answers


def _later(answer: Any, ahead_s: float) -> Any:  # noqa: ANN401
    """Return Redis's clock as the schedule has it: seconds and microseconds."""
    if not isinstance(answer, tuple):
        return answer
    at_us = answer[0] * 1_000_000 + answer[1] + round(ahead_s * 1_000_000)
    return at_us // 1_000_000, at_us % 1_000_000


class _Queue:
    """boto3's client for SQS, with each call reported to its invocation."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401
        self._client = client

    def get_queue_attributes(self, **request: Any) -> Any:  # noqa: ANN401
        invocation = current()
        if invocation is None:
            return self._client.get_queue_attributes(**request)
        if invocation.reach("read depth", "before"):
            raise EndpointConnectionError(endpoint_url=request["QueueUrl"])
        answer = self._client.get_queue_attributes(**request)
        invocation.reach("read depth", "after", depth=answer["Attributes"])
        return answer

    def send_message_batch(self, **request: Any) -> Any:  # noqa: ANN401
        invocation = current()
        if invocation is None:
            return self._client.send_message_batch(**request)
        videos = [int(entry["Id"]) for entry in request["Entries"]]
        invocation.reach("send", "before", videos=videos)
        answer = self._client.send_message_batch(**request)
        invocation.reach("send", "after", videos=videos)
        return answer


class _NoThreads:
    """In place of a pool of threads: everything happens in the thread of the invocation."""

    def __init__(self, _at_once: int) -> None:
        pass

    def __enter__(self) -> "_NoThreads":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(work, items)


class _Overlay:
    """A module with some of its names replaced."""

    def __init__(self, module: object, **replaced: object) -> None:
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._module, name)


@cache
def aws_session() -> "boto3.Session":
    """Return the session that all clients of this process share: boto3 reads its data files once."""
    import boto3

    return boto3.Session(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])


@contextlib.contextmanager
def boundary(environment: FaultyEnvironment) -> Iterator[None]:
    """Wrap the client libraries of the product's functions in this process, within a ``with`` block."""
    sqs, timing = _sqs_client(environment.queue.endpoint_url), environment.timing
    with contextlib.ExitStack() as undo:
        undo.enter_context(mock.patch.dict(os.environ, product.settings(timing, environment.queue.url)))
        for owner, name, value in product.replacements(
            psycopg2=_Overlay(psycopg2, connect=_connect),
            redis=_Overlay(redis, Redis=_Redis),
            sqs=lambda: _Queue(sqs),
            clock=_Overlay(time, sleep=environment.schedule.sleep),
            threads=_NoThreads,
            store=lambda: _sandbox().store,
            beats=lambda: _sandbox().heartbeats,
        ):
            undo.enter_context(mock.patch.object(owner, name, value))
        yield


def _sqs_client(endpoint_url: str) -> Any:  # noqa: ANN401
    from botocore.config import Config

    client = aws_session().client(
        "sqs",
        region_name=REGION,
        endpoint_url=endpoint_url,
        config=Config(
            connect_timeout=PATIENCE_S,
            read_timeout=PATIENCE_S,
            retries={"total_max_attempts": 3, "mode": "standard"},
            max_pool_connections=64,
        ),
    )

    def sign(params: dict[str, Any], **_: object) -> None:
        invocation = current()
        if invocation is not None:
            params["headers"][INVOCATION_HEADER] = invocation.id

    client.meta.events.register("before-call.sqs", sign)
    return client


def _sandbox() -> Sandbox:
    invocation = current()
    if invocation is None:
        raise RuntimeError("called outside of an invocation")
    return invocation.sandbox


def _connect(*args: Any, **given: Any) -> Any:  # noqa: ANN401
    invocation = current()
    if invocation is not None:
        invocation.reach("connect", "before")
    connection = psycopg2.connect(*args, cursor_factory=_Cursor, **given)
    if invocation is not None:
        invocation.sandbox.connections.append(connection)
    return connection
