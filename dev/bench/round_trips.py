"""How often a video costs a round trip to a store, counted where the calls leave."""

import contextlib
import io
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import redis.connection

from dev.bench import academy, cold_start
from dev.bench.figures import Figure, Goal, Section, Table, number
from dev.bench.servers import environment

TITLE = "Round trips"
BATCH = 100

PLATFORM = Table(
    "The platform's own way, a video",
    ("store", "round trips"),
    [
        ("PostgreSQL", "5: BEGIN, SELECT … FOR UPDATE, UPDATE, COMMIT, refresh"),
        ("Redis", "1: EXISTS"),
        ("SQS", "2: GetQueueUrl, SendMessage"),
    ],
)


class Relay:
    """A TCP relay that counts how often a client speaks and then waits for the server: a round trip each."""

    def __init__(self, port: int) -> None:
        self.round_trips = 0
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End every connection."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets += [client, server]
                turn = _Turn()
                for source, target, asks in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._pump, args=(source, target, turn, asks), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, target: socket.socket, turn: "_Turn", asks: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if asks and not turn.clients:
                    self.round_trips += 1
                turn.clients = asks
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@dataclass(slots=True)
class _Turn:
    """Who spoke last on one connection."""

    clients: bool = False


@dataclass(slots=True)
class Counted:
    """Round trips by store."""

    relay: Relay
    redis: int = 0
    aws: Counter[str] = field(default_factory=Counter)

    def totals(self) -> dict[str, int]:
        """So far."""
        return {"PostgreSQL": self.relay.round_trips, "Redis": self.redis, "SQS": self.aws["sqs"]}


@contextmanager
def counting(relay: Relay) -> Iterator[Counted]:
    """Count what this process asks: PostgreSQL at the socket, Redis and AWS in their clients."""
    import botocore.httpsession

    counted = Counted(relay)
    send: Any = redis.connection.Connection.send_packed_command
    read: Any = redis.connection.Connection.read_response
    speaking: dict[int, bool] = {}

    def sends(self: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 (a client's own method)
        speaking[id(self)] = True
        return send(self, *arguments, **named)

    def reads(self: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        if speaking.pop(id(self), False):
            counted.redis += 1
        return read(self, *arguments, **named)

    ask = botocore.httpsession.URLLib3Session.send

    def asks(self: Any, request: Any) -> Any:  # noqa: ANN401
        counted.aws[_service(request.headers)] += 1
        return ask(self, request)

    with (
        patch.object(redis.connection.Connection, "send_packed_command", sends),
        patch.object(redis.connection.Connection, "read_response", reads),
        patch.object(botocore.httpsession.URLLib3Session, "send", asks),
    ):
        yield counted


def _service(headers: Any) -> str:  # noqa: ANN401 (botocore's)
    authorization = headers["Authorization"]
    text = authorization.decode() if isinstance(authorization, bytes) else str(authorization)
    return text.partition("Credential=")[2].split("/")[3]


def measure(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Run the four functions as one execution would, warm, and count."""
    import enqueue
    import list_stale_videos
    import publish_backlog
    import reclaim

    videos = 4_000 if quick else 10_000  # fewer make smaller batches
    by_step: dict[str, Counter[str]] = {}
    with cold_start.world() as here:
        relay = Relay(here.servers.postgres.port)
        variables = {**here.variables, "DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(relay.port)}
        # The address is not the server's own name: nothing is verified on the way.
        with environment(variables), contextlib.redirect_stdout(io.StringIO()), counting(relay) as counted:

            def run(execution: str) -> dict[str, Counter[str]]:
                steps: dict[str, Counter[str]] = {}

                def call(
                    step: str, handler: Callable[..., dict[str, Any]], event: dict[str, Any]
                ) -> dict[str, Any]:
                    before = Counter(counted.totals())
                    answer = handler(event, None)
                    steps.setdefault(step, Counter()).update(Counter(counted.totals()) - before)
                    return answer

                listed = call("ListStaleVideos", list_stale_videos.handler, {})
                for batch in listed["batches"]:
                    event = {"videos": batch, "execution": execution, "insist": False}
                    taken = call("Reclaim", reclaim.handler, event)
                    call("Enqueue", enqueue.handler, {**taken, "insist": False})
                record = {"run": listed["run"], "results": [], "retried": False}
                call("PublishBacklog", publish_backlog.handler, record)
                return steps

            academy.fill(here.servers.postgres.dsn, processing=BATCH, stale=BATCH)
            run(cold_start.EXECUTION)  # connections are open after this, as in a warm function
            academy.fill(here.servers.postgres.dsn, processing=videos, stale=videos)
            by_step = run(f"{cold_start.EXECUTION}-warm")
        relay.close()
    per_batch = by_step["Reclaim"] + by_step["Enqueue"]
    everything = sum(by_step.values(), Counter())
    say(f"{everything.total()} round trips for {videos} videos")
    figures = [
        Figure(
            "per_video",
            f"round trips a video in Reclaim and Enqueue, batches of {BATCH}",
            "",
            [per_batch.total() / videos],
            Goal("at most", 0.15),
        ),
        Figure(
            "per_video_whole",
            f"round trips a video, listing and publishing included, {videos:,} videos",
            "",
            [everything.total() / videos],
        ),
    ]
    stores = ("PostgreSQL", "Redis", "SQS")
    rows = [(step, *(number(spent[store]) for store in stores)) for step, spent in by_step.items()]
    rows.append(("all", *(number(everything[store]) for store in stores)))
    table = Table(f"Round trips for {videos:,} stale videos", ("step", *stores), rows)
    return Section("round-trips", TITLE, figures, _meaning(), [table, PLATFORM])


def _meaning() -> str:
    return (
        "PostgreSQL is counted at the socket, by a relay in between; Redis and SQS where their clients "
        "send. Per batch of a hundred: Reclaim reads the rows, asks Redis about all of them at once and "
        "updates; Enqueue reads what is still its own, sends ten messages a call, and clears. Ten of "
        "the fifteen are SQS's, which takes no more than ten messages a call. The listing and the "
        "measuring come once a run, however many videos there are."
    )
