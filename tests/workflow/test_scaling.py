"""The decision inside the workflow, on a CloudWatch that is late, exact and sometimes incomplete."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from dev.testing.sections import GROUP, NAMESPACE, OVERRIDE

IN_MODE_HOLD = json.dumps(
    {"mode": "hold", "until": (datetime.now(UTC) + timedelta(hours=1)).isoformat(), "reason": "a test"}
)


@pytest.fixture
def calm_nine(workflow, stopped_clock):
    """A group of nine, and a window with two videos in each minute but every fifth, and four in one."""
    workflow.autoscaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=9)
    workflow.aws.desired_set.clear()
    minute = stopped_clock.replace(second=0)
    datum = {"MetricName": "BacklogCount", "Unit": "Count"}
    values = {ago: 4 if ago == 13 else 2 for ago in range(1, 26) if ago % 5}
    workflow.cloudwatch.put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[
            {**datum, "Value": value, "Timestamp": minute - timedelta(minutes=ago)}
            for ago, value in values.items()
        ],
    )
    workflow.aws.settle()
    return workflow


def decision(workflow):
    execution = workflow.run()
    assert execution["status"] == "SUCCEEDED", execution
    return execution["record"]["decision"]


def test_out_at_once_although_no_point_can_be_read_yet(workflow, academy):
    for _ in range(4):
        academy.add("UPLOADED")

    assert decision(workflow)["action"] == "scale-out" and workflow.aws.desired_set == [4]


def test_in_to_the_newest_peak_and_a_spare(calm_nine):
    assert decision(calm_nine)["desired"] == 3 and calm_nine.aws.desired_set == [3]


@pytest.mark.parametrize("doubt", ["queue", "order"])
def test_held_on_doubt_or_by_order(calm_nine, doubt):
    if doubt == "queue":
        calm_nine.sqs.delete_queue(QueueUrl=calm_nine.queue.url)
    else:
        calm_nine.ssm.put_parameter(Name=OVERRIDE, Type="String", Value=IN_MODE_HOLD)

    made = decision(calm_nine)

    assert (made["action"], made["held"]) == ("hold", True) and calm_nine.aws.desired_set == []


def test_advice_is_published_and_not_followed(workflow, academy):
    workflow.environment["PublishBacklog"]["SCALING_MODE"] = "advise"
    for _ in range(4):
        academy.add("UPLOADED")

    assert decision(workflow)["desired"] == 4
    assert workflow.aws.desired_set == [] and workflow.published("DesiredWorkers") == [4]
