"""Checkers on every stage: cdk-nag, CloudFormation's own rules and cfn-lint, with warnings as errors."""

import json
import re
from functools import cache

import aws_cdk
import pytest
from aws_cdk import aws_sqs as sqs
from cfnlint import api
from cfnlint.config import ManualArgs

from cdk.stage import stages_in
from tests.infra.conftest import STAGES, check, checked, synthesized

# What is accepted: finding, path of the construct, reason.
ACCEPTED = [
    (
        r"AwsSolutions-IAM5\[Resource::\*\]",
        r"(Functions/\w+|Workflow/StateMachine)/Role/.*",
        "X-Ray, network interfaces, log delivery, metrics and Describe* take no narrower resource",
    ),
    (
        r"AwsSolutions-IAM5\[Resource::arn:.*:autoScalingGroup:\*:.*\]",
        r"(Workflow/StateMachine|Workers)/Role/.*",
        "a random id that only Auto Scaling knows",
    ),
    (
        r"AwsSolutions-L1|Serverless-LambdaLatestVersion",
        r"Functions/\w+/Function/.*",
        "the version that the stage names and the layer is built for",
    ),
    (
        r"Serverless-LambdaDLQ",
        r"Functions/\w+/Function/.*",
        "called synchronously by the workflow, which retries and reports what failed",
    ),
    (
        r"AwsSolutions-SQS3|Serverless-SQSRedrivePolicy",
        r"(Schedule/Undelivered|Queues/(VideoDeadLetter|[A-Z]\w+\d)|DeadLetters)/.*",
        "a dead-letter queue itself, or one whose depth alone is measured",
    ),
    (r"AwsSolutions-AS3", r"Workers/Group", "its activities are in its own history and on the dashboard"),
    (r"W3005", r".*", "the CDK adds dependencies that a reference implies already"),
]


def lint(template, region="us-east-1"):
    """What cfn-lint finds in a template, and where."""
    found = api.lint(json.dumps(template), config=ManualArgs(regions=[region]))
    return [f"{match.rule.id} {'/'.join(map(str, match.path))}: {match.message}" for match in found]


def unaccepted(findings, also=()):
    """The findings without a reason."""
    return [
        finding
        for finding in findings
        for rule, _, path in [finding.partition(": ")[0].partition(" ")]
        if not any(
            re.fullmatch(f"{name}", rule) and re.search(f"(^|/){where}$", path)
            for name, where, _ in [*ACCEPTED, *also]
        )
    ]


@cache
def linted(name):
    """What cfn-lint finds in a stage."""
    return lint(synthesized(name).template)


@pytest.mark.parametrize("name", stages_in())
def test_no_finding_and_no_warning_is_left_in_any_stage_of_the_folder(name):
    assert unaccepted(checked(name).findings) == []
    assert unaccepted(linted(name)) == []
    assert synthesized(name).messages == []


def test_the_rules_are_at_work():
    result = check(lambda app: sqs.Queue(aws_cdk.Stack(app, "Stack"), "InTheClear"))
    rules = {finding.split()[0] for finding in unaccepted(result.findings)}
    assert {"AwsSolutions-SQS4", "Serverless-SQSRedrivePolicy"} <= rules
    template = synthesized("existing").template
    for resource in template["Resources"].values():
        resource.pop("Metadata", None)
    assert {finding.split()[0] for finding in unaccepted(lint(template))} == {"E3601"}


def test_nothing_is_accepted_that_is_not_found():
    found = [finding for name in STAGES for finding in (*checked(name).findings, *linted(name))]
    for rule, _, reason in ACCEPTED:
        if rule != "AwsSolutions-AS3":  # of the example
            assert any(re.match(rule, finding) for finding in found), reason
