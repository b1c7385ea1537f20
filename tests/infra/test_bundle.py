"""The dependency layer: what the lock names, its metadata and licences, and nothing of the machine that built it."""

import hashlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import distributions

import pytest

from cdk.bundle import AWS_PYTHON, LOCK, dependency_layer, needed, recipe, unpack
from tests.infra.conftest import ROOT
from tests.infra.test_shapes import SHAPES

SNAPSHOT = SHAPES / "layer.sha256"


@pytest.fixture(scope="module")
def layer():
    return dependency_layer("aws")


def locked():
    """Names and versions in the lock, but for what Lambda's version of Python does not need."""
    lines = re.findall(r"^([\w-]+)==([\w.]+)(.*)$", LOCK.read_text(), re.MULTILINE)
    return {(name, version) for name, version, rest in lines if "python_full_version <" not in rest}


def test_it_has_the_distributions_of_the_lock_with_metadata_and_licences(layer):
    found = list(distributions(path=[str(layer / "python")]))
    assert {(one.name, one.version) for one in found} == locked()
    for one in found:
        assert list(one._path.glob("licenses/*")), one.name


def test_it_has_nothing_of_the_machine_that_built_it(layer):
    files = [path for path in layer.rglob("*") if path.is_file()]
    assert files
    names = {path.name for path in files}
    assert not names & {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
    assert not [path for path in files if path.suffix == ".pyc" or path.parent.name == "bin"]


def content(folder):
    """A hash of the names and contents of all files."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def test_its_files_are_the_same_wherever_it_is_built(layer):
    """The snapshot is written anew by `make shapes`, after `make lock`."""
    if os.environ.get("UPDATE_SHAPES"):
        SNAPSHOT.write_text(content(layer) + "\n")
    assert content(layer) == SNAPSHOT.read_text().strip()


def other_interpreter():
    """The oldest Python on this machine that the app supports and that does not run this test."""
    listed = [sys.executable, "-m", "uv", "python", "list", "--only-installed", "--output-format", "json"]
    found = json.loads(subprocess.run(listed, capture_output=True, text=True, check=False).stdout or "[]")
    versions = {tuple(map(int, one["version"].split("."))): one["path"] for one in found if is_release(one)}
    return versions[min(versions)] if versions else None


def is_release(found):
    version = found["version"]
    own = ".".join(map(str, sys.version_info[:3]))
    return (
        found["implementation"] == "cpython"
        and re.fullmatch(r"3\.1[1-9]\.\d+", version) is not None
        and version != own
    )


def test_another_interpreter_builds_the_same(layer, tmp_path):
    other = other_interpreter()
    if other is None:
        pytest.skip("this machine has no other Python from 3.11 on")
    try:
        unpack(tmp_path / "layer" / "python", *recipe("aws", AWS_PYTHON), other)
    except subprocess.CalledProcessError:
        pytest.skip("it has no pip, or no package registry answers")
    assert content(tmp_path / "layer") == content(layer)


PINNED = """\
old==1.0 ; python_full_version < '3.11.3' \\
    --hash=sha256:aa
    # via new
new==2.0 ; sys_platform == 'linux' and python_version >= '3.13' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
always==3.0 \\
    --hash=sha256:dd
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param(
            {"python_full_version": "3.11.2", "python_version": "3.11"}, ["old", "always"], id="old"
        ),
        pytest.param(
            {"python_full_version": "3.13.0", "python_version": "3.13", "sys_platform": "linux"},
            ["new", "always"],
            id="lambda",
        ),
        pytest.param(
            {"python_full_version": "3.13.0", "python_version": "3.13", "sys_platform": "darwin"},
            ["always"],
            id="mac",
        ),
    ],
)
def test_the_target_and_not_the_builder_says_what_is_needed(environment, expected):
    found = needed(PINNED, environment)
    assert re.findall(r"^([a-z]+)==", found, re.MULTILINE) == expected
    assert found.count("--hash") == {"old": 1, "new": 2, "always": 1}[expected[0]] + (len(expected) > 1)
    assert ";" not in found


def test_its_modules_are_for_lambda(layer):
    modules = [path.name for path in layer.rglob("*.so")]
    assert modules
    assert all("cpython-313-aarch64" in name for name in modules)


def test_the_bill_of_materials_lists_what_is_inside(layer):
    subprocess.run(["make", "-o", "setup", "sbom"], cwd=ROOT, check=True, capture_output=True)
    components = json.loads((ROOT / "build" / "sbom.json").read_text())["components"]
    assert {(one["name"], one["version"]) for one in components} == locked()
    assert all(one["licenses"] and one["purl"].startswith("pkg:pypi/") for one in components)
