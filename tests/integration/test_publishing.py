"""Measuring, publishing, reading back and deciding: on a real PostgreSQL, and on AWS mocked strictly."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest

import publish_backlog
from dev.testing.strict_aws import make_workers, strict_aws
from video_reclaim import cloudwatch, fleet
from video_reclaim.cloudwatch import Metric
from video_reclaim.errors import InvalidSetting, MetricsUnavailable
from video_reclaim.scaling import Point

NAMESPACE = "Academy/Workers"
GROUP = "academy-video-worker-asg"
OVERRIDE = "/academy/workers/video/scaling-override"
BACKLOG = Metric("BacklogCount")
NOW = datetime.now(UTC).replace(second=40, microsecond=0)
MINUTE = NOW.replace(second=0)
LISTED = {"dryRun": False, "heartbeatsTrusted": True}


QUEUES = {"Video": ["video"], "AI": ["lite", "basic"], "Messaging": ["messaging"]}


@pytest.fixture(scope="module")
def mocked():
    with strict_aws() as strict:
        strict.sqs, strict.autoscaling, strict.ssm = (
            boto3.client(name) for name in ("sqs", "autoscaling", "ssm")
        )
        make_workers(strict.autoscaling, GROUP)
        yield strict


@pytest.fixture
def aws(mocked, environment):
    """Empty queues, a group of 1 to 20 at 1, no order, no metric, and the settings that name them."""
    mocked.reset()
    for url in mocked.sqs.list_queues().get("QueueUrls", []):
        mocked.sqs.delete_queue(QueueUrl=url)
    urls = {kind: [_queue(mocked, name) for name in names] for kind, names in QUEUES.items()}
    mocked.autoscaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=1)
    for parameter in mocked.ssm.describe_parameters()["Parameters"]:
        mocked.ssm.delete_parameter(Name=parameter["Name"])
    environment.setenv("QUEUE_URLS", json.dumps(urls))
    environment.setenv("AUTO_SCALING_GROUP", GROUP)
    mocked.urls = urls
    return mocked


def _queue(mocked, name):
    return mocked.sqs.create_queue(QueueName=name)["QueueUrl"]


def published(aws, results=(), *, run=LISTED, retried=False):
    return publish_backlog.handler({"run": run, "results": list(results), "retried": retried}, None)


def values(aws, name, **dimensions):
    points = aws.points.get((NAMESPACE, name, tuple(sorted(dimensions.items())), _unit(name)), [])
    return [value for _, value, _ in points]


def _unit(name):
    return "Seconds" if name == "OldestBacklogAge" else "Count"


class TestReadingBack:
    def put(self, minutes_ago, value, metric=BACKLOG, namespace=NAMESPACE):
        cloudwatch.put(namespace, {metric: value}, at=NOW - timedelta(minutes=minutes_ago))

    def read(self, metric=BACKLOG, window_s=1200):
        (points,) = cloudwatch.maxima(NAMESPACE, [metric], at=NOW, window_s=window_s)
        return points

    def test_points_come_oldest_first_with_their_minutes_maximum(self, aws):
        self.put(2, 5)
        self.put(2, 7)
        self.put(4, 3)
        aws.settle()
        assert self.read() == (
            Point(MINUTE - timedelta(minutes=4), 3.0),
            Point(MINUTE - timedelta(minutes=2), 7.0),
        )

    def test_a_point_that_is_not_readable_yet_is_absent_and_no_error(self, aws):
        self.put(0, 5)
        assert self.read() == ()

    def test_the_window_ends_with_the_minute_at_hand(self, aws):
        for minutes_ago in (0, 20, 21):
            self.put(minutes_ago, 1 + minutes_ago)
        aws.settle()
        assert [point.value for point in self.read()] == [21.0, 1.0]

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(Metric("BacklogCount", "Seconds"), id="unit"),
            pytest.param(Metric("BacklogCount", "Count", (("Stage", "test"),)), id="dimensions"),
        ],
    )
    def test_finds_only_what_was_put_alike(self, aws, other):
        self.put(1, 5)
        aws.settle()
        assert self.read(other) == ()

    def test_follows_every_page(self, aws):
        aws.points_per_page = 3
        for minutes_ago in range(1, 11):
            self.put(minutes_ago, minutes_ago)
        aws.settle()
        assert [point.value for point in self.read()] == [float(value) for value in range(10, 0, -1)]

    def test_cloudwatch_that_fails_says_nothing(self, aws):
        aws.cloudwatch_fault = "InternalServiceFault"
        assert cloudwatch.maxima(NAMESPACE, [BACKLOG], at=NOW, window_s=1200) is None

    def test_what_is_unknown_is_not_put(self, aws):
        cloudwatch.put(NAMESPACE, {BACKLOG: None}, at=NOW)
        assert aws.points == {}

    def test_cloudwatch_that_takes_nothing_is_a_named_error(self, aws):
        aws.cloudwatch_fault = "InternalServiceFault"
        with pytest.raises(MetricsUnavailable, match=r"^PutMetricData: "):
            self.put(0, 1)


class TestMeasuring:
    def test_publishes_every_metric_with_its_dimensions(self, academy, aws):
        for status in ("UPLOADED", "UPLOADED", "PROCESSING"):
            academy.add(status)
        for kind, count in (("Video", 2), ("Messaging", 1)):
            for _ in range(count):
                aws.sqs.send_message(QueueUrl=aws.urls[kind][0], MessageBody="{}")
        for url in aws.urls["AI"]:
            aws.sqs.send_message(QueueUrl=url, MessageBody="{}")
        published(
            aws,
            [
                {"reclaimed": 3, "enqueued": 2, "quarantined": 1, "skipped": {}},
                {"failed": {"videos": [8, 9], "error": "QueueUnavailable"}},
            ],
        )
        assert values(aws, "BacklogCount") == [3.0]
        assert 10_800 <= values(aws, "OldestBacklogAge")[0] < 10_900
        depths = {kind: values(aws, "QueueDepth", WorkerType=kind) for kind in ("Video", "AI", "Messaging")}
        assert depths == {"Video": [2.0], "AI": [2.0], "Messaging": [1.0]}
        assert values(aws, "VideosReclaimed") == [3.0]
        assert values(aws, "VideosEnqueued") == [2.0]
        assert values(aws, "VideosQuarantined") == [1.0]
        assert values(aws, "VideosFailed") == [2.0]
        assert values(aws, "HeartbeatsTrusted") == [1.0]
        assert values(aws, "DesiredWorkers") == [3.0]
        assert values(aws, "DecisionHeld") == [0.0]

    def test_messages_being_worked_on_are_not_depth(self, academy, aws):
        aws.sqs.send_message(QueueUrl=aws.urls["Video"][0], MessageBody="{}")
        aws.sqs.receive_message(QueueUrl=aws.urls["Video"][0])
        record = published(aws)["run"]["decision"]
        assert values(aws, "QueueDepth", WorkerType="Video") == [0.0]
        assert record["inputs"]["inFlight"]["value"] == 1

    def test_the_database_away_is_unknown_and_never_0(self, academy, aws, environment):
        environment.setenv("DATABASE_PORT", "1")
        record = published(aws)["run"]["decision"]
        assert record["inputs"]["uploaded"]["value"] is None
        assert values(aws, "BacklogCount") == values(aws, "OldestBacklogAge") == []
        assert values(aws, "QueueDepth", WorkerType="AI") == [0.0]

    def test_one_queue_of_two_away_makes_their_sum_unknown(self, academy, aws):
        aws.sqs.delete_queue(QueueUrl=aws.urls["AI"][1])
        published(aws)
        assert values(aws, "QueueDepth", WorkerType="AI") == []
        assert values(aws, "QueueDepth", WorkerType="Video") == [0.0]

    def test_everything_away_holds(self, academy, aws, environment):
        environment.setenv("DATABASE_PORT", "1")
        aws.sqs.delete_queue(QueueUrl=aws.urls["Video"][0])
        answer = published(aws)
        assert answer["run"]["decision"]["action"] == "hold"
        assert answer["setDesiredCapacity"]["needed"] is False
        assert values(aws, "DecisionHeld") == [1.0]

    def test_a_group_that_is_gone_is_unknown(self, academy, aws, environment):
        environment.setenv("AUTO_SCALING_GROUP", "another")
        answer = published(aws)
        assert answer["run"]["decision"]["inputs"]["group"] is None
        assert answer["setDesiredCapacity"] == {"needed": False, "to": 0}
        assert values(aws, "DesiredWorkers") == []

    def test_heartbeats_that_nobody_asked_about_are_not_published(self, academy, aws):
        published(aws, run={})
        published(aws, retried=True)
        assert values(aws, "HeartbeatsTrusted") == []

    def test_dimensions_of_ones_own_leave_queue_depth_as_it_is(self, academy, aws, environment):
        environment.setenv("METRIC_DIMENSIONS", '{"Stage": "test"}')
        published(aws)
        assert values(aws, "BacklogCount", Stage="test") == [0.0]
        assert values(aws, "QueueDepth", WorkerType="Video") == [0.0]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            pytest.param("QUEUE_URLS", '{"AI": []}', id="no-video-queue"),
            pytest.param("SCALE_IN_WINDOW_SECONDS", "61", id="half-a-minute"),
            pytest.param("VIDEOS_PER_WORKER", "0", id="nobody-works"),
        ],
    )
    def test_a_setting_that_makes_no_sense_is_named_and_nothing_is_put(
        self, academy, aws, environment, name, value
    ):
        environment.setenv(name, value)
        with pytest.raises(InvalidSetting, match=rf"^{name} "):
            published(aws)
        assert aws.points == {}


class TestDeciding:
    def test_the_backlog_of_this_moment_counts_before_it_can_be_read_back(self, academy, aws):
        for _ in range(12):
            academy.add("UPLOADED")
        answer = published(aws)
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 12}
        assert answer["run"]["decision"]["inputs"]["window"] == []

    def test_advice_moves_nothing(self, academy, aws, environment):
        environment.setenv("SCALING_MODE", "advise")
        for _ in range(12):
            academy.add("UPLOADED")
        answer = published(aws)
        assert answer["setDesiredCapacity"]["needed"] is False
        assert values(aws, "DesiredWorkers") == [12.0]

    def test_a_calm_window_that_was_read_back_lets_the_fleet_shrink(self, academy, aws):
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=9)
        for minutes_ago in range(1, 21):
            at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
            cloudwatch.put(NAMESPACE, {BACKLOG: 4 if minutes_ago == 11 else 2}, at=at)
        aws.settle()
        for instance in aws.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]:
            assert instance["ProtectedFromScaleIn"]
        answer = published(aws)
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 4}

    def test_an_order_is_obeyed(self, academy, aws):
        order = {"mode": "fixed", "desired": 7, "until": "2100-01-01T00:00:00+00:00", "reason": "a big day"}
        aws.ssm.put_parameter(Name=OVERRIDE, Value=json.dumps(order), Type="String")
        answer = published(aws)
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 7}
        assert "a big day" in json.dumps(answer["run"]["decision"])

    def test_an_order_that_cannot_be_understood_is_reported_and_ignored(self, academy, aws):
        aws.ssm.put_parameter(Name=OVERRIDE, Value='{"mode": "stop"}', Type="String")
        answer = published(aws)
        assert "override.mode" in answer["run"]["decision"]["inputs"]["overrideProblem"]
        assert answer["setDesiredCapacity"]["needed"] is False

    def test_no_order_is_known_to_be_none(self, aws):
        assert fleet.override_text(OVERRIDE) == (None, True)

    def test_a_mistake_in_the_parameters_name_makes_the_order_unknown(self, aws):
        assert fleet.override_text("")[1] is False
