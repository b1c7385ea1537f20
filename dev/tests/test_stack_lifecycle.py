"""`make up` and `make down`: they start nothing twice and leave nothing behind."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from awscli.customizations.overridesslcommonname import SSL_COMMON_NAMES

from dev.local.emulator import REGION
from dev.local.stack import NoStack, Stack
from dev.testing.emulator_bench import Bench
from dev.testing.programs import ROOT, any_runs, processes, python

FIELDS = {
    "endpoint_url",
    "region",
    "postgres_dsn",
    "redis_url",
    "state_machine_arn",
    "queue_url",
    "dlq_url",
    "auto_scaling_group",
    "metric_namespace",
    "functions",
    "settings",
}


class Home:
    """A folder in the place of ``.local``, and the commands as programs that use it."""

    def __init__(self, path):
        self.path = path

    def begin(self, command, *arguments):
        return python(
            "-m",
            "dev.local",
            command,
            "--home",
            self.path,
            *arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command, *arguments):
        """Run ``up`` or ``down`` to its end; return its output."""
        program = self.begin(command, *arguments)
        said, _ = program.communicate()
        assert program.returncode == 0, said
        return said

    def begin_up(self):
        """Start ``up``; return the program and its processes once all servers run."""
        program = self.begin("up")
        while True:
            assert program.poll() is None, program.communicate()
            running = self.processes()
            if all(
                server in str(running) for server in ("postgres -D", "valkey-server", "dev.local.emulator")
            ):
                return program, running
            time.sleep(0.01)

    def processes(self):
        """Return the processes of the stack, its watchdog first, whatever its id: the system's ids begin anew."""
        found = processes()
        leaders = [
            process.pid for process in found if process.command.endswith(f" {self.path / 'stack.json'}")
        ]
        members = (process for process in found if process.group in leaders)
        return sorted(members, key=lambda one: (one.pid != one.group, one.pid))

    def left(self):
        return {path.name for path in self.path.iterdir()} - {"logs", "lock"}


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    yield home
    home.run("down")


@pytest.mark.long
def test_up_starts_a_stack_once_and_down_removes_it(home):
    assert home.run("down") == "No stack runs here\n"

    said = home.run("up", "--fill")

    commands = [line for line in said.splitlines() if line.startswith("  ") and ".venv/bin" in line]
    assert len(commands) == 3
    for command in commands:
        subprocess.run(["bash", "-euc", command], cwd=ROOT, env={"PATH": os.defpath}, check=True)
    stack = Stack.load(home.path)
    assert set(json.loads((home.path / "stack.json").read_text())) == FIELDS
    assert set(stack.functions) == {"ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog"}
    steps, machine = stack.clients.stepfunctions, stack.state_machine_arn
    (run,) = steps.list_executions(stateMachineArn=machine)["executions"]  # by the first command
    record = json.loads(steps.describe_execution(executionArn=run["executionArn"])["output"])
    assert record["spared"]["tenantUnknown"] and record["decision"]["inputs"]["visible"] > 1
    schedule = stack.clients.scheduler.get_schedule(Name=stack.outputs()["ScheduleName"])
    assert schedule["State"] == "DISABLED"

    running = home.processes()
    assert home.run("up").startswith("The stack runs already")
    assert (home.processes(), Stack.load(home.path)) == (running, stack)

    home.run("down")

    check_nothing_left(home, running)
    with pytest.raises(NoStack, match="make up"):
        Stack.load(home.path)


def check_nothing_left(home, running):
    *_, scratch, _ = running[0].command.split()
    Bench.until(lambda: not any_runs(running) and not Path(scratch).exists())
    assert home.left() == set()


@pytest.mark.parametrize(
    ("context", "named"),
    [
        pytest.param("{'reclaiming': {}}", "not JSON", id="not-json"),
        pytest.param('{"reclaiming": {"confirm": 1}}', "reclaiming.confirm", id="not-valid"),
    ],
)
def test_an_invalid_context_ends_with_one_line_and_starts_nothing(home, context, named):
    program = home.begin("up", "--context", context)
    (said,) = program.communicate()[0].splitlines()

    assert program.returncode == 2
    assert said.startswith("CONTEXT: ") and named in said
    assert not home.path.exists()


def test_a_killed_up_leaves_nothing_running(home):
    program, running = home.begin_up()

    program.kill()

    program.communicate()
    check_nothing_left(home, running)


CONTEXT = json.dumps({"schedule": {"enabled": True}, "reclaiming": {"maxReclaims": 4321}})


@pytest.mark.long
def test_context_overrides_settings_of_the_stage_and_of_the_stack(home):
    """Afterwards the stack loses a server and is replaced: a second stack would take seconds."""
    home.run("up", "--context", CONTEXT)

    stack = Stack.load(home.path)
    clients = stack.clients
    environments = [
        clients.functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        for name in stack.functions.values()
    ]
    assert "4321" in {value for variables in environments for value in variables.values()}
    schedule = clients.scheduler.get_schedule(Name=stack.outputs()["ScheduleName"])
    assert schedule["State"] == "ENABLED"

    (same,) = home.run("up", "--context", CONTEXT).splitlines()
    (other,) = home.run("up").splitlines()
    assert "4321" not in same
    assert CONTEXT in other and "make down" in other
    check_replaced_after_losing_a_server(home)


def check_replaced_after_losing_a_server(home):
    lost = home.processes()
    valkey = [process for process in lost if "valkey-server" in process.command]
    os.kill(valkey[0].pid, signal.SIGKILL)
    Bench.until(lambda: not any_runs(valkey))

    program, replacing = home.begin_up()
    program.send_signal(signal.SIGINT)
    said, _ = program.communicate()

    assert program.returncode == 128 + signal.SIGINT
    assert "Valkey has ended" in said.splitlines()[0]
    assert not any_runs(lost)
    check_nothing_left(home, replacing)


def test_no_call_of_the_aws_cli_leaves_the_emulator():
    """Version 1 of the CLI ignores AWS_ENDPOINT_URL for services and regions that have an endpoint in this table."""
    assert not [service for service, regions in SSL_COMMON_NAMES.items() if REGION in regions]
