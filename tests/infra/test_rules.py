"""The AwsSolutions rules and CloudFormation's own, on every stage, with warnings as errors."""

import json

import aws_cdk
import pytest
from aws_cdk import aws_sqs as sqs
from cdk_nag import AwsSolutionsChecks

from tests.infra.conftest import synthesized


def test_no_finding_and_no_warning_is_left(stage):
    result = synthesized(stage, checked=True)  # an error would have ended the synthesis
    assert result.messages == []
    assert [violation for report in result.reports for violation in report["violations"]] == []


def test_the_rules_are_at_work(tmp_path):
    app = aws_cdk.App(outdir=str(tmp_path), builtin_cloud_formation_validation=False)
    aws_cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    sqs.Queue(aws_cdk.Stack(app, "Stack"), "InTheClear")
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    assert "AwsSolutions-SQS4" in (tmp_path / "validation-report.json").read_text()


def test_every_accepted_finding_has_a_reason(stage):
    tree = json.loads((synthesized(stage).folder / "manifest.json").read_text())
    accepted = [
        rule
        for artifact in tree["artifacts"].values()
        for entries in _metadata(synthesized(stage).folder, artifact)
        for entry in entries
        if entry["type"] == aws_cdk.Validations.ACKNOWLEDGED_RULES_METADATA_KEY
        for rule in entry["data"].items()
    ]
    assert accepted
    assert all(len(str(reason).split()) >= 3 for _, reason in accepted)


def _metadata(folder, artifact):
    if "additionalMetadataFile" in artifact:
        return json.loads((folder / artifact["additionalMetadataFile"]).read_text()).values()
    return artifact.get("metadata", {}).values()
