"""CDK Pipelines: a pipeline in one account that deploys a stage into another.

``make bootstrap`` both accounts first, the stage's with ``ARGS='--trust PIPELINE_ACCOUNT
--cloudformation-execution-policies arn:aws:iam::aws:policy/AdministratorAccess'``, or with a narrower policy.
Deploy the pipeline once by hand; from then on it updates itself:

    cdk deploy --app '.venv/bin/python -m examples.pipeline' AcademyPipeline
"""

from aws_cdk import App, Environment, Stack, Stage, pipelines
from constructs import Construct

from cdk.stack import VideoReclaimStack
from cdk.stage import StageFile, load, stages_in

REPOSITORY, BRANCH = "example/video-reclaim", "main"
CONNECTION = (
    "arn:aws:codestar-connections:ap-northeast-2:111111111111:connection/11111111-1111-1111-1111-111111111111"
)
PIPELINE = Environment(account="111111111111", region="ap-northeast-2")


class Deployment(Stage):
    """One stage of ``stages/``, in the account and region that it names."""

    def __init__(self, scope: Construct, id_: str, *, name: str, stage: StageFile) -> None:
        super().__init__(scope, id_, env=Environment(account=stage.account, region=stage.region))
        VideoReclaimStack(self, name=name, stage=stage)


class Pipeline(Stack):
    """Tests the repository, synthesizes it, updates itself and deploys, after an approval."""

    def __init__(self, scope: Construct, id_: str, *, deploys: str) -> None:
        super().__init__(scope, id_, env=PIPELINE)
        source = pipelines.CodePipelineSource.connection(REPOSITORY, BRANCH, connection_arn=CONNECTION)
        pipeline = pipelines.CodePipeline(
            self,
            "Pipeline",
            cross_account_keys=True,
            synth=pipelines.ShellStep(
                "Synth",
                input=source,
                commands=["make test", "make synth ARGS='--app \".venv/bin/python -m examples.pipeline\"'"],
                primary_output_directory="cdk.out",
            ),
        )
        stage = load(stages_in(), deploys)
        pipeline.add_stage(
            Deployment(self, deploys, name=deploys, stage=stage),
            pre=[pipelines.ManualApprovalStep("Approve")],
        )


if __name__ == "__main__":
    app = App()
    Pipeline(app, "AcademyPipeline", deploys="existing")
    app.synth()
