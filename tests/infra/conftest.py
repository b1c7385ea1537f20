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
from dev.local.watchdog import make_scratch_folder
from examples.app import Academy, Reclaim

ROOT = Path(__file__).parents[2]
CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
STAGES = ("existing", "greenfield", "local")
"""The stages that are shipped. Of a stage of one's own, tests know nothing but that it follows the rules."""
DEFINITION = ROOT / "state_machines" / "reclaim_videos.asl.json"


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

    Return the template's file, the findings as text and the assembly's folder.
    """
    app = aws_cdk.App(context=CONTEXT, outdir=make_folder())
    aws_cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    make(app)
    with suppress(RuntimeError):  # there are findings
        app.synth()
    folder = Path(app.outdir)
    reports = json.loads((folder / "validation-report.json").read_text())["pluginReports"]
    return SimpleNamespace(
        file=next(folder.glob("*.template.json")),
        findings=[
            f"{violation['ruleName']} {place['constructPath']}: {violation['description']}"
            for report in reports
            for violation in report["violations"]
            for place in violation["violatingConstructs"]
        ],
        folder=folder,
    )


def synthesized(name, overrides="{}", *, stages=None):
    """Synthesize a stage of ``stages/``, or of ``stages``, without checks; see `assemble`."""
    return assemble(json.dumps(stages or stages_in()), name, overrides)


def assemble(stages, name, overrides="{}", place=()):
    """Synthesize a stage of these, as JSON; with ``place``, in a ``cdk.Stage`` of that account and region.

    The same one is synthesized once, but its template is read each time.
    """
    made = _assemble(stages, name, overrides, place)
    return SimpleNamespace(**vars(made), template=json.loads(made.file.read_text()))


def assemble_anew(stages, name, overrides="{}"):
    """Synthesize a stage even if it was synthesized already."""
    made = _assemble.__wrapped__(stages, name, overrides, ())
    return json.loads(made.file.read_text())


@cache
def _assemble(stages, name, overrides, place):
    app = aws_cdk.App(context=CONTEXT, outdir=make_folder(), builtin_cloud_formation_validation=False)
    scope = aws_cdk.Stage(app, "Prod", env=aws_cdk.Environment(**dict(place))) if place else app
    VideoReclaimStack(scope, name=name, stage=load(json.loads(stages), name, overrides))
    assembly = app.synth()
    (stack,) = assembly.get_nested_assembly("assembly-Prod").stacks if place else assembly.stacks
    file = Path(stack.template_full_path)
    return SimpleNamespace(
        file=file,
        folder=file.parent,
        messages=[f"{message.id}: {message.entry.data}" for message in stack.messages],
        name=stack.stack_name,
        account=stack.environment.account,
        region=stack.environment.region,
        termination_protection=stack.termination_protection,
    )


@cache
def checked(name):
    """Synthesize a stage under all checks."""
    return check(lambda app: VideoReclaimStack(app, name=name, stage=load(stages_in(), name)))


@cache
def checked_example():
    """Synthesize the example's two stacks under all checks."""
    return check(lambda app: Reclaim(app, "Reclaim", academy=Academy(app, "Academy")))


def example():
    """The example's templates by stack."""
    files = checked_example().folder.glob("*.template.json")
    return {file.name.partition(".")[0]: json.loads(file.read_text()) for file in files}


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


def functions(resources):
    """The four functions' properties by step."""
    return {
        one["FunctionName"].split("-")[-1]: one
        for one in of_type(resources, "AWS::Lambda::Function").values()
        if "FunctionName" in one
    }


def machine_of(resources):
    """The state machine's properties."""
    (machine,) = of_type(resources, "AWS::StepFunctions::StateMachine").values()
    return machine


def states(machine):
    """Every state by name, those inside Maps too."""
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states(state["ItemProcessor"])
