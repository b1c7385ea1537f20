"""What starts the workflow: the schedule, and the rule for terminated instances. No start is lost unseen.

The rule is held against the event's text in AWS's document: "Amazon EC2 Auto Scaling event reference", its User
Guide; "Event patterns" and "Input transformation", EventBridge User Guide, say what a rule makes of it.
"""

import json
import re

import pytest

from cdk.stage import load, stages_in
from tests.infra.conftest import of_type, synthesized
from tests.infra.references import as_list, granted, role_of, written
from video_reclaim.rules.execution_input import ExecutionInput

WEEK_S = 7 * 24 * 3600
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


def schedule_of(resources):
    (schedule,) = of_type(resources, "AWS::Scheduler::Schedule").values()
    return schedule


def rule_of(resources):
    (rule,) = of_type(resources, "AWS::Events::Rule").values()
    (target,) = rule["Targets"]
    return rule, target


def changed(**schedule):
    windows = {"peakWindowSeconds": 7200, "scaleInWindowSeconds": 7200}
    given = {"schedule": schedule, "scaling": windows}
    return synthesized("existing", json.dumps(given)).template["Resources"]


def test_the_schedule_is_as_often_as_the_stage_says():
    for rate, expression in ((1, "rate(1 minute)"), (7, "rate(7 minutes)"), (60, "rate(1 hour)")):
        schedule = schedule_of(changed(rateMinutes=rate))
        assert schedule["ScheduleExpression"] == expression
        assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}, "the alarms count rounds by the minute"


def test_both_are_on_only_if_the_stage_says_so():
    for enabled, state in ((True, "ENABLED"), (False, "DISABLED")):
        resources = changed(enabled=enabled)
        assert {schedule_of(resources)["State"], rule_of(resources)[0]["State"]} == {state}


def test_a_start_by_the_schedule_asks_for_an_ordinary_run(template):
    assert ExecutionInput.parse(json.loads(schedule_of(template)["Target"]["Input"])) == ExecutionInput()


def test_a_start_that_is_late_is_given_up_once_another_does_its_work(stage, template):
    """AWS retries for a day unless it is told not to; then a day's starts would come at once."""
    rounds_s = 60 * load(stages_in(), stage).schedule.rate_minutes
    policies = schedule_of(template)["Target"]["RetryPolicy"], rule_of(template)[1]["RetryPolicy"]
    for policy, limit_s in zip(policies, (rounds_s, 600), strict=True):
        assert 60 <= policy["MaximumEventAgeInSeconds"] <= limit_s
        assert 1 <= policy["MaximumRetryAttempts"] <= 5


def test_a_start_that_failed_is_kept_for_the_operator(template):
    id_, attribute = schedule_of(template)["Target"]["DeadLetterConfig"]["Arn"]["Fn::GetAtt"]
    queue = template[id_]["Properties"]
    assert (template[id_]["Type"], attribute) == ("AWS::SQS::Queue", "Arn")
    assert queue["MessageRetentionPeriod"] >= WEEK_S
    alarms = of_type(template, "AWS::CloudWatch::Alarm").values()
    watched = [written(one["Value"], template) for alarm in alarms for one in alarm["Dimensions"]]
    assert queue["QueueName"] in watched

    assert rule_of(template)[1]["DeadLetterConfig"]["Arn"]["Fn::GetAtt"] == [id_, attribute]
    (rule_id,) = of_type(template, "AWS::Events::Rule")
    allowed = [
        (statement["Principal"], as_list(statement["Action"]), statement["Condition"])
        for policy in of_type(template, "AWS::SQS::QueuePolicy").values()
        if {"Ref": id_} in policy["Queues"]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    of_rule = {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": [rule_id, "Arn"]}}}
    assert allowed == [({"Service": "events.amazonaws.com"}, ["sqs:SendMessage"], of_rule)]


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


class TestTerminations:
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
    def test_an_instance_of_the_group_that_has_ended_starts_a_run(self, template, given, starts):
        assert matches(rule_of(template)[0]["EventPattern"], given) is starts

    def test_the_workflow_is_given_the_instance(self, template):
        given = json.loads(transformed(rule_of(template)[1]["InputTransformer"], event()))
        assert ExecutionInput.parse(given) == ExecutionInput(terminated=["i-1234567890abcdef0"])

    def test_it_may_start_this_workflow_alone(self, template):
        rule, target = rule_of(template)
        ((machine_id, _),) = of_type(template, "AWS::StepFunctions::StateMachine").items()
        assert target["Arn"] == {"Ref": machine_id}
        assert granted(template, role_of(target, "RoleArn")) == {("states:StartExecution", f"<{machine_id}>")}
        trust = template[role_of(target, "RoleArn")]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
        source = written(trust["Condition"]["StringEquals"]["aws:SourceArn"], template)
        assert source.endswith(f":rule/{rule['Name']}")
