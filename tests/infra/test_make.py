"""The make targets that the README names exist, and the offline one does its work."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# What each recipe must run. Other tests play the demo, deploy this stage with the same CLI, and are the tests.
RUNS = {"demo": "-m dev.local demo", "test": "-m pytest", "synth": "cdk", "deploy": "cdk"}


def make(*arguments):
    """Run make without the set-up, which is there already."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-o", "setup", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", re.findall(r"^    make +(.+?) *(?:#.*)?$", README, re.M))
def test_a_target_of_the_readme_runs_what_it_says(command):
    target = command.split()[0]

    planned = make("--dry-run", *command.split())

    assert planned.returncode == 0, planned.stderr
    assert RUNS[target] in planned.stdout
    assert "-m venv" not in planned.stdout


def test_synth_writes_the_template_of_the_readme_s_stage():
    made = make("synth", "STAGE=existing")

    assert made.returncode == 0, made.stdout + made.stderr
    assert (ROOT / "cdk.out" / "VideoReclaim-existing.template.json").exists()
