"""The schedule starts an ordinary run of this workflow, as often as the stage says, and loses no start unseen."""

import json
import re

import pytest

from cdk.stage import load, stages_in
from tests.infra.conftest import of_type, synthesized
from tests.infra.references import granted, written
from video_reclaim.rules.execution_input import ExecutionInput

WEEK_S = 7 * 24 * 3600


def schedule_of(resources):
    (schedule,) = of_type(resources, "AWS::Scheduler::Schedule").values()
    return schedule


def minutes(expression):
    number, unit = re.fullmatch(r"rate\((\d+) (minute|hour)s?\)", expression).groups()
    return int(number) * {"minute": 1, "hour": 60}[unit]


@pytest.mark.parametrize("rate", [1, 7, 60])
def test_it_starts_as_often_as_the_stage_says(rate):
    given = {
        "schedule": {"rateMinutes": rate},
        "scaling": {"peakWindowSeconds": 7200, "scaleInWindowSeconds": 7200},
    }
    schedule = schedule_of(synthesized("existing", json.dumps(given)).template["Resources"])
    assert minutes(schedule["ScheduleExpression"]) == rate
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}, "the alarms count rounds by the minute"


def test_each_stage_has_its_own_rate(stage, template):
    assert (
        minutes(schedule_of(template)["ScheduleExpression"]) == load(stages_in(), stage).schedule.rate_minutes
    )


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_on_only_if_the_stage_says_so(enabled):
    given = json.dumps({"schedule": {"enabled": enabled}})
    state = schedule_of(synthesized("existing", given).template["Resources"])["State"]
    assert state == ("ENABLED" if enabled else "DISABLED")


def test_a_start_asks_for_an_ordinary_run(template):
    given = json.loads(schedule_of(template)["Target"]["Input"])
    assert ExecutionInput.parse(given) == ExecutionInput()


def test_a_start_that_is_late_is_given_up_for_the_next_one(stage, template):
    """AWS retries for a day unless it is told not to; then a day's starts would come at once."""
    policy = schedule_of(template)["Target"]["RetryPolicy"]
    assert 60 <= policy["MaximumEventAgeInSeconds"] <= 60 * load(stages_in(), stage).schedule.rate_minutes
    assert 1 <= policy["MaximumRetryAttempts"] <= 5


def test_a_start_that_failed_is_kept_for_the_operator(template):
    target = schedule_of(template)["Target"]
    id_, attribute = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"]
    assert (template[id_]["Type"], attribute) == ("AWS::SQS::Queue", "Arn")
    assert template[id_]["Properties"]["MessageRetentionPeriod"] >= WEEK_S
    watched = [
        written(one["Value"], template)
        for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()
        for one in alarm["Dimensions"]
    ]
    assert template[id_]["Properties"]["QueueName"] in watched


def test_it_may_do_what_it_is_for(template):
    target = schedule_of(template)["Target"]
    assert template[target["Arn"]["Ref"]]["Type"] == "AWS::StepFunctions::StateMachine"
    role_id = target["RoleArn"]["Fn::GetAtt"][0]
    may = granted(template, role_id)
    assert ("states:StartExecution", written(target["Arn"], template)) in may
    assert ("sqs:SendMessage", written(target["DeadLetterConfig"]["Arn"], template)) in may
