"""Who may import whom, and one name per step in five places."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "functions" / "video_reclaim"
HANDLERS = sorted((ROOT / "functions").glob("*.py"))
RULES = [
    "errors",
    "execution_input",
    "staleness",
    "batching",
    "handoff",
    "reclaiming",
    "run_record",
    "scaling",
]
SETTINGS = ["settings", "log"]
MACHINE = json.loads((ROOT / "state_machines" / "reclaim_videos.asl.json").read_text())
STEPS = {"ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog"}


def imported(path):
    """Every module that a file imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def layers_of(modules):
    return {m.split(".")[1] for m in modules if m.startswith("video_reclaim.")}


@pytest.mark.parametrize("name", RULES)
def test_rules_import_the_standard_library_and_each_other(name):
    modules = imported(SHARED / f"{name}.py")
    foreign = {m.split(".")[0] for m in modules} - sys.stdlib_module_names - {"video_reclaim"}
    assert not foreign
    assert {m for m in layers_of(modules) if (SHARED / f"{m}.py").exists()} <= set(RULES)
    assert not {"time", "os", "random"} & {m.split(".")[0] for m in modules}


@pytest.mark.parametrize("path", sorted(SHARED.glob("*.py")), ids=lambda path: path.stem)
def test_the_shared_package_imports_no_handler(path):
    assert not {m.split(".")[0] for m in imported(path)} & {handler.stem for handler in HANDLERS}


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: path.stem)
def test_handlers_hold_no_sql_no_keys_and_no_clients(path):
    assert not {m.split(".")[0] for m in imported(path)} & {"boto3", "botocore", "redis", "psycopg2", "os"}
    assert not re.search(r"\b(SELECT|UPDATE|INSERT|DELETE)\b|tenant:", path.read_text())


@pytest.mark.parametrize("path", sorted((ROOT / "cdk").rglob("*.py")), ids=lambda path: path.stem)
def test_the_constructs_know_the_functions_by_path_only(path):
    own = {handler.stem for handler in HANDLERS} | {"video_reclaim"}
    assert not {m.split(".")[0] for m in imported(path)} & own


def test_every_module_of_the_shared_package_has_its_layer():
    adapters = {"aws", "postgres", "heartbeats", "queues", "cloudwatch", "fleet", "secrets", "backlog"}
    assert {path.stem for path in SHARED.glob("*.py")} == {"__init__", *RULES, *SETTINGS, *adapters}


def states(machine):
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states(state["ItemProcessor"])


def module_of(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_each_state_that_calls_a_function_is_called_like_it():
    called = {
        name: re.fullmatch(r"\$\{(\w+)Arn\}", state["Arguments"]["FunctionName"])[1]
        for name, state in states(MACHINE)
        if state.get("Resource") == "arn:aws:states:::lambda:invoke"
    }
    assert {name.removesuffix("Again") for name in called} == set(called.values()) == STEPS
    assert all(name.removesuffix("Again") == function for name, function in called.items())


def test_each_step_is_a_module():
    assert {path.stem for path in HANDLERS} == {module_of(step) for step in STEPS}


def test_every_error_that_the_workflow_names_is_a_class_or_a_service_error():
    classes = {
        node.name
        for node in ast.parse((SHARED / "errors.py").read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    named = {
        error
        for _, state in states(MACHINE)
        for rule in state.get("Retry", []) + state.get("Catch", [])
        for error in rule["ErrorEquals"]
    }
    assert {error for error in named if "." not in error} <= classes
    assert {error.split(".")[0] for error in named if "." in error} == {"Lambda", "Sandbox", "States"}
