"""The dependency layer: what the lock names, its metadata and licences, and nothing of the machine that built it."""

import json
import re
from importlib.metadata import distributions

import pytest

from cdk.bundle import LOCK, dependency_layer
from dev.sbom import bill, render


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


def test_its_modules_are_for_lambda(layer):
    modules = [path.name for path in layer.rglob("*.so")]
    assert modules
    assert all("cpython-313-aarch64" in name for name in modules)


def test_the_bill_of_materials_lists_what_is_inside(layer):
    text = render(bill(layer))
    components = json.loads(text)["components"]
    assert {(one["name"], one["version"]) for one in components} == locked()
    assert all(one["licenses"] and one["purl"].startswith("pkg:pypi/") for one in components)
    assert render(bill(layer)) == text
