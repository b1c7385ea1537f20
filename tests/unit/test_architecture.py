"""Who may import whom, how long things are, and one name per step in five places."""

import ast
import functools
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "functions" / "video_reclaim"
HANDLERS = sorted((ROOT / "functions").glob("*.py"))
FOUNDATION = {"conversion", "errors"}  # what rules and scaling may use besides each other
MACHINE = json.loads((ROOT / "state_machines" / "reclaim_videos.asl.json").read_text())
STEPS = {"ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog"}
LONGEST = {"module": 300, "function": 60, "handler": 20}


@functools.cache
def tree(path):
    return ast.parse(path.read_text())


def modules(*folders, root=ROOT):
    return [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]


def imported(path):
    """Every module that a file imports, anywhere in it, but for relative imports: those stay in its package."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def roots(path):
    return {name.split(".")[0] for name in imported(path)}


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


def test_rules_import_the_standard_library_msgspec_and_each_other():
    for path in modules("rules", "scaling", root=SHARED):
        assert not roots(path) - sys.stdlib_module_names - {"video_reclaim", "msgspec"}, path
        assert not roots(path) & {"time", "os", "random"}, f"{path}: the time is an argument"
        own = FOUNDATION | {"rules", "scaling"}
        assert {name if name in FOUNDATION else name.split(".")[0] for name in inside(path)} <= own, path


def test_adapters_import_rules_and_never_each_other():
    for path in modules("adapters", root=SHARED):
        own = path.relative_to(SHARED / "adapters").parts[0].removesuffix(".py")
        others = {name.split(".")[1] for name in inside(path) if name.startswith("adapters.")}
        assert others <= {own}, path


def test_imports_go_in_one_direction():
    handlers = {handler.stem for handler in HANDLERS}
    for path in sorted(SHARED.glob("*.py")):
        assert not {name for name in inside(path) if name.startswith("adapters")}, path
    for path in modules(".", root=SHARED):
        assert not roots(path) & handlers, path
    for path in modules("cdk"):
        assert not roots(path) & (handlers | {"video_reclaim"}), (
            f"{path}: the functions are known by path only"
        )
    for path in modules("dev"):
        assert "tests" not in roots(path), path


def test_everything_but_tests_fits_on_a_page():
    paths = [ROOT / "app.py", *modules("functions", "cdk", "ops", "examples", "dev")]
    for path in (one for one in paths if not one.is_relative_to(ROOT / "dev" / "tests")):
        assert len(path.read_text().splitlines()) <= LONGEST["module"], path
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= LONGEST["handler" if node.name == "handler" else "function"], (
                    path,
                    node.name,
                )


def test_the_workflow_fits_on_a_few_screens():
    assert len(dict(states(MACHINE))) <= 14
    assert len((ROOT / "state_machines" / "reclaim_videos.asl.json").read_text().splitlines()) <= 250


def test_handlers_hold_no_sql_no_keys_and_no_clients():
    for path in HANDLERS:
        assert not roots(path) & {"boto3", "botocore", "redis", "psycopg2", "os"}, path
        assert not re.search(r"\b(SELECT|UPDATE|INSERT|DELETE)\b|tenant:", path.read_text()), path


def text_in(path):
    """All text of a module but docstrings."""
    alone = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def test_one_module_of_the_product_names_tables_and_another_keys():
    def naming(names):
        product = modules("functions", "cdk", "ops")
        return [path for path in product if any(re.search(names, text) for text in text_in(path))]

    assert naming(r"tenant:(?! )|job:encode|video-reclaim:$") == [SHARED / "rules" / "platform.py"]
    tables = r"video_video|lectures_(session|lecture)|core_tenant"
    assert naming(tables) == [SHARED / "adapters" / "postgres" / "statements.py"]


def states(machine):
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states(state["ItemProcessor"])


def test_each_state_that_calls_a_function_is_called_like_it_and_like_its_module():
    called = {
        name: re.fullmatch(r"\$\{(\w+)Arn\}", state["Arguments"]["FunctionName"])[1]
        for name, state in states(MACHINE)
        if state.get("Resource") == "arn:${Partition}:states:::lambda:invoke"
    }
    assert {name.removesuffix("Again") for name in called} == set(called.values()) == STEPS
    assert all(name.removesuffix("Again") == function for name, function in called.items())
    names = {re.sub(r"(?<!^)(?=[A-Z])", "_", step).lower() for step in STEPS}
    assert {path.stem for path in HANDLERS} == names


def test_the_retries_of_every_task_are_the_same():
    """JSON has no way to write them once."""
    retries = [s["Retry"] for _, s in states(MACHINE) if "lambda:invoke" in s.get("Resource", "")]
    assert len(retries) == 6
    assert all(retry == retries[0] for retry in retries)


def test_every_error_that_the_workflow_names_is_a_class_or_a_service_error():
    body = tree(SHARED / "errors.py").body
    classes = {node.name for node in body if isinstance(node, ast.ClassDef)}
    named = {
        error
        for _, state in states(MACHINE)
        for rule in state.get("Retry", []) + state.get("Catch", [])
        for error in rule["ErrorEquals"]
    }
    assert {error for error in named if "." not in error} <= classes
    services = {error.split(".")[0] for error in named if "." in error}
    assert services == {"Lambda", "Runtime", "Sandbox", "States"}
