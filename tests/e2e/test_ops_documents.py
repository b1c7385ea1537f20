"""Every command that the runbook and the guides give to operators does its work on a deployed stack."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dev.testing.emulator_bench import Bench
from ops.__main__ import main
from ops.errors import Exit

pytestmark = pytest.mark.xdist_group("deployed")

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
VIDEO = 123  # the runbook's example


GUIDES = ("README.md", "docs/deploying.md", "docs/migrating.md")


def lines_of_guides():
    """Every command of the operator in the guides, without comments; those with placeholders are left out."""
    text = "\n".join((ROOT / guide).read_text() for guide in GUIDES)
    found = re.findall(r"\.venv/bin/python -m ops ([^`#\n]+)", text)
    return sorted({command.strip() for command in found if not re.search(r"[A-Z]{4}", command)})


def blocks(language):
    """The different code blocks of the runbook, each with the heading under which it stands first."""
    found = {}
    for part in re.split(r"^#{1,3} ", RUNBOOK, flags=re.M):
        for block in re.findall(rf"```{language}\n(.+?)```", part, re.S):
            found.setdefault(block, part.partition("\n")[0])
    return [pytest.param(block, id=f"{heading}-{block.split()[-1]}") for block, heading in found.items()]


@pytest.fixture
def shell(deployed, tmp_path):
    """Run commands as an operator would paste them; the schedule is off again afterwards."""
    # Version 1 of the AWS CLI ignores AWS_ENDPOINT_URL for SQS, but not the option.
    aws = tmp_path / "aws"
    aws.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m awscli --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n'
    )
    aws.chmod(0o755)
    environment = {
        **deployed.stack.environment,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "STAGE": "local",
    }

    def run(commands):
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    yield run
    deployed.switch_schedule_off()


@pytest.fixture(scope="module")
def story(one_deployed):
    """Have the runbook's example video put back to work, so that there is a trace of it."""
    one_deployed.reset()
    one_deployed.academy.add(until=-5, id=VIDEO)
    execution = one_deployed.run()
    assert execution["record"]["enqueued"] == 1
    name = execution["executionArn"].rpartition(":")[2]
    Bench.until(lambda: any(line["execution"] == name for line in one_deployed.log_lines("Enqueue")))


@pytest.mark.parametrize("commands", blocks("sh"))
def test_a_command_of_the_runbook(deployed, story, shell, commands, monkeypatch):
    words = shlex.split(commands.replace("$STAGE", "local"))
    start, arguments = words[:3], words[3:]
    if start != [".venv/bin/python", "-m", "ops"]:
        shell(commands)
        return
    # In this process, which is faster; the bulk redrive below is pasted.
    in_process(deployed, arguments, monkeypatch)


def in_process(deployed, arguments, monkeypatch):
    for name, value in deployed.stack.environment.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == Exit.DONE


@pytest.mark.parametrize("command", lines_of_guides())
def test_a_command_of_the_guides(deployed, story, command, monkeypatch):
    in_process(deployed, shlex.split(command.replace("--stage mine", "--stage local")), monkeypatch)


@pytest.mark.parametrize("statement", blocks("sql"))
def test_a_statement_of_the_runbook_finds_the_videos_without_a_tenant(deployed, statement):
    add = deployed.academy.add
    without, _with = add(tenant=None), add()

    assert [row[0] for row in deployed.academy.sql(statement)] == [without]


def test_the_bulk_redrive_of_the_runbook_mends_what_failed(deployed, story, shell):
    stale = [deployed.academy.add(until=-5) for _ in range(3)]
    deployed.delete_queue()
    failed = [deployed.run({"limit": limit}) for limit in (1, 2, 3)]
    deployed.make_queue()
    wrong = deployed.run({"limit": 0})
    (commands,) = re.findall(r"```sh\n(.+ops redrive --since 2h --stage.+)\n```", RUNBOOK)

    shell(commands)

    assert {deployed.ended(one["executionArn"])["status"] for one in failed} == {"SUCCEEDED"}
    assert deployed.ended(wrong["executionArn"])["status"] == "FAILED"
    assert deployed.queue.take_ids() == stale
