"""The example of a GitHub Actions workflow: it can be read, and fits the Makefile and the documents."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "deploying.md").read_text()
WORKFLOW = yaml.safe_load((ROOT / "examples" / "deploy.github.yml").read_text())
JOBS = WORKFLOW["jobs"]


def commands(job):
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def role(job):
    (found,) = [
        step["with"]["role-to-assume"]
        for step in JOBS[job]["steps"]
        if "role-to-assume" in step.get("with", {})
    ]
    return found.rpartition("/")[2]


@pytest.mark.parametrize("job", JOBS)
def test_every_command_is_a_target_of_the_makefile(job):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = [command.split()[:2] for command in commands(job)]
    assert called
    assert all(program == "make" and target in targets for program, target in called)


@pytest.mark.parametrize("job", JOBS)
def test_the_guide_describes_the_role_and_its_environment(job):
    assert f"`{role(job)}`" in GUIDE
    assert re.search(rf"`{JOBS[job]['environment']}`[^.]*`{role(job)}`", GUIDE, re.DOTALL)


def test_a_pull_request_can_not_deploy():
    """Its job has a role of its own, and compares templates, for which the lookup role is enough."""
    assert JOBS["diff"]["if"] == "github.event_name == 'pull_request'"
    assert role("diff") != role("deploy")
    assert all("diff" in command and "--method=template" in command for command in commands("diff"))
    assert JOBS["deploy"]["if"] == "github.event_name == 'push'"
    assert WORKFLOW[True]["push"]["branches"] == ["main"]  # YAML reads the key `on` as true


def test_what_is_deployed_was_tested_and_is_verified():
    order = [command.split()[1] for command in commands("deploy")]
    assert order == ["test", "deploy", "verify"]
