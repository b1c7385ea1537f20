"""The make targets that the README names exist, and the documented way to deploy passes its own gate."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cdk.stack import VideoReclaimStack
from cdk.stage import load, stages_in
from tests.infra.conftest import check
from tests.infra.test_rules import lint, unaccepted

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# What each recipe must run. Other tests play the demo, deploy this stage with the same CLI, and are the tests.
RUNS = {"demo": "-m dev.local demo", "test": "-m pytest", "synth": "cdk", "deploy": "cdk"}


def make(*arguments, cwd=ROOT):
    """Run make without the set-up, which is there already."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-o", "setup", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", re.findall(r"^    make +(.+?) *(?:#.*)?$", README, re.M))
def test_a_target_of_the_readme_runs_what_it_says(command):
    target = command.split()[0]

    planned = make("--dry-run", *command.split())

    assert planned.returncode == 0, planned.stderr
    assert RUNS[target] in planned.stdout
    assert "-m venv" not in planned.stdout


@pytest.fixture
def deployer(tmp_path):
    """A checkout with a stage of its own, written as docs/deploying.md says; the rest is this one."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
        elif path.name not in ("stages", "cdk.out", ".git", ".local"):
            (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / "stages", folder / "stages")
    own = json.loads((ROOT / "stages" / "existing.json").read_text()) | {"schedule": {"enabled": False}}
    text = json.dumps(own).replace("123456789012", "210987654321")
    (folder / "stages" / "deployers-own.json").write_text(text)
    return folder


def test_a_deployer_s_stage_passes_the_gate_before_it_is_deployed(deployer):
    name, stages = "deployers-own", stages_in(deployer / "stages")
    checked = check(lambda app: VideoReclaimStack(app, name=name, stage=load(stages, name)))
    template = json.loads(checked.file.read_text())
    assert unaccepted([*checked.findings, *lint(template)]) == []
    made = make("synth", "STAGE=deployers-own", cwd=deployer)
    assert made.returncode == 0, made.stdout + made.stderr
    assert (deployer / "cdk.out" / "VideoReclaim-deployers-own.template.json").exists()
