"""An execution that the schedule starts. Last in its folder, so that the schedule's first minute has passed."""

import json

import pytest

from dev.testing.emulator_bench import Bench

pytestmark = pytest.mark.xdist_group("deployed")


def test_the_schedule_starts_the_workflow_by_itself(deployed, early_schedule):
    stepfunctions, machine = deployed.clients.stepfunctions, deployed.stack.state_machine_arn

    def by_the_schedule():
        pages = stepfunctions.get_paginator("list_executions").paginate(stateMachineArn=machine)
        names = [one["executionArn"] for page in pages for one in page["executions"]]
        shown = (stepfunctions.describe_execution(executionArn=arn) for arn in names if arn not in by_hand)
        return [one for one in shown if one["status"] == "SUCCEEDED" and one["input"] == '{"dryRun": true}']

    by_hand = set(deployed.started)
    execution = Bench.until(by_the_schedule, limit_s=100)[0]

    assert json.loads(execution["output"])["dryRun"] is True


def test_the_deployed_schedule_is_the_one_that_was_copied_and_is_off_here(deployed, early_schedule):
    assert early_schedule["State"] == "DISABLED"
    assert early_schedule["ScheduleExpression"] == "rate(1 minute)"
    assert early_schedule["Target"]["Arn"] == deployed.stack.state_machine_arn
    assert json.loads(early_schedule["Target"]["Input"]) == {}
