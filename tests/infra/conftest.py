"""Templates of every stage, synthesized in this process, offline, from the stages of stages/."""

import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import aws_cdk
import pytest
from cdk_nag import AwsSolutionsChecks, ServerlessChecks

from cdk.stack import VideoReclaimStack
from cdk.stage import load, stages_in
from dev.local.files import make_scratch_folder

ROOT = Path(__file__).parents[2]
CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
STAGES = sorted(stages_in())
MACHINE = (ROOT / "state_machines" / "reclaim_videos.asl.json").read_text()


def pytest_collection_modifyitems(items):
    """Let one process do all of this: starting CDK costs seconds."""
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker(pytest.mark.xdist_group("infra"))


def make_folder():
    """A folder for one assembly, removed when the process ends."""
    return str(make_scratch_folder())


def check(make):
    """Synthesize what ``make`` adds to an app, under cdk-nag and CloudFormation's own rules.

    Return the template, the findings as text, the stack's messages and the assembly's folder.
    """
    app = aws_cdk.App(context=CONTEXT, outdir=make_folder())
    aws_cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    make(app)
    with suppress(RuntimeError):  # there are findings
        app.synth()
    folder = Path(app.outdir)
    reports = json.loads((folder / "validation-report.json").read_text())["pluginReports"]
    return SimpleNamespace(
        template=json.loads(next(folder.glob("*.template.json")).read_text()),
        findings=[
            f"{violation['ruleName']} {place['constructPath']}: {violation['description']}"
            for report in reports
            for violation in report["violations"]
            for place in violation["violatingConstructs"]
        ],
        folder=folder,
    )


@cache
def synthesized(name, overrides="{}"):
    """Synthesize a stage without checks; return the template, the stack's name and the assembly's folder."""
    app = aws_cdk.App(context=CONTEXT, outdir=make_folder(), builtin_cloud_formation_validation=False)
    VideoReclaimStack(app, name=name, stage=load(stages_in(), name, overrides))
    assembly = app.synth()
    (stack,) = assembly.stacks
    return SimpleNamespace(
        template=json.loads(Path(stack.template_full_path).read_text()),
        messages=[f"{message.id}: {message.entry.data}" for message in stack.messages],
        folder=Path(assembly.directory),
        name=stack.stack_name,
    )


@cache
def checked(name):
    """Synthesize a stage under all checks."""
    return check(lambda app: VideoReclaimStack(app, name=name, stage=load(stages_in(), name)))


@pytest.fixture(params=STAGES)
def stage(request):
    """Each stage of stages/ by name."""
    return request.param


@pytest.fixture
def template(stage):
    """The resources of a stage by logical id."""
    return synthesized(stage).template["Resources"]


def of_type(resources, kind):
    """The properties of every resource of a type, by logical id."""
    return {id_: one.get("Properties", {}) for id_, one in resources.items() if one["Type"] == kind}
