"""The decision inside the workflow, on a CloudWatch that is late, exact and sometimes incomplete."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.workflow.conftest import GROUP, NAMESPACE, OVERRIDE
from video_reclaim.adapters import ssm


def put_backlog(workflow, value, minutes_ago, **series):
    minute = workflow.at.replace(second=0)
    datum = {"MetricName": "BacklogCount", "Unit": "Count", "Value": value} | series
    workflow.cloudwatch.put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[{**datum, "Timestamp": minute - timedelta(minutes=ago)} for ago in minutes_ago],
    )


@pytest.fixture(autouse=True)
def at(workflow, stopped_clock):
    """The time of the decision; `put_backlog` counts from it."""
    workflow.at = stopped_clock


@pytest.fixture
def at_nine(workflow):
    workflow.autoscaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=9)
    workflow.aws.desired_set.clear()
    return workflow


def decision(workflow):
    execution = workflow.run()
    assert execution["status"] == "SUCCEEDED", execution
    return execution["record"]["decision"]


def test_out_at_once_although_no_point_can_be_read_yet(workflow, academy):
    for _ in range(4):
        academy.add("UPLOADED")

    assert decision(workflow)["action"] == "scale-out" and workflow.aws.desired_set == [4]


def test_in_to_the_newest_peak_and_a_spare_although_single_minutes_are_absent(at_nine):
    put_backlog(at_nine, 2, [ago for ago in range(2, 26) if ago % 5])
    put_backlog(at_nine, 4, [15])
    at_nine.aws.settle()

    assert decision(at_nine)["desired"] == 3 and at_nine.aws.desired_set == [3]


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([(range(2, 26), {})], id="points-that-are-not-readable-yet"),
        pytest.param([([*range(2, 9), *range(11, 26)], {})], id="a-gap"),
        pytest.param([(range(2, 26), {"Unit": "Seconds"})], id="another-unit"),
        pytest.param(
            [(range(2, 26), {"Dimensions": [{"Name": "WorkerType", "Value": "Video"}]})],
            id="other-dimensions",
        ),
    ],
)
def test_held_where_the_window_is_not_covered(at_nine, points, request):
    for minutes_ago, series in points:
        put_backlog(at_nine, 0, minutes_ago, **series)
    if "not-readable" not in request.node.callspec.id:
        at_nine.aws.settle()

    made = decision(at_nine)

    assert (made["action"], made["held"]) == ("hold", True) and at_nine.aws.desired_set == []


def test_held_while_the_queue_is_unknown(at_nine):
    put_backlog(at_nine, 0, range(2, 26))
    at_nine.aws.settle()
    at_nine.sqs.delete_queue(QueueUrl=at_nine.queue.url)

    made = decision(at_nine)

    assert made["inputs"]["visible"] is None
    assert (made["action"], made["held"]) == ("hold", True) and at_nine.aws.desired_set == []
    assert at_nine.published("QueueDepth", "Video") == [], "what is unknown is not 0"


def test_held_while_the_override_can_not_be_read(at_nine, monkeypatch):
    put_backlog(at_nine, 0, range(2, 26))
    at_nine.aws.settle()
    monkeypatch.setattr(ssm, "read_parameter", lambda _name: (None, False))

    made = decision(at_nine)

    assert (made["action"], made["held"]) == ("hold", True) and at_nine.aws.desired_set == []
    assert "it could not be read" in made["reason"]


@pytest.mark.parametrize(
    ("order", "hours", "desired", "reason"),
    [
        pytest.param({"mode": "fixed", "desired": 12}, 1, [12], "a test", id="fixed"),
        pytest.param({"mode": "hold"}, 1, [], "a test", id="hold"),
        pytest.param({"mode": "no-scale-in"}, 1, [], "a test", id="no-scale-in"),
        pytest.param({"mode": "no-scale-out"}, 1, [1], "In to 1", id="no-scale-out-leaves-the-way-in"),
        pytest.param({"mode": "hold"}, -1, [1], "In to 1", id="expired"),
        pytest.param({"mode": "stop"}, 1, [], "unclear", id="malformed"),
    ],
)
def test_an_override_takes_precedence_until_it_expires(at_nine, order, hours, desired, reason):
    put_backlog(at_nine, 0, range(2, 26))
    at_nine.aws.settle()
    until = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
    at_nine.ssm.put_parameter(
        Name=OVERRIDE, Type="String", Value=json.dumps({**order, "until": until, "reason": "a test"})
    )

    made = decision(at_nine)

    assert at_nine.aws.desired_set == desired and reason in made["reason"]


def test_advice_is_published_and_not_followed(workflow, academy):
    workflow.environment["PublishBacklog"]["SCALING_MODE"] = "advise"
    for _ in range(4):
        academy.add("UPLOADED")

    assert decision(workflow)["desired"] == 4
    assert workflow.aws.desired_set == [] and workflow.published("DesiredWorkers") == [4]
