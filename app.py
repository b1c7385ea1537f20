"""The CDK app: ``cdk deploy -c stage=NAME``, with a stage of stages/."""

import sys

from aws_cdk import App

from cdk.stack import VideoReclaimStack
from cdk.stage import InvalidStage, load, stages_in

app = App()
name = app.node.try_get_context("stage")
try:
    stage = load(stages_in(), name, app.node.try_get_context("overrides"))
except InvalidStage as exc:
    sys.exit(str(exc))
VideoReclaimStack(app, name=name, stage=stage)
app.synth()
