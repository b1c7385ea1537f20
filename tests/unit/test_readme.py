"""The README agrees with the code: diagrams, the platform's tables, input, record, reasons, settings, figures."""

import ast
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import fields

from dev.bench import network, report
from video_reclaim.rules import platform
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.run_record import RunRecord
from video_reclaim.rules.staleness import Reason

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
INPUT = "| field | type | default | meaning |"
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


def drawn_transitions():
    """Every arrow of the workflow's diagram, as (from, to)."""
    (diagram,) = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", README, re.DOTALL)
    return set(re.findall(r"^\s*(\S+) --> (\S+?)(?::.*)?$", diagram, re.MULTILINE))


def test_diagram_shows_exactly_the_transitions_of_the_workflow():
    assert drawn_transitions() - {("Report", "[*]")} == set(transitions(MACHINE))


def test_architecture_shows_every_function():
    (diagram,) = re.findall(r"```mermaid\nflowchart LR\n(.*?)```", README, re.DOTALL)
    functions = {path.stem.title().replace("_", "") for path in (ROOT / "functions").glob("*.py")}
    assert functions <= set(re.findall(r"\w+", diagram))


def rows(heading):
    """The rows of the table with this heading, each as its cells."""
    table = README.partition(f"\n{heading}\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[1:]]


@pytest.mark.parametrize(
    "name",
    [
        *platform.Column,
        platform.VIDEOS,
        platform.SESSIONS,
        platform.LECTURES,
        platform.TENANTS,
        platform.heartbeat_key("{tenant_id}", "{video_id}"),
        *platform.message(platform.Job(1, "key", 1, "code", ""), attempt=1, at=datetime.now(UTC)),
    ],
)
def test_what_is_presupposed_of_the_platform_is_listed(name):
    assert f"`{name}`" in str(rows("| where | what must be there |"))


def test_input_is_the_one_of_the_code():
    listed = [(name, json.loads(default.strip("`").replace(",", ""))) for name, _, default, _ in rows(INPUT)]
    empty = ExecutionInput()
    assert listed == [(f"`{field.encode_name}`", getattr(empty, field.name)) for field in fields(empty)]


def test_every_field_of_the_record_is_listed_once():
    listed = re.findall(r"`(\w+)`", " ".join(row[0] for row in rows("| field | meaning |")))
    assert sorted(listed) == sorted(field.encode_name for field in fields(RunRecord))


def test_reasons_are_those_of_the_code():
    expected = [[f"`{reason.value}`", "yes" if reason.stale else "no", reason.meaning] for reason in Reason]
    assert sorted(rows("| reason | put back | meaning |")) == sorted(expected)


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
    """The default that a field is declared with; None if there is none."""
    if isinstance(value, ast.Call):
        named = {keyword.arg: keyword.value for keyword in value.keywords}
        return ast.literal_eval(named["default"]) if "default" in named else None
    return ast.literal_eval(value)


@pytest.mark.parametrize(
    ("part", "key", "default"), re.findall(r"^\| `(\w+)\.(\w+)` \| (\S+)", README, re.MULTILINE)
)
def test_listed_setting_exists_and_has_the_listed_default(part, key, default):
    actual = default_of(stage_keys()[part.capitalize()][key])
    shown = default.strip("`")
    assert shown == (
        "none" if actual is None else str(actual).lower() if isinstance(actual, bool) else str(actual)
    )


@pytest.mark.parametrize("part", ["Reclaiming", "Scaling", "Metrics", "Schedule"])
def test_every_setting_of_these_sections_is_listed(part):
    listed = set(re.findall(rf"`{part.lower()}\.(\w+)`", README))
    assert listed == set(stage_keys()[part])


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("recovery", ["simulated_p50", "simulated_p95", "simulated_gone_p95"]),
        ("network", ["faster_than_platform"]),
        ("round-trips", ["per_video"]),
        ("cost", ["idle_month"]),
    ],
)
def test_figure_is_the_one_of_the_stored_benchmark_run(section, keys):
    stored = report.load().sections[section]
    (row,) = re.findall(rf"^\| .* \| (.*?) \| `python -m dev.bench {section}` \|$", README, re.MULTILINE)
    for key in keys:
        assert stored.figure(key).quoted in row


def test_latencies_of_the_network_are_those_that_were_added():
    (row,) = re.findall(r"^\| (.*) \| .* \| `python -m dev.bench network` \|$", README, re.MULTILINE)
    latency_ms = network.LATENCY_MS
    assert re.findall(r"(\d+) ms", row) == [f"{latency_ms['PostgreSQL']:.0f}", f"{latency_ms['SQS']:.0f}"]
    assert latency_ms["Redis"] == latency_ms["PostgreSQL"]
