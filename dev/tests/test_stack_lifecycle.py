"""`make up` and `make down`: nothing is started twice, nothing is left behind."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest

from dev.local.emulator import healthy
from dev.local.identity import ProcessIdentity, end
from dev.local.stack import NoStack, Stack

ROOT = Path(__file__).parents[2]
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


class Home:
    """A folder in the place of ``.local``, on which the commands run as programs of their own."""

    def __init__(self, path):
        self.path = path

    def begin(self, command):
        call = f"main([{command!r}], home=Path({str(self.path)!r}))"
        imports = "import sys; from pathlib import Path; from dev.local.commands import main"
        return subprocess.Popen(
            [sys.executable, "-c", f"{imports}; sys.exit({call})"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command):
        """Run ``up`` or ``down`` to its end; return what it said."""
        program = self.begin(command)
        said, _ = program.communicate()
        assert program.returncode == 0, said
        return said

    def begin_up(self):
        """Begin ``up``; return the program and its servers' marks once all of these run."""
        program = self.begin("up")
        while True:
            assert program.poll() is None, program.communicate()
            if (self.path / "processes.json").exists():
                running = {mark.name: mark for mark in self.marks() if mark.alive}
                if {"PostgreSQL", "Valkey", "The emulator"} <= set(running):
                    return program, running
            time.sleep(0.01)

    @property
    def ledger(self):
        return json.loads((self.path / "processes.json").read_text())

    def marks(self):
        return [ProcessIdentity(**process) for process in self.ledger["processes"]]

    def left(self):
        return {path.name for path in self.path.iterdir()} - {"logs", "lock"}


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    yield home
    home.run("down")


def test_a_stack_goes_up_once_and_down_for_good(home):
    assert home.run("down") == "No stack runs here\n"

    home.run("up")

    stack = Stack.load(home.path)
    assert set(json.loads((home.path / "stack.json").read_text())) == FIELDS
    assert set(stack.functions) == {"ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog"}
    clients = stack.clients
    ended = run_workflow(clients.stepfunctions, stack.state_machine_arn)
    assert ended["status"] == "SUCCEEDED", ended
    schedule = clients.scheduler.get_schedule(Name=stack.outputs()["ScheduleName"])
    assert schedule["State"] == "DISABLED"

    processes = home.marks()
    assert home.run("up").startswith("The stack runs already")
    assert (home.marks(), Stack.load(home.path)) == (processes, stack)
    scratch = Path(home.ledger["scratch"])

    home.run("down")

    assert home.left() == set()
    assert not any(mark.alive for mark in processes)
    assert not healthy(stack.endpoint_url)
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(stack.postgres_dsn)
    assert not scratch.exists()
    with pytest.raises(NoStack, match="make up"):
        Stack.load(home.path)


def run_workflow(stepfunctions, machine):
    execution = stepfunctions.start_execution(stateMachineArn=machine, input='{"dryRun": true}')[
        "executionArn"
    ]
    while (shown := stepfunctions.describe_execution(executionArn=execution))["status"] == "RUNNING":
        time.sleep(0.05)
    return shown


def test_an_interrupt_leaves_nothing_running(home):
    program, started = home.begin_up()
    scratch = Path(home.ledger["scratch"])

    program.send_signal(signal.SIGINT)
    said, _ = program.communicate()

    assert program.returncode == 130
    assert said.endswith("Interrupted: nothing is left running\n")
    assert not any(mark.alive for mark in started.values())
    assert not scratch.exists()
    assert home.left() == set()


def test_what_a_killed_up_has_left_is_found_by_down(home):
    program, started = home.begin_up()
    scratch = Path(home.ledger["scratch"])
    program.kill()
    program.communicate()
    assert any(mark.alive for mark in started.values())

    home.run("down")

    assert not any(mark.alive for mark in started.values())
    assert not scratch.exists()
    assert home.left() == set()


def test_a_half_dead_stack_is_told_and_replaced(home):
    program, started = home.begin_up()
    program.kill()
    program.communicate()
    end(started["Valkey"])

    program, anew = home.begin_up()
    program.send_signal(signal.SIGINT)
    said, _ = program.communicate()

    assert said.startswith("The stack is not complete (Valkey has ended): starting a new one")
    assert not any(mark.alive for mark in (*started.values(), *anew.values()))
