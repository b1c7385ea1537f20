"""The README and the reference agree with the code: diagrams, the platform's tables, fields, settings, figures."""

import ast
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dev.bench import report
from video_reclaim.adapters.postgres import statements
from video_reclaim.rules import platform

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
MACHINE = json.loads((ROOT / "state_machines" / "reclaim_videos.asl.json").read_text())


def transitions(machine):
    """Every transition of a state machine, including those inside its Maps, as (from, to)."""
    yield "[*]", machine["StartAt"]
    for name, state in machine["States"].items():
        following = [state.get("Next"), state.get("Default")]
        following += [rule["Next"] for rule in state.get("Choices", []) + state.get("Catch", [])]
        yield from ((name, target) for target in following if target)
        if "ItemProcessor" in state:
            yield from transitions(state["ItemProcessor"])


def test_diagram_shows_exactly_the_transitions_of_the_workflow():
    (diagram,) = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", README, re.DOTALL)
    drawn = set(re.findall(r"^\s*(\S+) --> (\S+?)(?::.*)?$", diagram, re.MULTILINE))
    assert drawn - {("Report", "[*]")} == set(transitions(MACHINE))


def test_architecture_shows_every_function():
    (diagram,) = re.findall(r"```mermaid\nflowchart LR\n(.*?)```", README, re.DOTALL)
    functions = {path.stem.title().replace("_", "") for path in (ROOT / "functions").glob("*.py")}
    assert functions <= set(re.findall(r"\w+", diagram))


def test_what_is_presupposed_of_the_platform_is_listed():
    table = README.partition("\n| where | what must be there |\n")[2].partition("\n\n")[0]
    message = platform.message(platform.Job(1, "key", 1, "code", ""), attempt=1, at=datetime.now(UTC))
    sql = "".join(text for text in vars(statements).values() if isinstance(text, str))
    columns, tables = (
        set(re.findall(pattern, sql)) for pattern in (r"\bv\.(\w+)", r"(?:JOIN|UPDATE) (\w+_\w+) v?")
    )
    assert len(columns) == 8 and len(tables) == 4
    heartbeat = platform.Key.HEARTBEAT.of("{tenant_id}", "{video_id}")
    for name in (*columns, *tables, heartbeat, *message):
        assert f"`{name}`" in table


def stage_keys():
    """The keys of a stage with their defaults, from the types in cdk/stage.py."""
    parts = {}
    for node in ast.parse((ROOT / "cdk" / "stage.py").read_text()).body:
        if isinstance(node, ast.ClassDef):
            parts[node.name] = {
                re.sub(r"_(.)", lambda m: m[1].upper(), field.target.id): field.value
                for field in node.body
                if isinstance(field, ast.AnnAssign)
            }
    return parts


def default_of(value):
    """The default that a field is declared with, as a document shows it."""
    if isinstance(value, ast.Call):
        value = {keyword.arg: keyword.value for keyword in value.keywords}.get("default")
    default = ast.literal_eval(value) if value else None
    return "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def test_the_listed_settings_are_those_of_a_stage_with_their_defaults():
    keys = stage_keys()
    listed = re.findall(r"^\| `(\w+)\.(\w+)` \| (\S+)", REFERENCE, re.MULTILINE)
    for part in ("reclaiming", "scaling", "metrics", "schedule"):
        expected = {key: default_of(value) for key, value in keys[part.capitalize()].items()}
        assert {key: default.strip("`") for of, key, default in listed if of == part} == expected


@pytest.mark.parametrize(
    ("section", "figures"),
    [
        ("recovery", ["simulated_p50", "simulated_p95"]),
        ("network", ["faster_than_platform"]),
        ("cost", ["idle_month"]),
    ],
)
def test_figure_is_the_one_of_the_stored_benchmark_run(section, figures):
    stored = report.load()[section]
    (row,) = re.findall(rf"^\| .* \| (.*?) \| `python -m dev.bench {section}` \|$", README, re.MULTILINE)
    for key in figures:
        assert stored.figures[key].quoted in row
