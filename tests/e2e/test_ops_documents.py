"""Every command that the runbook and the guides give to operators does its work on a deployed stack."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from dev.testing.emulator_bench import Bench
from ops.__main__ import main
from ops.errors import Exit

pytestmark = pytest.mark.xdist_group("deployed")

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
GUIDES = ("README.md", "docs/deploying.md", "docs/migrating.md")
OPS = ".venv/bin/python -m ops "
VIDEO = 123  # the runbook's example


def blocks(language):
    """The different code blocks of the runbook in a language."""
    return list(dict.fromkeys(re.findall(rf"```{language}\n(.+?)```", RUNBOOK, re.S)))


def commands_of_guides():
    """Every command of the operator in the guides, without comments; those with placeholders are left out."""
    text = "\n".join((ROOT / guide).read_text() for guide in GUIDES)
    found = re.findall(rf"{re.escape(OPS)}([^`#\n]+)", text)
    return sorted({command.strip() for command in found if not re.search(r"[A-Z]{4}", command)})


@pytest.fixture(scope="module")
def story(one_deployed):
    """Have the runbook's example video put back to work, so that there is a trace of it."""
    one_deployed.reset()
    one_deployed.academy.add(until=-5, id=VIDEO)
    execution = one_deployed.run()
    assert execution["record"]["enqueued"] == 1
    name = execution["executionArn"].rpartition(":")[2]
    Bench.until(lambda: any(line["execution"] == name for line in one_deployed.log_lines("Enqueue")))


@pytest.fixture
def environment(deployed, story, monkeypatch):
    """The variables that `make up` prints, and the stage's name; the schedule is off again afterwards."""
    for name, value in {**deployed.stack.environment, "STAGE": "local"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield
    deployed.switch_schedule_off()


def paste(commands):
    """Run commands as an operator would, those of `ops` alone in this process, which is faster."""
    if commands.startswith(OPS) and not re.search(r"[|\n]\s*\S", commands.strip()):
        asked = shlex.split(commands.replace("$STAGE", "local").replace("--stage mine", "--stage local"))
        # The videos of a release are only an example.
        assert main(asked[3:]) == (Exit.NOT_DONE if "--release" in asked else Exit.DONE), commands
        return
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_commands_of_the_runbook_and_of_the_guides(deployed, environment):
    for commands in [*blocks("sh"), *(OPS + command for command in commands_of_guides())]:
        paste(commands)
        if "ops start" in commands:
            deployed.switch_schedule_off()


def test_a_statement_of_the_runbook_finds_the_videos_without_a_tenant(deployed):
    without, _with = deployed.academy.add(tenant=None), deployed.academy.add()
    (statement,) = blocks("sql")
    assert [row[0] for row in deployed.academy.sql(statement)] == [without]
