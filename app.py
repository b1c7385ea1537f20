"""The CDK app: ``cdk deploy -c stage=NAME``, with a stage of cdk.json."""

import sys

from aws_cdk import App

from cdk.stack import VideoReclaimStack
from cdk.stage import InvalidStage, load

app = App()
name = app.node.try_get_context("stage")
try:
    stage = load(app.node.try_get_context("stages"), name, app.node.try_get_context("overrides"))
except InvalidStage as exc:
    sys.exit(str(exc))
VideoReclaimStack(app, name=name, stage=stage)
app.synth()
