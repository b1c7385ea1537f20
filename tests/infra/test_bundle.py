"""The dependency layer: what the lock names, its metadata and licences, and nothing of the machine that built it."""

import hashlib
import json
import os
import re
import subprocess
from importlib.metadata import distributions

import pytest

from cdk import bundle
from cdk.bundle import LOCK, certificates, dependency_layer, needed
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


def test_roots_of_one_s_own_have_names_of_their_own(tmp_path):
    for name in ("database", "redis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ca.pem").write_text(name)
    one, other = (str(tmp_path / name / "ca.pem") for name in ("database", "redis"))
    assert (certificates([one, one]) / "ca.pem").read_text() == "database"
    with pytest.raises(ValueError, match="must have different names"):
        certificates([one, other])


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


def test_the_wheels_are_for_the_runtime_that_is_asked_for(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(bundle, "CACHE", tmp_path)
    monkeypatch.setattr(bundle.subprocess, "run", lambda command, **_: asked.extend(command))
    dependency_layer("aws", "3.12")
    assert asked[asked.index("--python-version") + 1] == "3.12" and "--require-hashes" in asked


def test_the_bill_of_materials_lists_what_is_inside(layer):
    subprocess.run(["make", "-o", "setup", "sbom"], cwd=ROOT, check=True, capture_output=True)
    components = json.loads((ROOT / "build" / "sbom.json").read_text())["components"]
    assert {(one["name"], one["version"]) for one in components} == locked()
    assert all(one["licenses"] and one["purl"].startswith("pkg:pypi/") for one in components)
