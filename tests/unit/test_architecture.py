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
FOUNDATION = {"errors", "records"}  # what rules and scaling may use besides each other
MACHINE = json.loads((ROOT / "state_machines" / "reclaim_videos.asl.json").read_text())
STEPS = {"ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog"}
LONGEST = {"module": 300, "function": 60, "handler": 20}


def modules(*folders):
    """The modules of folders of the shared package, by their names below it."""
    return sorted(path.relative_to(SHARED) for folder in folders for path in (SHARED / folder).rglob("*.py"))


def imported(path):
    """Every module that a file imports, anywhere in it, but for relative imports: those stay in its package."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def inside(path):
    """What a module imports of the shared package, as dotted paths below it."""
    found = set()
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "video_reclaim":
            while parts and not (SHARED.joinpath(*parts[1:]).with_suffix(".py").exists() or len(parts) == 1):
                parts.pop()
            found.add(".".join(parts[1:]))
    return found - {""}


@pytest.mark.parametrize("module", modules("rules", "scaling"), ids=str)
def test_rules_import_the_standard_library_msgspec_and_each_other(module):
    path = SHARED / module
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots - sys.stdlib_module_names - {"video_reclaim", "msgspec"}
    assert not roots & {"time", "os", "random"}, "the time is an argument"
    assert all(name in FOUNDATION or name.split(".")[0] in ("rules", "scaling") for name in inside(path))


@pytest.mark.parametrize("module", modules("adapters"), ids=str)
def test_adapters_import_rules_and_never_each_other(module):
    own = module.parts[1].removesuffix(".py")
    others = {name.split(".")[1] for name in inside(SHARED / module) if name.startswith("adapters.")}
    assert others <= {own}


@pytest.mark.parametrize("module", sorted(SHARED.glob("*.py")), ids=lambda path: path.stem)
def test_the_foundation_imports_no_adapter(module):
    assert not {name for name in inside(module) if name.startswith("adapters")}


def functions_in(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            yield node.name, node.end_lineno - body[0].lineno + 1 if body else 0


def sources_but_tests():
    folders = ("functions", "cdk", "ops", "examples", "dev")
    paths = [ROOT / "app.py", *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))]
    return [path for path in paths if not path.is_relative_to(ROOT / "dev" / "tests")]


@pytest.mark.parametrize("path", sources_but_tests(), ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_fits_on_a_page(path):
    assert len(path.read_text().splitlines()) <= LONGEST["module"]
    for name, lines in functions_in(path):
        assert lines <= LONGEST["handler" if name == "handler" else "function"], name


def test_the_workflow_fits_on_a_few_screens():
    assert len(dict(states(MACHINE))) <= 15
    assert len((ROOT / "state_machines" / "reclaim_videos.asl.json").read_text().splitlines()) <= 260


@pytest.mark.parametrize("path", sorted(SHARED.rglob("*.py")), ids=lambda path: str(path.relative_to(SHARED)))
def test_the_shared_package_imports_no_handler(path):
    assert not {m.split(".")[0] for m in imported(path)} & {handler.stem for handler in HANDLERS}


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: path.stem)
def test_handlers_hold_no_sql_no_keys_and_no_clients(path):
    assert not {m.split(".")[0] for m in imported(path)} & {"boto3", "botocore", "redis", "psycopg2", "os"}
    assert not re.search(r"\b(SELECT|UPDATE|INSERT|DELETE)\b|tenant:", path.read_text())


def text_in(path):
    """All text of a module but docstrings."""
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


@pytest.mark.parametrize(
    "path",
    [path for folder in ("functions", "cdk", "ops") for path in sorted((ROOT / folder).rglob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_one_module_of_the_product_names_tables_and_keys(path):
    names = r"video_video|lectures_(session|lecture)|core_tenant|tenant:(?! )|job:encode|video-reclaim:\w"
    found = any(re.search(names, text) for text in text_in(path))
    assert found == (path == SHARED / "rules" / "platform.py")


@pytest.mark.parametrize("path", sorted((ROOT / "dev").rglob("*.py")), ids=lambda path: path.stem)
def test_dev_imports_no_test(path):
    assert "tests" not in {m.split(".")[0] for m in imported(path)}


@pytest.mark.parametrize("path", sorted((ROOT / "cdk").rglob("*.py")), ids=lambda path: path.stem)
def test_the_constructs_know_the_functions_by_path_only(path):
    own = {handler.stem for handler in HANDLERS} | {"video_reclaim"}
    assert not {m.split(".")[0] for m in imported(path)} & own


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
        if state.get("Resource") == "arn:${Partition}:states:::lambda:invoke"
    }
    assert {name.removesuffix("Again") for name in called} == set(called.values()) == STEPS
    assert all(name.removesuffix("Again") == function for name, function in called.items())


def test_each_step_is_a_module():
    assert {path.stem for path in HANDLERS} == {module_of(step) for step in STEPS}


def test_the_retries_of_every_task_are_the_same():
    """JSON has no way to write them once."""
    retries = [s["Retry"] for _, s in states(MACHINE) if "lambda:invoke" in s.get("Resource", "")]
    assert len(retries) == 6
    assert all(retry == retries[0] for retry in retries)


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
