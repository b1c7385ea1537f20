"""Measuring, publishing, reading back and deciding: on a real PostgreSQL, and on AWS mocked strictly."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ClientError

import publish_backlog
from dev.testing.strict_aws import make_workers, strict_aws
from video_reclaim.adapters import autoscaling, cloudwatch, ssm
from video_reclaim.errors import InvalidInput, InvalidSetting, MetricsUnavailable
from video_reclaim.metrics import METRICS, Series, series
from video_reclaim.records import from_builtins
from video_reclaim.rules.counts import Counts, ItemResult
from video_reclaim.rules.run_record import PassResult, PublishEvent, RunRecord
from video_reclaim.scaling.records import Group, Point
from video_reclaim.settings import Metrics

NAMESPACE = "Academy/Workers"
GROUP = "academy-video-worker-asg"
OVERRIDE = "/academy/workers/video/scaling-override"
BACKLOG = series("BacklogCount", {})
NOW = datetime.now(UTC).replace(second=40, microsecond=0)
MINUTE = NOW.replace(second=0)
LISTED = {"dryRun": False, "heartbeatsTrusted": True, "longestWaitS": 90.5, "messagesLost": 3}


EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:video-reclaim:first"
SETTINGS = {
    "METRICS_NAMESPACE": NAMESPACE,
    "METRICS_DIMENSIONS": "{}",
    "SCALING_MODE": "apply",
    "SCALING_VIDEOS_PER_WORKER": "1",
    "SCALING_SPARE_WORKERS": "1",
    "SCALING_PEAK_WINDOW_SECONDS": "120",
    "SCALING_SCALE_IN_WINDOW_SECONDS": "1200",
    "SCALING_OVERRIDE_PARAMETER": OVERRIDE,
    "WORKERS_GROUP_NAME": GROUP,
}
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
def aws(mocked, environment, stopped_clock):
    """Empty queues, a group of 1 to 20 at 1, no order, no metric, and the settings that name them."""
    mocked.reset()
    mocked.at = stopped_clock
    for url in mocked.sqs.list_queues().get("QueueUrls", []):
        mocked.sqs.delete_queue(QueueUrl=url)
    urls = {kind: [_queue(mocked, name) for name in names] for kind, names in QUEUES.items()}
    mocked.autoscaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=1)
    for parameter in mocked.ssm.describe_parameters()["Parameters"]:
        mocked.ssm.delete_parameter(Name=parameter["Name"])
    for name, value in SETTINGS.items():
        environment.setenv(name, value)
    environment.setenv("QUEUES_URLS", json.dumps(urls))
    mocked.urls = urls
    return mocked


def _queue(mocked, name):
    return mocked.sqs.create_queue(QueueName=name)["QueueUrl"]


def published(aws, results=(), *, run=LISTED, retried=False, given=None):
    done = {"results": list(results), "retried": retried}
    event = {"input": given or {}, "run": run, "pass": done, "execution": EXECUTION}
    return publish_backlog.handler(event, None)


def values(aws, name, **dimensions):
    points = aws.points.get((NAMESPACE, name, tuple(sorted(dimensions.items())), _unit(name)), [])
    return [value for _, value, _ in points]


def _ahead(**time):
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


def _unit(name):
    return METRICS[name].unit


class TestReadingBack:
    def put(self, minutes_ago, value, metric=BACKLOG, namespace=NAMESPACE):
        cloudwatch.put(namespace, {metric: value}, at=NOW - timedelta(minutes=minutes_ago))

    def read(self, metric=BACKLOG, window_s=1200):
        return cloudwatch.maxima(NAMESPACE, metric, at=NOW, window_s=window_s)

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
        ("points", "oldest_s"),
        [
            pytest.param({}, None, id="no-point"),
            pytest.param({2: 100.0}, 100.0 + 120 + NOW.second, id="has-grown-older-since"),
            pytest.param({8: 2000.0, 2: 5.0}, 2000.0, id="not-counted-any-more-since-its-third-receive"),
            pytest.param({11: 2000.0, 2: 5.0}, 5.0 + 120 + NOW.second, id="long-ago"),
        ],
    )
    def test_the_oldest_message_of_the_last_ten_minutes(self, aws, points, oldest_s):
        series_ = ("AWS/SQS", "ApproximateAgeOfOldestMessage", (("QueueName", "jobs"),), "Seconds")
        aws.points[series_] = [(MINUTE - timedelta(minutes=ago), age, True) for ago, age in points.items()]
        assert cloudwatch.oldest_message_s("jobs", at=NOW) == oldest_s

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(Series("BacklogCount", "Seconds", ()), id="unit"),
            pytest.param(series("BacklogCount", {"Stage": "test"}), id="dimensions"),
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

    def test_no_points_are_read_when_cloudwatch_fails(self, aws):
        aws.cloudwatch_fault = "InternalServiceFault"
        assert cloudwatch.maxima(NAMESPACE, BACKLOG, at=NOW, window_s=1200) == ()

    def test_what_is_unknown_is_not_put(self, aws):
        cloudwatch.put(NAMESPACE, {BACKLOG: None}, at=NOW)
        assert aws.points == {}

    def test_a_failed_put_is_a_named_error(self, aws):
        aws.cloudwatch_fault = "InternalServiceFault"
        with pytest.raises(MetricsUnavailable, match=r"^PutMetricData: "):
            self.put(0, 1)


class TestOldestMessage:
    QUEUE = "academy-video-jobs"

    def measured(self, aws, minutes_ago, age_s, **changes):
        """Let CloudWatch have a point that SQS itself puts."""
        given = {
            "name": "ApproximateAgeOfOldestMessage",
            "queue": self.QUEUE,
            "namespace": "AWS/SQS",
        } | changes
        series = given["namespace"], given["name"], (("QueueName", given["queue"]),), "Seconds"
        aws.points.setdefault(series, []).append((MINUTE - timedelta(minutes=minutes_ago), age_s, True))

    def test_the_oldest_of_the_last_minutes_counts(self, aws):
        """A message that was received three times is left out of later points and still exists."""
        self.measured(aws, 5, 700.0)
        self.measured(aws, 3, 100.0)
        assert cloudwatch.oldest_message_s(self.QUEUE, at=NOW) == 700

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"queue": "academy-video-dlq"}, id="another-queue"),
            pytest.param({"namespace": "Academy/SQS"}, id="another-namespace"),
            pytest.param({"name": "NumberOfMessagesSent"}, id="another-metric"),
            pytest.param({"minutes_ago": 11}, id="too-long-ago"),
        ],
    )
    def test_without_a_recent_point_of_this_queue_it_is_unknown(self, aws, changes):
        self.measured(aws, **{"minutes_ago": 1, "age_s": 5.0} | changes)
        assert cloudwatch.oldest_message_s(self.QUEUE, at=NOW) is None


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
                {"did": {"reclaimed": 3, "enqueued": 2, "quarantined": 1, "refused": 4}, "failed": 0},
                {"error": "QueueUnavailable", "failed": 2},
            ],
        )
        assert values(aws, "BacklogCount") == [3.0]
        assert values(aws, "OldestBacklogAge") == [90.5]
        assert values(aws, "MessagesLost") == [3.0]
        depths = {kind: values(aws, "QueueDepth", WorkerType=kind) for kind in ("Video", "AI", "Messaging")}
        assert depths == {"Video": [2.0], "AI": [2.0], "Messaging": [1.0]}
        assert values(aws, "VideosReclaimed") == [3.0]
        assert values(aws, "VideosEnqueued") == [2.0]
        assert values(aws, "VideosQuarantined") == [1.0]
        assert values(aws, "VideosFailed") == [2.0]
        assert values(aws, "VideosRefused") == [4.0]
        assert values(aws, "HeartbeatsTrusted") == [1.0]
        assert values(aws, "DesiredWorkers") == [3.0]
        assert values(aws, "DecisionHeld") == [0.0]

    @pytest.mark.parametrize(
        ("run", "retried", "without_tenant"),
        [
            pytest.param({"spared": {"tenantUnknown": 2}, "heartbeatsTrusted": True}, False, 2, id="found"),
            pytest.param({"spared": {}, "heartbeatsTrusted": False}, False, 0, id="none"),
            pytest.param({"spared": {"tenantUnknown": 2}, "heartbeatsTrusted": True}, True, None, id="told"),
            pytest.param({}, False, None, id="listing-failed"),
        ],
    )
    def test_videos_without_a_tenant_are_no_refused_rows(self, run, retried, without_tenant):
        done = PassResult([ItemResult(Counts(refused=1))], retried)
        given = PublishEvent(from_builtins(run, RunRecord), done)
        measurement = publish_backlog.Measurement(None, {}, (None, None), (None, True))
        values_ = publish_backlog.measured(Metrics(NAMESPACE, {}), measurement, given)
        assert values_[series("VideosRefused", {})] == 1
        assert values_[series("VideosWithoutTenant", {})] == without_tenant

    def test_the_log_tells_the_decision_and_what_failed_since_a_failed_execution_has_no_output(
        self, academy, aws, capsys
    ):
        academy.add("UPLOADED"), academy.add(), academy.add()
        answer = published(aws, [{"error": "QueueUnavailable", "failed": 2}])
        (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines() if '"decided"' in text]
        decision = answer["run"]["decision"]
        assert {name: line[name] for name in ("action", "desired", "held", "reason")} == {
            name: decision[name] for name in ("action", "desired", "held", "reason")
        }
        told = {name: line[name] for name in ("uploaded", "processing", "visible", "in_flight", "before")}
        assert told == {"uploaded": 1, "processing": 2, "visible": 0, "in_flight": 0, "before": 1}
        assert (line["failed"], line["applied"]) == (2, answer["setDesiredCapacity"]["needed"])

    def test_sums_of_nothing_are_left_out_and_everything_else_is_published(self, academy, aws):
        published(aws, run=LISTED | {"messagesLost": 0, "longestWaitS": 0})
        given = {name for _, name, _, _ in aws.points}
        assert given == {metric.name for metric in METRICS.values() if metric.statistic != "Sum"}

    def test_messages_being_worked_on_are_not_depth(self, academy, aws):
        aws.sqs.send_message(QueueUrl=aws.urls["Video"][0], MessageBody="{}")
        aws.sqs.receive_message(QueueUrl=aws.urls["Video"][0])
        record = published(aws)["run"]["decision"]
        assert values(aws, "QueueDepth", WorkerType="Video") == [0.0]
        assert record["inputs"]["inFlight"] == 1

    def test_the_database_away_is_unknown_and_never_0(self, academy, aws, environment):
        environment.setenv("DATABASE_PORT", "1")
        record = published(aws)["run"]["decision"]
        assert record["inputs"]["uploaded"] is None
        assert values(aws, "BacklogCount") == []
        assert values(aws, "QueueDepth", WorkerType="AI") == [0.0]

    def test_a_read_that_the_database_refuses_is_unknown_too(self, academy, aws):
        academy.sql("ALTER TABLE video_video RENAME COLUMN status TO hidden")
        try:
            record = published(aws)["run"]["decision"]
        finally:
            academy.sql("ALTER TABLE video_video RENAME COLUMN hidden TO status")
        assert (record["inputs"]["uploaded"], record["inputs"]["processing"]) == (None, None)
        assert values(aws, "BacklogCount") == []

    def test_the_video_queue_alone_is_an_input_of_the_decision(self, academy, aws):
        for kind, count in (("Video", 3), ("AI", 1), ("Messaging", 2)):
            for _ in range(count):
                aws.sqs.send_message(QueueUrl=aws.urls[kind][0], MessageBody="{}")
        aws.sqs.receive_message(QueueUrl=aws.urls["Video"][0])
        inputs = published(aws)["run"]["decision"]["inputs"]
        assert (inputs["visible"], inputs["inFlight"]) == (2, 1)

    def test_one_queue_of_two_away_makes_their_sum_unknown(self, academy, aws):
        aws.sqs.delete_queue(QueueUrl=aws.urls["AI"][1])
        published(aws)
        assert values(aws, "QueueDepth", WorkerType="AI") == []
        assert values(aws, "QueueDepth", WorkerType="Video") == [0.0]

    def test_the_group_is_held_when_nothing_can_be_measured(self, academy, aws, environment):
        environment.setenv("DATABASE_PORT", "1")
        aws.sqs.delete_queue(QueueUrl=aws.urls["Video"][0])
        answer = published(aws)
        assert answer["run"]["decision"]["action"] == "hold"
        assert answer["setDesiredCapacity"]["needed"] is False
        assert values(aws, "DecisionHeld") == [1.0]

    def test_a_group_that_is_gone_is_unknown(self, academy, aws, environment):
        environment.setenv("WORKERS_GROUP_NAME", "another")
        answer = published(aws)
        assert answer["run"]["decision"]["inputs"]["group"] is None
        assert "no such Auto Scaling group" in answer["run"]["decision"]["reason"]
        assert answer["setDesiredCapacity"] == {"needed": False, "to": 0}
        assert values(aws, "DesiredWorkers") == []

    def test_heartbeats_that_nobody_asked_about_are_not_published(self, academy, aws):
        published(aws, run={})
        assert values(aws, "HeartbeatsTrusted") == []
        assert values(aws, "OldestBacklogAge") == []

    def test_the_worst_step_decides_whether_heartbeats_are_trusted(self, academy, aws):
        published(aws, [{"did": {"redis_away": 1, "redisAway": 1}}])
        assert values(aws, "HeartbeatsTrusted") == [0.0]

    def test_other_dimensions_do_not_change_queue_depth(self, academy, aws, environment):
        environment.setenv("METRICS_DIMENSIONS", '{"Stage": "test"}')
        published(aws)
        assert values(aws, "BacklogCount", Stage="test") == [0.0]
        assert values(aws, "QueueDepth", WorkerType="Video") == [0.0]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            pytest.param("QUEUES_URLS", '{"AI": []}', id="no-video-queue"),
            pytest.param("SCALING_SCALE_IN_WINDOW_SECONDS", "61", id="half-a-minute"),
            pytest.param("SCALING_VIDEOS_PER_WORKER", "0", id="nobody-works"),
        ],
    )
    def test_a_setting_that_makes_no_sense_is_named_and_nothing_is_put(
        self, academy, aws, environment, name, value
    ):
        environment.setenv(name, value)
        with pytest.raises(InvalidSetting, match=rf"^{name}: "):
            published(aws)
        assert aws.points == {}


@pytest.fixture
def calm(academy, aws):
    """A group of nine with nothing to do, and a window that was read back."""
    aws.autoscaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=9)
    for minutes_ago in range(1, 21):
        cloudwatch.put(NAMESPACE, {BACKLOG: 0}, at=aws.at - timedelta(minutes=minutes_ago))
    aws.settle()
    return aws


class TestDeciding:
    def test_the_backlog_of_this_moment_counts_before_it_can_be_read_back(self, academy, aws):
        for _ in range(12):
            academy.add("UPLOADED")
        answer = published(aws)
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 12}
        assert list(answer["run"]["decision"]["inputs"]["window"]) == []

    def test_in_advise_mode_the_group_is_not_changed(self, academy, aws, environment):
        environment.setenv("SCALING_MODE", "advise")
        for _ in range(12):
            academy.add("UPLOADED")
        answer = published(aws)
        assert answer["setDesiredCapacity"]["needed"] is False
        assert values(aws, "DesiredWorkers") == [12.0]

    def test_a_calm_window_that_was_read_back_lets_the_fleet_shrink(self, academy, aws):
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=9)
        for minutes_ago in range(1, 21):
            at = aws.at - timedelta(minutes=minutes_ago)
            cloudwatch.put(NAMESPACE, {BACKLOG: 4 if minutes_ago == 11 else 2}, at=at)
        # Down to the 2 of the short window and a spare worker.
        aws.settle()
        for instance in aws.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]:
            assert instance["ProtectedFromScaleIn"]
        answer = published(aws)
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 3}

    def test_an_order_is_obeyed(self, academy, aws):
        order = {"mode": "fixed", "desired": 7, "until": _ahead(hours=1), "reason": "a big day"}
        aws.ssm.put_parameter(Name=OVERRIDE, Value=json.dumps(order), Type="String")
        answer = published(aws)
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 7}
        assert "a big day" in json.dumps(answer["run"]["decision"])

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            pytest.param('{"mode": "stop"}', "mode", id="unknown-mode"),
            pytest.param("stop it", "JSON", id="no-json"),
            pytest.param(
                '{"mode": "hold", "until": "2026-01-01T00:00:00Z", "who": "me"}', "who", id="unknown-key"
            ),
            pytest.param('{"mode": "hold", "until": "2999-01-01T00:00:00Z"}', "days ahead", id="absurd-time"),
        ],
    )
    def test_an_order_that_cannot_be_understood_forbids_scale_in_and_is_told(self, calm, text, named):
        calm.ssm.put_parameter(Name=OVERRIDE, Value=text, Type="String")
        answer = published(calm)
        assert answer["setDesiredCapacity"]["needed"] is False
        assert named in answer["run"]["decision"]["inputs"]["overrideProblem"]
        assert values(calm, "OverrideUnclear") == [1.0]

    def test_an_order_that_cannot_be_read_forbids_scale_in(self, calm, environment):
        environment.setattr(ssm, "read_parameter", lambda _name: (None, False))
        answer = published(calm)
        assert answer["setDesiredCapacity"]["needed"] is False
        assert values(calm, "OverrideUnclear") == [1.0]

    def test_no_order_is_not_unclear(self, calm):
        assert published(calm)["setDesiredCapacity"] == {"needed": True, "to": 1}
        assert values(calm, "OverrideUnclear") == [0.0]

    def test_no_order_is_known_to_be_none(self, aws):
        assert ssm.read_parameter(OVERRIDE) == (None, True)

    def test_a_mistake_in_the_parameters_name_makes_the_order_unknown(self, aws):
        assert ssm.read_parameter("")[1] is False


class TestDescribingTheGroup:
    """moto's group, with what AWS can say of one."""

    @pytest.fixture
    def described(self, aws, environment):
        """Describe a group that AWS describes as moto does, but for some fields."""

        def describe(**changes):
            client = autoscaling.aws.client("autoscaling")
            answer = client.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])
            answer["AutoScalingGroups"][0].update(changes)
            environment.setattr(client, "describe_auto_scaling_groups", lambda **_: answer)
            return autoscaling.describe_group(GROUP)

        return describe

    @pytest.fixture
    def hook(self, aws):
        def put(result="ABANDON", transition="autoscaling:EC2_INSTANCE_TERMINATING"):
            aws.autoscaling.put_lifecycle_hook(
                LifecycleHookName="drain",
                AutoScalingGroupName=GROUP,
                LifecycleTransition=transition,
                DefaultResult=result,
            )

        yield put
        aws.autoscaling.delete_lifecycle_hook(LifecycleHookName="drain", AutoScalingGroupName=GROUP)

    def test_limits_size_and_protection(self, described):
        assert described(Instances=[]) == (Group(1, 20, 1, 0, "protected"), None)

    @pytest.mark.parametrize(
        ("changes", "safety"),
        [
            pytest.param({"NewInstancesProtectedFromScaleIn": False}, "unprotected", id="no-protection"),
            pytest.param({"AvailabilityZones": ["a", "b"]}, "unprotected", id="zones-are-rebalanced"),
            pytest.param(
                {"AvailabilityZones": ["a", "b"], "SuspendedProcesses": [{"ProcessName": "AZRebalance"}]},
                "protected",
                id="rebalancing-is-suspended",
            ),
        ],
    )
    def test_protection_must_hold_against_rebalancing_too(self, described, changes, safety):
        assert described(**changes)[0].safety == safety

    @pytest.mark.parametrize(
        ("given", "policy", "safety"),
        [
            pytest.param({}, "retain", "hooked", id="abandons-and-is-retained"),
            pytest.param({}, "terminate", "unprotected", id="is-not-retained"),
            pytest.param({}, None, "unprotected", id="has-no-policy"),
            pytest.param({"result": "CONTINUE"}, "retain", "unprotected", id="continues"),
            pytest.param(
                {"transition": "autoscaling:EC2_INSTANCE_LAUNCHING"},
                "retain",
                "unprotected",
                id="launch-hook",
            ),
        ],
    )
    def test_a_termination_hook_lets_a_busy_instance_finish_if_the_group_retains_it(
        self, described, hook, given, policy, safety
    ):
        hook(**given)
        kept = {"RetentionTriggers": {"TerminateHookAbandon": policy} if policy else {}}
        group, _ = described(NewInstancesProtectedFromScaleIn=False, InstanceLifecyclePolicy=kept)
        assert group.safety == safety

    def test_instances_that_wait_for_their_hook_drain(self, described):
        states = ["InService", "InService", "Terminating:Wait", "Terminating:Proceed", "Pending"]
        group, _ = described(Instances=[{"LifecycleState": state} for state in states])
        assert (group.in_service, group.draining) == (2, 1)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            pytest.param({"DesiredCapacityType": "vcpu"}, "vcpu", id="counted-in-processors"),
            pytest.param(
                {
                    "MixedInstancesPolicy": {
                        "LaunchTemplate": {
                            "Overrides": [{"InstanceType": "c7g.4xlarge", "WeightedCapacity": "4"}]
                        }
                    }
                },
                "weights",
                id="weights",
            ),
            pytest.param({"SuspendedProcesses": [{"ProcessName": "Terminate"}]}, "Terminate", id="terminate"),
            pytest.param({"SuspendedProcesses": [{"ProcessName": "Launch"}]}, "Launch", id="launch"),
        ],
    )
    def test_a_group_that_cannot_be_reasoned_about_is_unknown_with_the_reason(self, described, changes, why):
        group, problem = described(**changes)
        assert group is None
        assert why in problem

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"DesiredCapacityType": "units"}, id="units"),
            pytest.param(
                {"MixedInstancesPolicy": {"LaunchTemplate": {"Overrides": [{"InstanceType": "c7g.large"}]}}},
                id="mixed-without-weights",
            ),
            pytest.param({"SuspendedProcesses": [{"ProcessName": "AlarmNotification"}]}, id="other-process"),
        ],
    )
    def test_what_does_not_matter_leaves_the_group_known(self, described, changes):
        group, problem = described(**changes)
        assert (group is not None, problem) == (True, None)

    @pytest.mark.parametrize(
        ("statuses", "known"),
        [
            pytest.param(["InProgress"], False, id="in-progress"),
            pytest.param(["Baking", "Successful"], False, id="baking"),
            pytest.param(["RollbackInProgress"], False, id="rolling-back"),
            pytest.param(["Successful", "Failed", "Cancelled"], True, id="over"),
            pytest.param(["RollbackSuccessful", "RollbackFailed"], True, id="rolled-back"),
        ],
    )
    def test_an_instance_refresh_under_way_forbids_changes(self, aws, described, statuses, known):
        aws.refreshes = statuses
        problem = autoscaling.why_not_to_change(GROUP)
        assert (problem is None) is known
        assert known or "instance refresh" in problem

    def test_hooks_that_cannot_be_asked_for_make_the_group_unknown(self, described, refused):
        refused("describe_lifecycle_hooks")
        policy = {"RetentionTriggers": {"TerminateHookAbandon": "retain"}}
        group, problem = described(InstanceLifecyclePolicy=policy)
        assert group is None
        assert "AccessDenied" in problem

    def test_a_group_that_retains_no_instances_is_not_asked_for_its_hooks(self, described, refused):
        refused("describe_lifecycle_hooks")
        assert described()[1] is None

    @pytest.fixture
    def refused(self, aws, environment):
        def refuse(call):
            def denied(**_):
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, call)

            environment.setattr(autoscaling.aws.client("autoscaling"), call, denied)

        return refuse

    def test_refreshes_that_cannot_be_asked_for_forbid_changes(self, refused):
        refused("describe_instance_refreshes")
        assert "AccessDenied" in autoscaling.why_not_to_change(GROUP)


class TestInstanceRefresh:
    """One is under way, so the desired capacity does not tell how many instances run."""

    def test_withholds_a_change_and_says_so(self, academy, aws):
        academy.add("UPLOADED")
        academy.add("UPLOADED")
        aws.refreshes = ["InProgress"]
        answer = published(aws)
        assert answer["setDesiredCapacity"]["needed"] is False
        decision = answer["run"]["decision"]
        assert (decision["action"], decision["held"]) == ("hold", True)
        assert "instance refresh" in decision["reason"]
        assert values(aws, "DesiredWorkers") == []

    def test_is_asked_about_only_before_a_change(self, academy, aws, environment):
        asked = []
        environment.setattr(autoscaling, "why_not_to_change", asked.append)
        academy.add("UPLOADED")
        assert published(aws)["run"]["decision"]["action"] == "hold"
        assert asked == []
        academy.add("UPLOADED")
        assert published(aws)["run"]["decision"]["action"] == "scale-out"
        assert asked == [GROUP]


class TestWithoutCloudWatch:
    @pytest.fixture
    def waiting(self, academy, aws):
        for _ in range(12):
            academy.add("UPLOADED")
        aws.cloudwatch_fault = "InternalServiceFault"
        return aws

    def test_the_fleet_still_grows_and_the_record_says_what_was_not_published(self, waiting):
        answer = published(waiting)
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 12}
        assert answer["run"]["metricsError"].startswith("PutMetricData: ")
        assert waiting.points == {}

    def test_what_was_done_is_in_the_record_all_the_same(self, waiting):
        answer = published(waiting, [{"did": {"reclaimed": 2, "enqueued": 2}, "failed": 0}])
        assert answer["run"]["enqueued"] == 2


class TestDryRun:
    def test_it_decides_and_publishes_nothing(self, academy, aws):
        for _ in range(12):
            academy.add("UPLOADED")
        answer = published(aws, run={"dryRun": True}, given={"dryRun": True})
        assert answer["run"]["decision"]["desired"] == 12
        assert answer["setDesiredCapacity"]["needed"] is False
        assert aws.points == {}

    def test_it_publishes_nothing_either_when_the_listing_failed(self, academy, aws):
        answer = published(aws, run={}, given={"dryRun": True})
        assert answer["run"]["dryRun"] is True
        assert aws.points == {}

    def test_a_wrong_input_publishes_nothing(self, aws):
        with pytest.raises(InvalidInput, match=r"^dryrun: "):
            published(aws, run={}, given={"dryrun": True})
        assert aws.points == {}
