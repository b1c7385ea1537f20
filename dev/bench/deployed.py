"""The deployed stack under measurement: stale videos, executions, relays between the functions and the servers."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Self

from dev.bench import academy
from dev.bench.rivals import Places
from dev.definition import ROOT
from dev.local.launch import RunningStack, running
from dev.local.relay import Relay

HOME = ROOT / "build" / "bench" / "stack"
POSTGRES, REDIS, SQS, OTHER_AWS = "PostgreSQL", "Redis", "SQS", "other AWS services"
_WARM_UP = 400
_POLL_S = 0.05


class Relays:
    """Relays by name, in a process of their own, so that they don't take turns with what is measured.

    ``ports`` is where they listen.
    """

    def __init__(self, pipe: Any) -> None:  # noqa: ANN401 - a Connection of multiprocessing
        self._pipe = pipe
        self.ports: dict[str, int] = pipe.recv()

    def round_trips(self) -> dict[str, int]:
        """Return the number of round trips so far, by name."""
        self._pipe.send("count")
        counted: dict[str, int] = self._pipe.recv()
        return counted


@contextmanager
def _relays(routes: Mapping[str, tuple[int, float]]) -> Iterator[Relays]:
    """Run relays to ports, with seconds added to each round trip."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, dict(routes)), daemon=True)
    process.start()
    try:
        yield Relays(here)
    finally:
        process.kill()
        process.join()


def _serve(pipe: Any, routes: dict[str, tuple[int, float]]) -> None:  # noqa: ANN401
    running = {name: Relay(port).start() for name, (port, _) in routes.items()}
    for name, (_, delay_s) in routes.items():
        running[name].delay_s = delay_s
    pipe.send({name: relay.port for name, relay in running.items()})
    with suppress(EOFError):  # the program that started this has ended
        while pipe.recv():
            pipe.send({name: relay.round_trips for name, relay in running.items()})


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stack, and the ways to its servers that functions and rivals take; ``relays`` tells of round trips."""

    running: RunningStack
    places: Places
    relays: Relays | None = None

    def prepare(self, stale: int, beating: int = 0) -> None:
        """Make stale videos and others with heartbeats; empty the queue and Redis."""
        stack = self.running.stack
        academy.fill(stack.postgres_dsn, processing=stale + beating, stale=stale)
        academy.beat(stack.redis_url, range(stale + 1, stale + beating + 1))
        stack.clients.sqs.purge_queue(QueueUrl=stack.queue_url)

    def reclaim(self, videos: int) -> float:
        """Run one execution over the stale videos that were prepared; return the seconds since its start.

        Raises RuntimeError if it failed or left out some.
        """
        states, machine_arn = self.running.stack.clients.stepfunctions, self.running.stack.state_machine_arn
        began_s = time.time()
        execution = states.start_execution(stateMachineArn=machine_arn, input="{}")["executionArn"]
        while (found := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(_POLL_S)
        if found["status"] != "SUCCEEDED" or json.loads(found["output"])["enqueued"] != videos:
            raise RuntimeError(f"not all of {videos} videos were enqueued: {found}")
        self.check(videos)
        return found["stopDate"].timestamp() - began_s

    def check(self, videos: int) -> None:
        """Check that this many videos were put back: to leave some out would be quick. Raises RuntimeError."""
        sqs: Any = self.running.stack.clients.sqs
        names = ["ApproximateNumberOfMessages"]
        shown = sqs.get_queue_attributes(QueueUrl=self.running.stack.queue_url, AttributeNames=names)
        sent = int(shown["Attributes"][names[0]])
        statement = "SELECT count(*) FROM video_video WHERE status = 'UPLOADED' AND leased_by = ''"
        ((done,),) = academy.query(self.running.stack.postgres_dsn, statement)
        if (done, sent) != (videos, videos):
            raise RuntimeError(f"of {videos} videos {done} are reclaimed and {sent} sent")

    def warm_up(self) -> Self:
        """Start the functions."""
        self.prepare(_WARM_UP)
        self.reclaim(_WARM_UP)
        return self


@contextmanager
def deployed() -> Iterator[Deployed]:
    """Run a stack with warm functions."""
    with running(HOME) as started:
        stack = started.stack
        places = Places(stack.postgres_dsn, stack.redis_url, stack.endpoint_url, stack.queue_url)
        yield Deployed(started, places).warm_up()


@contextmanager
def deployed_behind_relays(delays_s: Mapping[str, float]) -> Iterator[Deployed]:
    """Run a stack whose functions reach PostgreSQL, Redis and AWS through relays, with delays by server."""
    with running(HOME) as started:
        stack = started.stack
        ports = dict.fromkeys((SQS, OTHER_AWS), started.emulator.port)
        ports |= {POSTGRES: started.postgres.port, REDIS: started.valkey.port}
        routes = {name: (port, delays_s.get(name, 0.0)) for name, port in ports.items()}
        with _relays(routes) as between:
            at = between.ports
            places = Places(
                stack.postgres_dsn.replace(f":{ports[POSTGRES]}/", f":{at[POSTGRES]}/"),
                stack.redis_url.replace(f":{ports[REDIS]}/", f":{at[REDIS]}/"),
                f"http://127.0.0.1:{at[SQS]}",
                stack.queue_url,
            )
            variables = {"DATABASE_PORT": str(at[POSTGRES]), "REDIS_URL": places.redis_url}
            variables["AWS_ENDPOINT_URL_SQS"] = places.sqs_endpoint_url
            for service in ("CLOUDWATCH", "AUTO_SCALING", "SSM"):
                variables[f"AWS_ENDPOINT_URL_{service}"] = f"http://127.0.0.1:{at[OTHER_AWS]}"
            functions = stack.clients.functions
            for name in stack.functions.values():
                before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
                changed = {"Variables": {**before, **variables}}
                functions.update_function_configuration(FunctionName=name, Environment=changed)  # type: ignore[arg-type]
            yield Deployed(started, places, between).warm_up()
