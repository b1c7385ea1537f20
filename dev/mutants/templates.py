"""Mutants of the synthesized templates: each property dropped or changed, each grant dropped or widened.

A mutant is made in every template that has the property, of whatever stage. Descriptions, tags, assets and what
CDK makes for itself are left out, and so is the platform of the example, which isn't the product.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dev.definition import ROOT
from dev.mutants import forks
from dev.mutants.bodies import closed, opened
from dev.mutants.forks import Mutant, Suite
from dev.mutants.mistakes import Mistake, mistakes_in, short
from dev.mutants.outcome import Outcome

ALARMS, PERMISSIONS, SCHEDULE, ENVIRONMENT, RESOURCES, SHOWN = AREAS = (
    *("alarms", "permissions", "schedule", "environment", "resources"),
    "dashboard and queries",
)
_AREA_BY_TYPE = {
    "AWS::CloudWatch::Alarm": ALARMS,
    "AWS::CloudWatch::Dashboard": SHOWN,
    "AWS::EC2::SecurityGroupIngress": PERMISSIONS,
    "AWS::IAM::InstanceProfile": PERMISSIONS,
    "AWS::IAM::Policy": PERMISSIONS,
    "AWS::IAM::Role": PERMISSIONS,
    "AWS::Logs::QueryDefinition": SHOWN,
    "AWS::SQS::QueuePolicy": PERMISSIONS,
    "AWS::Scheduler::Schedule": SCHEDULE,
}
_PLATFORM = re.compile(r"Vpc|CustomVpc|Database|Redis(?!Group)|Operators|Jobs|DeadLetters|Key|Workers")
"""Ids of what the example makes of a platform of its own."""

SUITES = [
    Suite(f"tests/infra/{name}.py", frozenset(areas), without)
    for name, areas, without in (
        ("test_environment", {ENVIRONMENT, RESOURCES}, ()),
        ("test_alarms", {ALARMS}, ()),
        ("test_schedule", {SCHEDULE, RESOURCES}, ()),
        ("test_grants", {PERMISSIONS}, ()),
        ("test_observation", {SHOWN}, ()),
        ("test_queries", {SHOWN}, ()),
        ("test_operators", {ALARMS, SHOWN}, ()),
        ("test_template", set(AREAS), ("another_definition", "other_code", "same_sources")),
        ("test_worker_group", {RESOURCES, PERMISSIONS}, ()),
        ("test_resources", {RESOURCES}, ()),
        ("test_workflow", {RESOURCES, ENVIRONMENT}, ()),
        ("test_stages", {RESOURCES}, ("refus", "load", "name", "overrides_that")),
        ("test_places", {RESOURCES, PERMISSIONS, SCHEDULE}, ("runtime_and_memory",)),
        ("test_permissions", {PERMISSIONS}, ()),
        ("test_example", set(AREAS), ("no_finding", "TestConstruct", "pipeline")),
    )
]


_MADE: dict[Path, str] = {}
"""The templates with the one mistake of this forked process."""


class InTemplates:
    """Makes a mistake in the text of a template."""

    def __init__(self, mistake: Mistake) -> None:
        self._mistake = mistake

    def __call__(self, path: Path, text: str) -> str:
        """Return the text that is read from a file."""
        if not path.name.endswith(".template.json"):
            return text
        if path not in _MADE:
            template = opened(json.loads(text))
            self._mistake.make(template)
            _MADE[path] = json.dumps(closed(template))
        return _MADE[path]


def run(processes: int) -> list[Outcome]:
    """Run all mutants of the templates."""
    return forks.run("templates", mutants(), SUITES, processes)


def mutants() -> list[Mutant]:
    """Return every mutant of the stages' templates, and those of the example that no stage has."""
    found: dict[str, Mutant] = {}
    shown = False
    for template, is_example in [*((one, False) for one in _stages()), (_example(), True)]:
        for area, mistake in _of_template(opened(template), is_example=is_example):
            if area == SHOWN and shown:
                continue  # the same widgets, with the names of another stage
            found.setdefault(str(mistake), Mutant(area, str(mistake), area, InTemplates(mistake)))
        shown = True
    return list(found.values())


def _of_template(template: dict[str, Any], *, is_example: bool) -> Iterator[tuple[str, Mistake]]:
    for id_, resource in template["Resources"].items():
        if is_example and _PLATFORM.match(id_):
            continue
        for mistake in mistakes_in(short(id_), resource):
            yield _area(resource["Type"], mistake), mistake
    for name in template.get("Outputs", {}):
        yield RESOURCES, Mistake("Outputs", (name,), "dropped")
        yield RESOURCES, Mistake("Outputs", (name, "Value"), "other")


def _area(type_: str, mistake: Mistake) -> str:
    if "Environment" in mistake.keys:
        return ENVIRONMENT
    if mistake.keys[-1] in ("Role", "RoleArn"):
        return PERMISSIONS
    return _AREA_BY_TYPE.get(type_, RESOURCES)


def _stages() -> Iterator[dict[str, Any]]:
    from cdk.stage import stages_in
    from dev.definition import synthesize

    for name in stages_in():
        yield json.loads(json.dumps(synthesize(name)))


def _example() -> dict[str, Any]:
    import aws_cdk

    from examples.app import Academy

    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = aws_cdk.App(context=context, builtin_cloud_formation_validation=False)
    Academy(app, "Academy")
    template: dict[str, Any] = json.loads(Path(app.synth().stacks[0].template_full_path).read_text())
    return template
