"""Checkers on every stage: cdk-nag, CloudFormation's own rules and cfn-lint, with warnings as errors."""

import json

import aws_cdk
from aws_cdk import aws_sqs as sqs
from cfnlint import api
from cfnlint.config import ManualArgs

from tests.infra.conftest import check, checked, synthesized


def lint(template, region="us-east-1"):
    """What cfn-lint finds in a template."""
    found = api.lint(json.dumps(template), config=ManualArgs(regions=[region]))
    return [f"{match.rule.id} {match.message}" for match in found]


def test_no_finding_and_no_warning_is_left(stage):
    assert checked(stage).findings == []
    assert synthesized(stage).messages == []


def test_cfn_lint_finds_nothing(stage):
    assert lint(synthesized(stage).template) == []


def test_the_rules_are_at_work():
    result = check(lambda app: sqs.Queue(aws_cdk.Stack(app, "Stack"), "InTheClear"))
    rules = {finding.split()[0] for finding in result.findings}
    assert {"AwsSolutions-SQS4", "Serverless-SQSRedrivePolicy"} <= rules


def test_cfn_lint_is_at_work():
    template = synthesized("existing").template
    changed = json.loads(json.dumps(template))
    for resource in changed["Resources"].values():
        resource.pop("Metadata", None)
    assert {finding.split()[0] for finding in lint(changed)} == {"E3601", "W3005"}


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
