"""The rule for terminated instances, held against the event's text in AWS's document.

"Amazon EC2 Auto Scaling event reference", its User Guide, for the event; "Event patterns" and "Input transformation",
EventBridge User Guide, for what a rule makes of it.
"""

import json
import re

import pytest

from tests.infra.conftest import of_type, synthesized
from tests.infra.references import as_list, granted, written

EVENT = """{
  "version": "0",
  "id": "12345678-1234-1234-1234-123456789012",
  "detail-type": "EC2 Instance Terminate Successful",
  "source": "aws.autoscaling",
  "account": "123456789012",
  "time": "yyyy-mm-ddThh:mm:ssZ",
  "region": "us-west-2",
  "resources": ["auto-scaling-group-arn", "instance-arn"],
  "detail": {
    "StatusCode": "InProgress",
    "Description": "Terminating EC2 instance: i-12345678",
    "AutoScalingGroupName": "my-asg",
    "ActivityId": "87654321-4321-4321-4321-210987654321",
    "Details": {"Availability Zone": "us-west-2b", "Subnet ID": "subnet-12345678"},
    "RequestId": "12345678-1234-1234-1234-123456789012",
    "StatusMessage": "",
    "EndTime": "yyyy-mm-ddThh:mm:ssZ",
    "EC2InstanceId": "i-1234567890abcdef0",
    "StartTime": "yyyy-mm-ddThh:mm:ssZ",
    "Cause": "description-text",
    "Origin": "AutoScalingGroup",
    "Destination": "EC2"
  }
}"""


def event(kind=None, **detail):
    given = json.loads(EVENT)
    given["detail"] |= {"AutoScalingGroupName": "academy-video-worker-asg", **detail}
    return given | ({"detail-type": kind} if kind else {})


def matches(pattern, given):
    """Whether an event matches a pattern of exact values and of ``anything-but``."""
    if isinstance(pattern, dict):
        return all(key in given and matches(below, given[key]) for key, below in pattern.items())
    return any(given not in one["anything-but"] if isinstance(one, dict) else given == one for one in pattern)


def transformed(transformer, given):
    """What a target is given: each <name> of the template is the JSON of the value at its path."""

    def value(name):
        found = given
        for key in transformer["InputPathsMap"][name].removeprefix("$.").split("."):
            found = found[key]
        return json.dumps(found)

    return re.sub(r"<([\w-]+)>", lambda found: value(found[1]), transformer["InputTemplate"])


def rule_of(resources):
    (rule,) = of_type(resources, "AWS::Events::Rule").values()
    (target,) = rule["Targets"]
    return rule, target


@pytest.mark.parametrize(
    ("given", "starts"),
    [
        pytest.param(event(), True, id="the-documents"),
        pytest.param(event(Origin="WarmPool"), True, id="out-of-a-warm-pool"),
        pytest.param(event(Destination="WarmPool"), False, id="back-into-a-warm-pool"),
        pytest.param(event(AutoScalingGroupName="my-asg"), False, id="another-group"),
        pytest.param(event("EC2 Instance Terminate Unsuccessful"), False, id="it-still-runs"),
        pytest.param(event("EC2 Instance-terminate Lifecycle Action"), False, id="it-is-still-waiting"),
        pytest.param({**event(), "source": "mine"}, False, id="somebody-elses-event"),
    ],
)
def test_it_starts_for_an_instance_of_the_group_that_has_ended(template, given, starts):
    rule, _ = rule_of(template)
    assert matches(rule["EventPattern"], given) is starts


def test_the_workflow_is_given_the_instance(template):
    _, target = rule_of(template)
    given = json.loads(transformed(target["InputTransformer"], event()))
    assert given == {"terminated": ["i-1234567890abcdef0"]}


def test_it_may_start_this_workflow_alone_and_a_start_that_failed_is_kept(template):
    rule, target = rule_of(template)
    ((machine_id, _),) = of_type(template, "AWS::StepFunctions::StateMachine").items()
    role_id = target["RoleArn"]["Fn::GetAtt"][0]
    assert target["Arn"] == {"Ref": machine_id}
    assert granted(template, role_id) == {("states:StartExecution", f"<{machine_id}>")}
    (trust,) = template[role_id]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    source = written(trust["Condition"]["StringEquals"]["aws:SourceArn"], template)
    assert source.endswith(f":rule/{rule['Name']}")

    letters = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]
    (schedule,) = of_type(template, "AWS::Scheduler::Schedule").values()
    assert schedule["Target"]["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0] == letters
    (rule_id,) = of_type(template, "AWS::Events::Rule")
    allowed = [
        (statement["Principal"], as_list(statement["Action"]), statement["Condition"])
        for policy in of_type(template, "AWS::SQS::QueuePolicy").values()
        if {"Ref": letters} in policy["Queues"]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert allowed == [
        (
            {"Service": "events.amazonaws.com"},
            ["sqs:SendMessage"],
            {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": [rule_id, "Arn"]}}},
        )
    ]


def test_a_start_that_is_refused_is_tried_again_while_it_is_worth_it(template):
    """By then the silence of its workers is known. AWS retries for a day unless it is told not to."""
    policy = rule_of(template)[1]["RetryPolicy"]
    assert policy["MaximumRetryAttempts"] >= 3
    assert 60 <= policy["MaximumEventAgeInSeconds"] <= 600


@pytest.mark.parametrize(("enabled", "state"), [(True, "ENABLED"), (False, "DISABLED")])
def test_it_is_on_only_if_the_schedule_is(enabled, state):
    given = json.dumps({"schedule": {"enabled": enabled}})
    rule, _ = rule_of(synthesized("existing", given).template["Resources"])
    assert rule["State"] == state
