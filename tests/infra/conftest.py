"""Templates of every stage, synthesized in this process, offline, from the stages of stages/."""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import aws_cdk
import pytest
from cdk_nag import AwsSolutionsChecks

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


def _folder():
    """A folder for one assembly, removed when the process ends."""
    return str(make_scratch_folder())


@cache
def synthesized(name, overrides="{}", checked=False):
    """Synthesize a stage; with ``checked`` under cdk-nag and CloudFormation's own rules.

    Return the template, what was reported, and the assembly's folder.
    """
    app = aws_cdk.App(context=CONTEXT, outdir=_folder(), builtin_cloud_formation_validation=checked)
    if checked:
        aws_cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    VideoReclaimStack(app, name=name, stage=load(stages_in(), name, overrides))
    assembly = app.synth()
    (stack,) = assembly.stacks
    reports = Path(assembly.directory) / "validation-report.json"
    return SimpleNamespace(
        template=json.loads(Path(stack.template_full_path).read_text()),
        messages=[f"{message.id}: {message.entry.data}" for message in stack.messages],
        reports=json.loads(reports.read_text())["pluginReports"] if reports.exists() else [],
        folder=Path(assembly.directory),
        name=stack.stack_name,
    )


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
