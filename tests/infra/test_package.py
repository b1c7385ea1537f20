"""The repository as a package: another app installs it and synthesizes the construct from another folder."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

from cdk.bundle import dependency_layer
from tests.infra.conftest import ROOT, of_type

APP = """
from aws_cdk import App, Stack
from aws_cdk import aws_sqs as sqs

from video_reclaim_cdk.connections import redis_at
from video_reclaim_cdk.sections import Database
from video_reclaim_cdk.video_reclaim import VideoReclaim

app = App()
stack = Stack(app, "Other")
VideoReclaim(
    stack,
    "VideoReclaim",
    database=Database(host="db", name="academy", user="reclaim", ssl_mode="require"),
    redis=redis_at("redis"),
    video_queue=sqs.Queue(stack, "Jobs"),
    video_dead_letter_queue=sqs.Queue(stack, "Dead"),
    worker_group="workers",
)
app.synth()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with nothing but the unpacked wheel, with a space in its name."""
    folder = tmp_path_factory.mktemp("site packages")
    wheel = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(wheel, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    zipfile.ZipFile(file).extractall(folder)
    return folder


@pytest.fixture(scope="module")
def template(installed, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "app.py").write_text(APP)
    cache = elsewhere / "cache" / "video-reclaim"
    cache.parent.mkdir()
    cache.symlink_to(dependency_layer("aws").parent)  # the layer is built already: no network
    env = {**os.environ, "PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(cache.parent)}
    env |= {"CDK_OUTDIR": str(elsewhere / "out"), "CDK_VALIDATION": "false"}
    done = subprocess.run([sys.executable, "app.py"], cwd=elsewhere, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return elsewhere / "out"


def test_another_app_synthesizes_it(template):
    resources = json.loads((template / "Other.template.json").read_text())["Resources"]
    assert len(of_type(resources, "AWS::Lambda::Function")) == 4
    (machine,) = of_type(resources, "AWS::StepFunctions::StateMachine").values()
    assert "ListStaleVideosArn" in json.dumps(machine["DefinitionSubstitutions"])


def test_its_assets_are_those_of_the_repository(template):
    functions = {path.relative_to(ROOT / "functions") for path in (ROOT / "functions").rglob("*.py")}
    handlers = [path.parent for path in template.glob("asset.*/enqueue.py")]
    (code,) = handlers
    assert {path.relative_to(code) for path in code.rglob("*.py")} == functions


def test_everything_that_it_deploys_is_inside(installed):
    package = installed / "video_reclaim_cdk"
    for path in ("requirements/layer.txt", "state_machines/reclaim_videos.asl.json", "certificates/rds.pem"):
        source = ROOT / path if not path.startswith("certificates") else ROOT / "cdk" / path
        assert (package / path).read_bytes() == source.read_bytes()
    assert not (installed / "cdk").exists()


def test_the_operator_s_command_is_beside_it_with_its_runbook(installed):
    """As the script video-reclaim; what it imports is the extra `ops`."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "AWS_EC2_METADATA_DISABLED": "true"}
    asked = [sys.executable, "-m", "video_reclaim_ops", "status", "--stage", "nowhere"]
    done = subprocess.run(
        asked,
        cwd=installed,
        env=environment | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, "") and "can't be reached" in done.stderr
    (script,) = installed.glob("*.dist-info/entry_points.txt")
    assert "video-reclaim = video_reclaim_ops.__main__:main" in script.read_text()
    runbook = installed / "video_reclaim_ops" / "runbook.md"
    assert runbook.read_bytes() == (ROOT / "docs" / "runbook.md").read_bytes()


def test_it_brings_pip_which_environments_of_uv_have_not(installed):
    (metadata,) = installed.glob("*.dist-info/METADATA")
    assert "Requires-Dist: pip" in metadata.read_text()
