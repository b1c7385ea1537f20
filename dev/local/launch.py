"""Start a whole local stack: its servers, the platform's tables, and the deployed app."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdk.stage import merge
from dev.local.cdk_runner import DIRECT, CdkRunner
from dev.local.emulator import REGION, Emulator
from dev.local.platform_group import create_group
from dev.local.platform_tables import create_schema
from dev.local.postgres import DATABASE, Postgres
from dev.local.stack import STAGE, Clients, Stack
from dev.local.valkey import Valkey
from dev.local.watchdog import make_scratch_folder, remove_folder

FUNCTIONS = ("ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog")

Report = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(frozen=True)
class RunningStack:
    """A stack and its servers, which can be stopped, killed, paused and started again."""

    stack: Stack
    postgres: Postgres
    valkey: Valkey
    emulator: Emulator


@contextlib.contextmanager
def running(
    home: Path,
    *,
    auth: bool = False,
    wait_scale: float = 1.0,
    overrides: Mapping[str, Any] | None = None,
    report: Report = lambda _line: None,
) -> Iterator[RunningStack]:
    """Run a stack during a ``with`` block, beside any other stack; arguments and errors as of `start`."""
    with contextlib.ExitStack() as crew:
        started = start(
            crew, home, report=report, auth=auth, wait_scale=wait_scale, overrides=overrides or {}
        )
        started.stack.save(home)
        yield started


def start(
    crew: contextlib.ExitStack,
    home: Path,
    *,
    report: Report,
    auth: bool = False,
    wait_scale: float = 1.0,
    overrides: Mapping[str, Any],
) -> RunningStack:
    """Start a stack; callbacks that stop and remove it are added to ``crew`` meanwhile.

    Its logs are in ``home``. With ``auth`` the IAM roles of the Lambda functions are enforced; ``wait_scale`` is a
    factor for Step Functions' waits and retry intervals; ``overrides`` are merged into the stage ``local``.

    Raises:
        ChildFailed: a server did not start or the app was not deployed.
    """
    began_s = time.monotonic()

    def progress(line: str) -> None:
        report(f"{time.monotonic() - began_s:5.1f} s  {line}")

    logs, scratch = home / "logs", make_scratch_folder()
    crew.callback(remove_folder, scratch)
    postgres = Postgres(scratch / "postgres", logs=logs)
    valkey = Valkey(scratch / "valkey", logs=logs)
    emulator = Emulator(scratch / "emulator", auth=auth, wait_scale=wait_scale, logs=logs)

    # Synthesis and the start of the servers overlap: each takes seconds.
    cdk = CdkRunner(STAGE, scratch=scratch, logs=logs, endpoint_url=emulator.endpoint_url)
    servers = {
        "database": {"host": "127.0.0.1", "port": postgres.port, "name": DATABASE},
        "redis": {"url": valkey.url},
        "schedule": {"enabled": False},
    }
    synth = cdk.synthesize(merge(servers, overrides))
    crew.callback(synth.stop, signal.SIGKILL)
    for server in (emulator, valkey, postgres):
        server.launch()
        crew.callback(server.stop)
    postgres.wait_ready()
    create_schema(postgres.dsn)
    progress(f"PostgreSQL  {postgres.dsn}")
    valkey.wait_ready()
    progress(f"Valkey      {valkey.url}")
    emulator.wait_ready()
    create_group(Clients(emulator.endpoint_url))
    progress(f"AWS         {emulator.endpoint_url}")
    bootstrap = cdk.bootstrap()
    crew.callback(bootstrap.stop, signal.SIGKILL)
    synth.wait_done()
    progress("Synthesized")
    bootstrap.wait_done()
    progress("Bootstrapped")
    cdk.deploy(*DIRECT).wait_done()
    progress("Deployed")
    outputs = cdk.outputs()
    stack = Stack(
        endpoint_url=emulator.endpoint_url,
        region=REGION,
        postgres_dsn=postgres.dsn,
        redis_url=valkey.url,
        state_machine_arn=outputs["StateMachineArn"],
        queue_url=outputs["QueueUrl"],
        dlq_url=outputs["DeadLetterQueueUrl"],
        auto_scaling_group=outputs["AutoScalingGroupName"],
        metric_namespace=outputs["MetricNamespace"],
        functions={name: outputs[f"{name}Function"] for name in FUNCTIONS},
    )
    return RunningStack(stack, postgres, valkey, emulator)
