"""The product's functions as Lambda runs them, with a boundary around them where faults can strike.

Each sandbox is one of Lambda's: it runs one invocation at a time, keeps its connections from one to the next,
and may die at any moment. The boundary lies in the libraries through which the product touches the world
(psycopg2, redis, boto3): the product's own code runs as it is deployed. What dies here dies by an exception
that nothing catches, after which its connections are cut and every later call of its fails the same way.
"""

import contextlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import psycopg2
import psycopg2.extensions
import redis

from dev.chaos.history import Record
from dev.chaos.queue import INVOCATION_HEADER, PATIENCE_S, Queue
from dev.chaos.relay import Relay
from dev.local.emulator import CREDENTIALS, REGION

if TYPE_CHECKING:
    import boto3

When = Literal["before", "after"]
Strike = Callable[["Invocation", str, When, Any], str | None]

LAMBDA_FAILURES = ("Lambda.Unknown", "Runtime.ExitError", "Lambda.ServiceException", "Sandbox.Timedout")


class Died(BaseException):
    """The function's process is gone."""


class LambdaError(Exception):
    """What Step Functions sees of a failed invocation.

    Attributes:
        name: the error's name.
    """

    def __init__(self, name: str, cause: str = "") -> None:
        super().__init__(f"{name}: {cause}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Timing:
    """The product's settings and what surrounds them, in real seconds.

    Attributes:
        confirm_s: CONFIRM_SILENCE_SECONDS.
        strike_memory_s: STRIKE_MEMORY_SECONDS; whole seconds.
        handoff_s: HANDOFF_SECONDS.
        max_reclaims: MAX_RECLAIMS.
        function_s: after this long a function is ended.
        redis_patience_s: REDIS_TIMEOUT_SECONDS.
        retry_scale: what the state machine's retry intervals are multiplied with.
        second_look_s: how long the state machine waits before the second look.
    """

    confirm_s: float = 60
    strike_memory_s: int = 900
    handoff_s: float = 900
    max_reclaims: int = 5
    function_s: float = 60
    redis_patience_s: float = 2
    retry_scale: float = 1.0
    second_look_s: float = 0.0

    @classmethod
    def scaled(cls, minute_s: float, *, max_reclaims: int = 5) -> "Timing":
        """The defaults, with a minute lasting ``minute_s`` seconds.

        A machine does not become faster: a function may take at least two seconds all the same, which
        stays far below half a handoff.
        """
        return cls(
            confirm_s=minute_s / 2,
            second_look_s=minute_s * 32 / 60,
            strike_memory_s=max(1, round(15 * minute_s)),
            handoff_s=15 * minute_s,
            max_reclaims=max_reclaims,
            function_s=max(minute_s, 2.0),
            redis_patience_s=max(2 * minute_s / 60, 0.1),
            retry_scale=minute_s / 60,
        )


@dataclass
class Invocation:
    """One call of a function.

    Attributes:
        id: unlike any other.
        step: the function.
        event: what it was given.
        faults: what has struck it.
    """

    id: str
    step: str
    event: dict[str, Any]
    sandbox: "Sandbox"
    answer: "Future[Any]" = field(default_factory=Future)
    deadline: float = 0.0
    faults: list[str] = field(default_factory=list)

    def reach(self, call: str, when: When, connection: Any = None, **details: Any) -> str | None:  # noqa: ANN401
        """Pass the boundary; return a statement to run instead, or None. Raises Died."""
        if self.sandbox.dead:
            raise Died(call)
        world = self.sandbox.world
        if time.monotonic() > self.deadline:
            self.struck("the function runs out of time")
            self.die()
        world.record.note("call", invocation=self.id, step=self.step, call=call, when=when, **details)
        return world.strike(self, call, when, connection)

    def struck(self, fault: str) -> None:
        """Put down a fault that is about to strike."""
        self.faults.append(fault)
        self.sandbox.world.record.note(
            "fault", fault=fault, invocation=self.id, step=self.step, videos=self.event.get("videos", [])
        )

    def die(self) -> None:
        """End the process here. Raises Died."""
        self.sandbox.dead = True
        raise Died

    def be_overtaken(self, by_s: float) -> None:
        """Let Step Functions believe that this invocation failed, while it goes on ``by_s`` seconds later."""
        if not self.answer.done():
            self.answer.set_exception(LambdaError("Lambda.Unknown", "the answer never came"))
        time.sleep(by_s)

    def cut(self, connection: Any, when: Literal["before", "during", "after"]) -> None:  # noqa: ANN401
        """Have the relay cut this database connection at its next statement."""
        self.sandbox.world.postgres_relay.cut(_local_port(connection.fileno()), when)


def _local_port(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as end:
        port: int = end.getsockname()[1]
        return port


@dataclass
class World:
    """Where the functions live.

    Attributes:
        postgres_relay: the way to the database.
        redis_relay: the way to Redis.
        queue: the queue.
        timing: how long things take.
        record: hears of everything.
        strike: asked at each boundary; it may raise, wait, or return a statement to run instead.
        settings: changes to what the functions read from their environment, by field.
    """

    postgres_relay: Relay
    redis_relay: Relay
    queue: Queue
    timing: Timing
    record: Record
    strike: Strike = lambda _invocation, _call, _when, _connection: None
    rng: random.Random = field(default_factory=lambda: random.Random(0))


class Sandbox:
    """One process of a function, with its own connections."""

    def __init__(self, world: World) -> None:
        from video_reclaim.adapters.heartbeats import Heartbeats
        from video_reclaim.adapters.postgres.store import Store
        from video_reclaim.settings import Database, Redis

        self.world = world
        self.dead = False
        self.descriptors: list[Any] = []
        self.store: Store = Store(
            Database(
                host="127.0.0.1",
                port=world.postgres_relay.port,
                name="academy",
                user="postgres",
                ssl_mode="disable",
                statement_seconds=20,
            )
        )
        self.heartbeats: Heartbeats = Heartbeats(
            Redis(url=f"redis://127.0.0.1:{world.redis_relay.port}/0"),
            timeout_s=world.timing.redis_patience_s,
        )

    def bury(self) -> None:
        """Cut all that the dead process held open."""
        self.dead = True
        for connection in self.descriptors:
            with contextlib.suppress(Exception):
                with socket.socket(fileno=os.dup(connection.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)
                connection.close()
        client = self.heartbeats._client
        if client is not None:
            client.connection_pool.disconnect()


_current = threading.local()


def _here() -> Invocation | None:
    return getattr(_current, "invocation", None)


class _Cursor(psycopg2.extensions.cursor):
    _statement = ""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: ANN401 - psycopg2's own signature
        here = _here()
        if here is None:
            return super().execute(query, vars)
        self._statement = _statement_names().get(query, "statement")
        instead = here.reach(self._statement, "before", self.connection, parameters=vars)
        super().execute(instead or query, None if instead else vars)
        return None

    def fetchall(self) -> list[tuple[Any, ...]]:
        rows = super().fetchall()
        here = _here()
        if here is not None:
            here.reach(self._statement, "after", self.connection, rows=rows)
        return rows


class _Redis(redis.Redis):
    def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        here = _here()
        if here is None:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        here.reach("read heartbeats", "before", self, commands=[args])
        answers = super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        here.reach("read heartbeats", "after", self, commands=[args], answers=[answers])
        return answers

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:  # noqa: ANN401
        pipeline = super().pipeline(transaction, shard_hint)
        execute = pipeline.execute

        def traced(raise_on_error: bool = True) -> list[Any]:
            here = _here()
            commands = [tuple(command[0]) for command in pipeline.command_stack]
            if here is None or not commands:
                return list(execute(raise_on_error))
            name = _pipeline_name(commands)
            here.reach(name, "before", self, commands=commands)
            answers: list[Any] = execute(raise_on_error)
            here.reach(name, "after", self, commands=commands, answers=list(answers))
            return answers

        pipeline.execute = traced  # type: ignore[method-assign]
        return pipeline


def _pipeline_name(commands: Sequence[tuple[Any, ...]]) -> str:
    last, key = commands[-1][0], str(commands[-1][1])
    if last == "ZRANGE":
        return "read heartbeats and reclaims"
    if last == "ZREM":
        return "take back counts"
    return "record strikes" if key.endswith(":silence") else "forget reclaims"


class _Queue:
    """The product's client for SQS: boto3's own, with the invocation's name on each call."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401
        self._client = client

    def send_message_batch(self, **request: Any) -> Any:  # noqa: ANN401
        here = _here()
        if here is None:
            return self._client.send_message_batch(**request)
        videos = [int(entry["Id"]) for entry in request["Entries"]]
        here.reach("send", "before", videos=videos)
        answer = self._client.send_message_batch(**request)
        here.reach("send", "after", videos=videos)
        return answer


@cache
def aws_session() -> "boto3.Session":
    """The session that every client here comes from: it reads boto3's descriptions of AWS only once."""
    import boto3

    return boto3.Session(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])


@contextlib.contextmanager
def boundary(world: World) -> Iterator[None]:
    """Lay the boundary around the product's functions in this process, for the length of a ``with`` block."""
    from botocore import endpoint
    from botocore.config import Config

    import enqueue
    import list_stale_videos
    import reclaim
    from video_reclaim import aws, log
    from video_reclaim.adapters import heartbeats
    from video_reclaim.adapters.postgres import session
    from video_reclaim.settings import Queues, Reclaiming, Schedule

    timing = world.timing
    settings: dict[type, object] = {
        Reclaiming: Reclaiming(
            confirm_silence_seconds=timing.confirm_s,  # type: ignore[arg-type]
            handoff_seconds=timing.handoff_s,  # type: ignore[arg-type]
            max_reclaims=timing.max_reclaims,
        ),
        Schedule: Schedule(rate_minutes=1),
        Queues: Queues(urls={"Video": [world.queue.url]}),
    }
    client = aws_session().client(
        "sqs",
        region_name=REGION,
        endpoint_url=world.queue.endpoint_url,
        config=Config(
            connect_timeout=PATIENCE_S,
            read_timeout=PATIENCE_S,
            retries={"total_max_attempts": 3, "mode": "standard"},
            max_pool_connections=64,
        ),
    )

    def sign(params: dict[str, Any], **_: object) -> None:
        here = _here()
        if here is not None:
            params["headers"][INVOCATION_HEADER] = here.id

    client.meta.events.register("before-call.sqs", sign)
    scaled_sleep = _Overlay(time, sleep=lambda s: time.sleep(s * timing.retry_scale))

    def here() -> Sandbox:
        invocation = _here()
        if invocation is None:
            raise RuntimeError("called outside of an invocation")
        return invocation.sandbox

    def connect(*args: Any, **given: Any) -> Any:  # noqa: ANN401
        invocation = _here()
        if invocation is not None:
            invocation.reach("connect", "before")
        connection = psycopg2.connect(*args, cursor_factory=_Cursor, **given)
        if invocation is not None:
            invocation.sandbox.descriptors.append(connection)
        return connection

    with contextlib.ExitStack() as undo:

        def put(owner: object, name: str, value: object) -> None:
            undo.enter_context(mock.patch.object(owner, name, value))

        put(session, "psycopg2", _Overlay(psycopg2, connect=connect))
        put(heartbeats, "redis", _Overlay(redis, Redis=_Redis))
        put(aws, "client", lambda _service: _Queue(client))
        put(endpoint, "time", scaled_sleep)
        put(log, "_write", lambda _level, _message, _details: None)
        put(list_stale_videos, "strike_memory_s", lambda _confirm_s, _minutes: timing.strike_memory_s)
        for module in (list_stale_videos, reclaim, enqueue):
            put(module, "read", settings.__getitem__)
            put(module, "store", lambda: here().store)
        for module in (list_stale_videos, reclaim):
            put(module, "heartbeats", lambda: here().heartbeats)
        yield


class _Overlay:
    """A module with some of its names replaced."""

    def __init__(self, module: object, **replaced: object) -> None:
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._module, name)


def _statement_names() -> Mapping[str, str]:
    from video_reclaim.adapters.postgres import statements

    return {
        statements.SET_UP_SESSION: "settle in",
        statements.LIST_CANDIDATES: "list",
        statements.READ_VIDEOS: "look",
        statements.LEASE_FOR_HANDOFF: "take",
        statements.QUARANTINE: "quarantine",
        statements.READ_HANDOFFS: "read handoffs",
        statements.CLEAR_HANDOFFS: "clear handoffs",
    }


class Lambdas:
    """Runs the functions, each invocation in a sandbox that may have served before."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._warm: dict[str, list[Sandbox]] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="lambda")
        self._numbers = iter(range(1, 1 << 60))

    def invoke(self, step: str, event: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a JSON value
        """Call a function and return its answer.

        Raises:
            LambdaError: as Step Functions would see it.
        """
        with self._lock:
            warm = self._warm.setdefault(step, [])
            sandbox = warm.pop() if warm else Sandbox(self.world)
            invocation = Invocation(
                f"{step}-{next(self._numbers)}", step, json.loads(json.dumps(event)), sandbox
            )
        self._threads.submit(self._run, invocation)
        return invocation.answer.result()

    def close(self) -> None:
        """Wait for what still runs, and cut every connection."""
        self._threads.shutdown()
        for sandbox in [sandbox for warm in self._warm.values() for sandbox in warm]:
            sandbox.bury()

    def forget(self) -> None:
        """Let every idle sandbox end, as a deployment does."""
        with self._lock:
            idle, self._warm = [s for warm in self._warm.values() for s in warm], {}
        for sandbox in idle:
            sandbox.bury()

    def _run(self, invocation: Invocation) -> None:
        record, sandbox = self.world.record, invocation.sandbox
        _current.invocation = invocation
        invocation.deadline = time.monotonic() + self.world.timing.function_s
        record.note("began", invocation=invocation.id, step=invocation.step, event=invocation.event)
        outcome: Any
        try:
            answer = _handler(invocation.step)(invocation.event, None)
            answer = json.loads(json.dumps(answer))
            invocation.reach("answer", "before")
            outcome = answer
        except Died:
            sandbox.dead = True
            outcome = LambdaError(self.world.rng.choice(LAMBDA_FAILURES), "the process ended")
        except Exception as exc:
            outcome = LambdaError(type(exc).__name__, str(exc))
        finally:
            _current.invocation = None
        error = outcome.name if isinstance(outcome, LambdaError) else None
        record.note(
            "ended", invocation=invocation.id, step=invocation.step, error=error, faults=invocation.faults
        )
        if sandbox.dead:
            sandbox.bury()
        else:
            with self._lock:
                self._warm.setdefault(invocation.step, []).append(sandbox)
        if not invocation.answer.done():
            if isinstance(outcome, LambdaError):
                invocation.answer.set_exception(outcome)
            else:
                invocation.answer.set_result(outcome)


def _handler(step: str) -> Callable[[dict[str, Any], object], Any]:
    import enqueue
    import list_stale_videos
    import reclaim

    return {
        "ListStaleVideos": list_stale_videos.handler,
        "Reclaim": reclaim.handler,
        "Enqueue": enqueue.handler,
    }[step]
