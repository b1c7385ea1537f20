"""`make up`, `make down` and `make demo`: they start nothing twice, and leave nothing behind however they end."""

import json
import os
import signal
import subprocess

import pytest
from awscli.customizations.overridesslcommonname import SSL_COMMON_NAMES

from dev.local.emulator import REGION
from dev.local.stack import NoStack, Stack
from dev.local.watchdog import scratch_folder
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
}
SERVERS = ("postgres -D", "valkey-server", "dev.local.emulator")


class Home:
    """A folder in the place of ``.local``, another for temporary files, and the commands as programs that use them."""

    def __init__(self, folder):
        self.path, self.temporary = folder / "home", folder / "temporary"
        self.temporary.mkdir()

    def begin(self, command, *arguments):
        home = [] if command == "demo" else ["--home", self.path]
        return python(
            "-m",
            "dev.local",
            command,
            *home,
            *arguments,
            env=os.environ | {"TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command, *arguments):
        """Run a command to its end; return its output."""
        program = self.begin(command, *arguments)
        said, _ = program.communicate()
        assert program.returncode == 0, said
        return said

    def processes(self):
        """Return the processes that the commands have started: the watchdogs, and those in their groups."""
        found = processes()
        groups = [one.group for one in found if f" {self.temporary}/" in one.command and one.pid == one.group]
        return {one for one in found if one.group in groups}

    def check_nothing_left(self, started):
        Bench.until(lambda: not any_runs(started) and not list(self.temporary.iterdir()))
        left = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        assert left <= {"logs", "lock"}


@pytest.fixture
def home():
    with scratch_folder() as folder:
        home = Home(folder)
        yield home
        home.run("down")


@pytest.mark.long
def test_up_starts_a_stack_once_and_down_removes_it(home):
    assert home.run("down") == "No stack runs here\n"
    context = '{"reclaiming": {"maxReclaims": 4321}}'

    said = home.run("up", "--fill", "--context", context)

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
    reclaim = stack.clients.functions.get_function_configuration(FunctionName=stack.functions["Reclaim"])
    assert reclaim["Environment"]["Variables"]["RECLAIMING_MAX_RECLAIMS"] == "4321"

    running = home.processes()
    first, second = home.run("up", "--context", context).splitlines()
    assert first.startswith("The stack runs already") and "make down" in second
    assert (home.processes(), Stack.load(home.path)) == (running, stack)

    home.run("down")

    home.check_nothing_left(running)
    with pytest.raises(NoStack, match="make up"):
        Stack.load(home.path)


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


@pytest.mark.parametrize(
    ("command", "sent", "status", "says"),
    [
        pytest.param("up", signal.SIGKILL, -signal.SIGKILL, "", id="killed"),
        pytest.param("demo", signal.SIGHUP, 128 + signal.SIGHUP, "Interrupted: ", id="closed-terminal"),
    ],
)
def test_a_command_that_a_signal_ends_leaves_nothing(home, command, sent, status, says):
    program = home.begin(command)

    def started():
        assert program.poll() is None, program.communicate()
        found = home.processes()
        return found if all(server in str(found) for server in SERVERS) else None

    running = Bench.until(started)
    program.send_signal(sent)
    said, _ = program.communicate()

    home.check_nothing_left(running)
    assert program.returncode == status
    assert "Traceback" not in said and (said.splitlines() or [""])[-1].startswith(says)


def test_a_second_signal_does_not_break_the_cleanup_off():
    script = (
        "import os, signal, sys, time\n"
        "from dev.local.signals import run_interruptible\n"
        "def command():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(600)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('cleaned up', flush=True)\n"
        "sys.exit(run_interruptible(command))\n"
    )
    ended = python("-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    said, errors = ended.communicate()

    assert (said, ended.returncode) == ("cleaned up\n", 128 + signal.SIGTERM)
    assert len(errors.splitlines()) == 1


def test_no_call_of_the_aws_cli_leaves_the_emulator():
    """Version 1 of the CLI ignores AWS_ENDPOINT_URL for services and regions that have an endpoint in this table."""
    assert not [service for service, regions in SSL_COMMON_NAMES.items() if REGION in regions]
