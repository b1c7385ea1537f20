"""`make settle` against the emulator: its table, and that nothing is left, however it ends."""

import os
import signal
import subprocess
import sys

import boto3
import pytest

from dev.local import ROOT
from dev.local.emulator import CREDENTIALS, REGION
from dev.settle.account import PREFIX, Account


@pytest.fixture
def settle(bench, monkeypatch):
    """Starts the command, with what it makes on the emulator."""
    url = {"AWS_ENDPOINT_URL": bench.emulator.endpoint_url, "AWS_DEFAULT_REGION": REGION}
    once = {"AWS_MAX_ATTEMPTS": "1"}  # what the emulator can't do, it can't at the fifth attempt either
    for name, value in {**CREDENTIALS, **url, **once}.items():
        monkeypatch.setenv(name, value)

    def start(*arguments):
        command = [sys.executable, "-m", "dev.settle", "--minutes", "0", *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True)

    return start


def left(bench):
    """The names of what there is of the command's."""
    clients = bench.clients
    stacks = clients.cloudformation.describe_stacks()["Stacks"]
    machines = clients.stepfunctions.list_state_machines()["stateMachines"]
    names = [one["StackName"] for one in stacks] + [one["name"] for one in machines]
    names += [one["Name"] for one in clients.ssm.describe_parameters()["Parameters"]]
    return [name for name in names if PREFIX in name]


def test_it_says_what_was_seen_and_removes_everything(bench, settle):
    out, _ = settle("--puts", "1").communicate(timeout=120)
    rows = [line.strip("| ").split(" | ") for line in out.splitlines()[2:]]
    seen = {behaviour: shown for behaviour, _, shown in rows}
    assert seen["redrive of a failed item"] == "SUCCEEDED"
    assert seen["variables after a redrive"] == "before"
    assert seen["items that never started run once; RedriveCount is 1"] == "[1, 1, 3, 4, 5]"
    assert seen["RetryCount of each attempt, then of the redrive's"] == "not shown here"
    assert [name for name in seen if name.startswith("TestState")], out
    assert left(bench) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_what_it_made_goes_when_it_is_ended_in_the_middle_or_with_the_next_run(bench, settle, number):
    running = settle("--puts", "1000")  # with no end
    for line in running.stdout:
        if "absent group: cause" in line:
            break
    running.send_signal(number)
    running.wait(timeout=60)
    running.stdout.close()
    if number == signal.SIGKILL:
        assert left(bench)
        Account(boto3.Session()).remove()
    assert left(bench) == []
