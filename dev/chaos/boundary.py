"""The client libraries of the product (psycopg2, redis, boto3), wrapped so that faults can be injected.

The product's own code runs as it is deployed. Each call to a service is reported to its invocation before it
is made and after it is answered; see `Invocation.reach`.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest import mock

import psycopg2
import psycopg2.extensions
import redis
from botocore.exceptions import EndpointConnectionError

from dev.chaos import product
from dev.chaos.environment import FaultyEnvironment
from dev.chaos.invocation import current, set_current
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
            invocation = current()
            commands = [tuple(command[0]) for command in pipeline.command_stack]
            if invocation is None or not commands:
                return list(execute(raise_on_error))
            name = product.redis_call(commands)
            invocation.reach(name, "before", self, commands=commands)
            answers: list[Any] = execute(raise_on_error)
            invocation.reach(
                name, "after", self, commands=commands, answers=product.redis_answers(commands, answers)
            )
            return answers

        pipeline.execute = traced  # type: ignore[method-assign]
        return pipeline


class _Queue:
    """boto3's client for SQS, with each call reported to the invocation that asked for the client.

    The product makes its calls on threads of its own, which are tied to the invocation here.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401
        self._client = client
        self._invocation = current()

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
        invocation = self._invocation
        set_current(invocation)
        if invocation is None:
            return self._client.send_message_batch(**request)
        videos = [int(entry["Id"]) for entry in request["Entries"]]
        invocation.reach("send", "before", videos=videos)
        answer = self._client.send_message_batch(**request)
        invocation.reach("send", "after", videos=videos)
        return answer


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
    scale, sqs = environment.timing.retry_scale, _sqs_client(environment.queue.endpoint_url)
    with contextlib.ExitStack() as undo:
        for owner, name, value in product.replacements(
            environment.timing,
            environment.queue.url,
            psycopg2=_Overlay(psycopg2, connect=_connect),
            redis=_Overlay(redis, Redis=_Redis),
            sqs=lambda: _Queue(sqs),
            instances=lambda _name: _reported("read group", environment.instances),
            oldest_message_s=lambda _name, *, at: _reported("read oldest", environment.queue.oldest_s),
            retry_clock=_Overlay(time, sleep=lambda s: time.sleep(s * scale)),
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


def _reported(call: str, ask: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Ask a service that has no client of its own here; None if a fault is injected."""
    invocation = current()
    if invocation is None or invocation.reach(call, "before"):
        return None
    answer = ask()
    invocation.reach(call, "after", answer=answer)
    return answer


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
