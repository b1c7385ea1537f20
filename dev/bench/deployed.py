"""The deployed stack under measurement: stale videos, executions, relays between the functions and the servers."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from dev.bench import academy
from dev.local import ROOT
from dev.local.launch import running
from dev.local.relay import Relay
from dev.local.stack import Stack

HOME = ROOT / "build" / "bench" / "stack"
POSTGRES, REDIS, SQS, OTHER_AWS = "PostgreSQL", "Redis", "SQS", "other AWS services"
_OTHERS = ("CLOUDWATCH", "AUTO_SCALING", "SSM")
_WARM_UP = 400
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class RelayedStack:
    """A stack, the same as its functions reach it, and the relays before its servers, by name."""

    stack: Stack
    reached: Stack
    relays: Mapping[str, Relay]

    def prepare(self, stale: int, beating: int = 0) -> None:
        """Make stale videos and others with heartbeats; empty the queue and Redis."""
        academy.fill(self.stack.postgres_dsn, processing=stale + beating, stale=stale)
        academy.beat(self.stack.redis_url, range(stale + 1, stale + beating + 1))
        self.stack.clients.sqs.purge_queue(QueueUrl=self.stack.queue_url)

    def reclaim(self, videos: int) -> float:
        """Run one execution over the stale videos that were prepared; return the seconds since its start.

        Raises RuntimeError if it failed or left out some.
        """
        states, machine_arn = self.stack.clients.stepfunctions, self.stack.state_machine_arn
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
        shown = self.stack.clients.sqs.get_queue_attributes(
            QueueUrl=self.stack.queue_url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        sent = int(shown["Attributes"]["ApproximateNumberOfMessages"])
        statement = "SELECT count(*) FROM video_video WHERE status = 'UPLOADED' AND leased_by = ''"
        ((done,),) = academy.query(self.stack.postgres_dsn, statement)
        if (done, sent) != (videos, videos):
            raise RuntimeError(f"of {videos} videos {done} are reclaimed and {sent} sent")


@contextmanager
def deployed(delays_s: Mapping[str, float] | None = None) -> Iterator[RelayedStack]:
    """Run a stack with warm functions, which reach some servers through relays with delays, by server."""
    with running(HOME) as started, ExitStack() as relays:
        stack = started.stack
        ports = {POSTGRES: started.postgres.port, REDIS: started.valkey.port}
        between: dict[str, Relay] = {}
        for name, delay_s in (delays_s or {}).items():
            between[name] = relays.enter_context(Relay(ports.get(name, started.emulator.port)))
            between[name].delay_s = delay_s
        at = dict.fromkeys((SQS, OTHER_AWS), started.emulator.port) | ports
        at |= {name: relay.port for name, relay in between.items()}
        reached = replace(
            stack,
            postgres_dsn=stack.postgres_dsn.replace(f":{ports[POSTGRES]}/", f":{at[POSTGRES]}/"),
            redis_url=stack.redis_url.replace(f":{ports[REDIS]}/", f":{at[REDIS]}/"),
            endpoint_url=f"http://127.0.0.1:{at[SQS]}",
        )
        variables = {"DATABASE_PORT": str(at[POSTGRES]), "REDIS_URL": reached.redis_url}
        variables["AWS_ENDPOINT_URL_SQS"] = reached.endpoint_url
        variables |= {
            f"AWS_ENDPOINT_URL_{service}": f"http://127.0.0.1:{at[OTHER_AWS]}" for service in _OTHERS
        }
        functions = stack.clients.functions
        for name in stack.functions.values():
            before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            functions.update_function_configuration(
                FunctionName=name, Environment={"Variables": {**before, **variables}}
            )
        here = RelayedStack(stack, reached, between)
        here.prepare(_WARM_UP)
        here.reclaim(_WARM_UP)
        yield here
