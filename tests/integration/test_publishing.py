"""Measuring, publishing, reading back and deciding: on a real PostgreSQL, and on AWS mocked strictly."""

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, EndpointConnectionError

import publish_backlog
from dev.testing.sections import GROUP, NAMESPACE, OVERRIDE, SIZING
from dev.testing.strict_aws import make_workers, strict_aws
from video_reclaim.adapters import autoscaling, cloudwatch, ssm
from video_reclaim.conversion import from_builtins
from video_reclaim.errors import InvalidInput
from video_reclaim.metrics import METRICS, Series, series
from video_reclaim.rules.counts import Counts, ItemResult
from video_reclaim.rules.run_record import PassResult, PublishEvent, RunRecord
from video_reclaim.scaling.records import Group, Point
from video_reclaim.settings import Metrics

BACKLOG = series("BacklogCount", {})
NOW = datetime.now(UTC).replace(second=40, microsecond=0)
MINUTE = NOW.replace(second=0)
LISTED = {"dryRun": False, "heartbeatsTrusted": True, "longestWaitS": 90.5}
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:video-reclaim:first"
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
    for name, value in SIZING.items():
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


def _unit(name):
    return METRICS[name].unit


class TestReadingBack:
    def put(self, minutes_ago, value, metric=BACKLOG, namespace=NAMESPACE):
        return cloudwatch.put(namespace, {metric: value}, at=NOW - timedelta(minutes=minutes_ago))

    def read(self, metric=BACKLOG, window_s=1200):
        return cloudwatch.maxima(NAMESPACE, metric, at=NOW, window_s=window_s)

    def test_points_of_the_window_come_oldest_first_with_their_minutes_maximum(self, aws):
        for minutes_ago, value in ((2, 5), (2, 7), (0, 3), (20, 1), (21, 9)):
            self.put(minutes_ago, value)
        assert self.read() == (), "none is readable yet, which is no error"
        aws.settle()
        expected = {20: 1.0, 2: 7.0, 0: 3.0}
        assert self.read() == tuple(
            Point(MINUTE - timedelta(minutes=ago), at) for ago, at in expected.items()
        )
        for other in (Series("BacklogCount", "Seconds", ()), series("BacklogCount", {"Stage": "test"})):
            assert self.read(other) == ()

    def test_follows_every_page(self, aws):
        aws.points_per_page = 3
        for minutes_ago in range(1, 11):
            self.put(minutes_ago, minutes_ago)
        aws.settle()
        assert [point.value for point in self.read()] == [float(value) for value in range(10, 0, -1)]

    def test_what_is_unknown_is_not_put_and_a_failed_put_says_why(self, aws):
        assert cloudwatch.put(NAMESPACE, {BACKLOG: None}, at=NOW) == ""
        assert aws.points == {}
        aws.cloudwatch_fault = "InternalServiceFault"
        assert self.put(0, 1).startswith("PutMetricData: ")
        assert self.read() == ()


class TestMeasuring:
    def test_publishes_every_metric_with_its_dimensions(self, academy, aws, described, environment):
        described({"i-1": "InService", "i-2": "InService"})
        environment.setenv("METRICS_DIMENSIONS", '{"Stage": "test"}')
        for status in ("UPLOADED", "UPLOADED", "PROCESSING"):
            academy.add(status)
        for url in (*aws.urls["Video"] * 3, *aws.urls["Messaging"], *aws.urls["AI"]):
            aws.sqs.send_message(QueueUrl=url, MessageBody="{}")
        aws.sqs.receive_message(QueueUrl=aws.urls["Video"][0])
        did = {
            "reclaimed": 3,
            "enqueued": 6,
            "quarantined": 1,
            "refused": 4,
            "resent": 5,
            "duplicates": {"adopted": 7},
        }
        answer = published(aws, [{"did": did, "failed": 0}, {"error": "QueueUnavailable", "failed": 2.0}])
        own = {
            **{
                "BacklogCount": 3,
                "VideoMessages": 2,
                "OldestBacklogAge": 90.5,
                "VideosReclaimed": 3,
                "VideosEnqueued": 6,
            },
            **{
                "VideosQuarantined": 1,
                "VideosFailed": 2,
                "VideosRefused": 4,
                "VideosWithoutTenant": 0,
                "VideosResent": 5,
            },
            **{
                "DuplicatesSent": 7,
                "HeartbeatsTrusted": 1,
                "DesiredWorkers": 3,
                "DecisionHeld": 0,
                "OverrideUnclear": 0,
            },
            **{"IdleWorkersWhileWaiting": 1, "WaitingAtMaximum": 0},
        }
        assert {name: values(aws, name, Stage="test") for name in own} == {
            name: [value] for name, value in own.items()
        }
        assert {*own, "QueueDepth"} == METRICS.keys()
        depths = {kind: values(aws, "QueueDepth", WorkerType=kind) for kind in QUEUES}
        assert depths == {"Video": [2.0], "AI": [2.0], "Messaging": [1.0]}, (
            "what is being worked on is no depth"
        )
        assert answer["run"]["decision"]["inputs"]["visible"] == 2

    def test_sums_of_nothing_are_left_out_and_everything_else_is_published(self, academy, aws):
        published(aws, run=LISTED | {"longestWaitS": 0})
        given = {name for _, name, _, _ in aws.points}
        assert given == {metric.name for metric in METRICS.values() if metric.statistic != "Sum"}

    @pytest.mark.parametrize(
        ("run", "retried", "without_tenant"),
        [
            pytest.param({"spared": {"tenantUnknown": 2}, "heartbeatsTrusted": True}, False, 2, id="found"),
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
        self, academy, aws, described, capsys
    ):
        described({})
        academy.add("UPLOADED"), academy.add(), academy.add()
        answer = published(aws, [{"error": "QueueUnavailable", "failed": 2}])
        (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines() if '"decided"' in text]
        decision = answer["run"]["decision"]
        assert {name: line[name] for name in ("action", "desired", "held", "reason")} == {
            name: decision[name] for name in ("action", "desired", "held", "reason")
        }
        assert {name: line[name] for name in ("uploaded", "processing", "visible", "before")} == {
            **{"uploaded": 1, "processing": 2, "visible": 0, "before": 1}
        }
        assert (line["failed"], line["applied"]) == (2, True)

    def test_the_database_away_is_unknown_and_never_0(self, academy, aws, environment):
        environment.setenv("DATABASE_PORT", "1")
        answer = published(aws)
        inputs = answer["run"]["decision"]["inputs"]
        assert (inputs["uploaded"], inputs["processing"], answer["run"]["decision"]["action"]) == (
            None,
            None,
            "hold",
        )
        assert (values(aws, "BacklogCount"), values(aws, "DecisionHeld")) == ([], [1.0])
        assert values(aws, "IdleWorkersWhileWaiting") == values(aws, "WaitingAtMaximum") == []
        assert values(aws, "QueueDepth", WorkerType="AI") == [0.0]

    def test_a_read_that_the_database_refuses_is_unknown_too(self, academy, aws):
        academy.sql("ALTER TABLE video_video RENAME COLUMN status TO hidden")
        try:
            record = published(aws)["run"]["decision"]
        finally:
            academy.sql("ALTER TABLE video_video RENAME COLUMN hidden TO status")
        assert (record["inputs"]["uploaded"], record["inputs"]["processing"]) == (None, None)

    def test_one_queue_of_two_away_makes_their_sum_unknown(self, academy, aws):
        aws.sqs.delete_queue(QueueUrl=aws.urls["AI"][1])
        published(aws)
        assert values(aws, "QueueDepth", WorkerType="AI") == []
        assert values(aws, "QueueDepth", WorkerType="Video") == [0.0]

    def test_a_group_that_is_gone_is_unknown(self, academy, aws, environment):
        environment.setenv("WORKERS_GROUP_NAME", "another")
        answer = published(aws)
        assert answer["run"]["decision"]["inputs"]["group"] is None
        assert "no such Auto Scaling group" in answer["run"]["decision"]["reason"]
        assert answer["setDesiredCapacity"] == {"needed": False, "to": 0}
        assert values(aws, "DesiredWorkers") == []

    def test_services_that_do_not_answer_are_unknown_and_fail_nothing(self, academy, aws, environment):
        def no_answer(*_):
            raise EndpointConnectionError(endpoint_url="https://service")

        environment.setattr(BaseClient, "_make_api_call", no_answer)
        run = published(aws)["run"]
        inputs = run["decision"]["inputs"]
        assert [inputs[name] for name in ("visible", "group", "window")] == [None, None, ()]
        assert inputs["overrideProblem"] == "it could not be read"
        for why in (run["metricsError"], inputs["groupProblem"], autoscaling.why_not_to_shrink(GROUP)):
            assert "Could not connect" in why

    def test_heartbeats_that_nobody_asked_about_are_not_published(self, academy, aws):
        published(aws, run={})
        assert values(aws, "HeartbeatsTrusted") == values(aws, "OldestBacklogAge") == []
        published(aws, [{"did": {"redisAway": 1}}])
        assert values(aws, "HeartbeatsTrusted") == [0.0], "the worst step decides"


@pytest.fixture
def calm(academy, aws):
    """A group of nine with nothing to do, and a window that was read back."""
    aws.autoscaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=9)
    for minutes_ago in range(1, 21):
        cloudwatch.put(NAMESPACE, {BACKLOG: 0}, at=aws.at - timedelta(minutes=minutes_ago))
    aws.settle()
    return aws


@pytest.fixture
def described(aws, environment):
    """Let AWS describe the group as moto does, but for some fields; return what is made of it."""

    def describe(states=None, **changes):
        client = autoscaling.aws.client("autoscaling")
        answer = client.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])
        if states is not None:
            changes["Instances"] = [
                {"InstanceId": id_, "LifecycleState": state} for id_, state in states.items()
            ]
        answer["AutoScalingGroups"][0].update(changes)
        environment.setattr(client, "describe_auto_scaling_groups", lambda **_: answer)
        return autoscaling.describe_group(GROUP)

    return describe


class TestDeciding:
    def test_the_backlog_of_this_moment_counts_before_it_can_be_read_back(self, academy, aws):
        for _ in range(12):
            academy.add("UPLOADED")
        answer = published(aws)
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 12}
        assert list(answer["run"]["decision"]["inputs"]["window"]) == []

    def test_what_draining_instances_hold_and_what_has_no_tenant_asks_for_no_worker(
        self, academy, calm, described
    ):
        """Of four videos in PROCESSING two are at work: a claim without a lease may be anybody's."""
        leaving, staying = "i-0123456789abcdef0", "i-0fedcba9876543210"
        states = {
            leaving: "Terminating:Wait",
            staying: "InService",
            "i-3": "Terminating:Proceed",
            "i-4": "Pending",
        }
        group, _ = described(states, DesiredCapacity=9)
        assert (group.in_service, group.draining) == (1, (leaving, "i-3"))
        academy.add(by=f"{leaving}-4711")
        academy.add(by=f"{leaving}-4712", started=-7200.5)
        academy.add(by=f"{staying}-4711")
        academy.add(by=f"{leaving}-4711", tenant=None)
        decision = published(calm)["run"]["decision"]
        counts = {
            name: decision["inputs"][name]
            for name in ("uploaded", "processing", "heldByDraining", "stranded")
        }
        assert counts == {"uploaded": 0, "processing": 4, "heldByDraining": 1, "stranded": 1}
        assert (decision["action"], decision["desired"]) == ("scale-in", 2)

    def test_while_the_database_is_away_what_was_published_last_and_the_messages_since_count(
        self, calm, environment
    ):
        calm.autoscaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=4)
        environment.setenv("METRICS_DIMENSIONS", '{"Stage": "test"}')
        metrics = [
            series(name, {"Stage": "test"}) for name in ("BacklogCount", "DesiredWorkers", "VideoMessages")
        ]
        for minutes_ago, *values_ in ((290, 5, 4, 1), (289, None, 9, 6), (3, None, 9, 2)):
            at = calm.at - timedelta(minutes=minutes_ago)
            cloudwatch.put(NAMESPACE, dict(zip(metrics, values_, strict=True)), at=at)
        calm.settle()
        calm.sqs.send_message(QueueUrl=calm.urls["Video"][0], MessageBody="{}")
        environment.setenv("DATABASE_PORT", "1")
        answer = published(calm)
        last = answer["run"]["decision"]["inputs"]["lastKnown"]
        assert last == {"backlog": 5, "desired": 4, "visible": 1, "peakVisible": 6}
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 4 + 5 + 1}

    def test_an_order_that_cannot_be_understood_or_read_forbids_scale_in_and_is_told(self, calm, environment):
        calm.ssm.put_parameter(Name=OVERRIDE, Value='{"mode": "stop"}', Type="String")
        answer = published(calm)
        assert answer["setDesiredCapacity"]["needed"] is False
        assert answer["run"]["decision"]["inputs"]["overrideProblem"].startswith("mode: ")
        environment.setattr(ssm, "read_parameter", lambda _name: (None, False))
        assert published(calm)["setDesiredCapacity"]["needed"] is False
        assert values(calm, "OverrideUnclear") == [1.0, 1.0]

    def test_no_order_is_known_to_be_none_and_a_mistake_in_its_name_is_not(self, calm):
        assert (ssm.read_parameter(OVERRIDE), ssm.read_parameter("")[1]) == ((None, True), False)
        assert published(calm)["setDesiredCapacity"] == {"needed": True, "to": 1}
        assert values(calm, "OverrideUnclear") == [0.0]

    def test_an_instance_refresh_forbids_scale_in_alone(self, academy, calm):
        calm.refreshes = ["InProgress"]
        answer = published(calm)
        assert answer["setDesiredCapacity"]["needed"] is False
        assert answer["run"]["decision"]["held"]
        assert "instance refresh" in answer["run"]["decision"]["reason"]
        for _ in range(10):
            academy.add("UPLOADED")
        assert published(calm)["setDesiredCapacity"] == {"needed": True, "to": 10}

    def test_without_cloudwatch_the_fleet_still_grows_and_the_record_says_what_was_not_published(
        self, academy, aws
    ):
        academy.add("UPLOADED"), academy.add("UPLOADED")
        aws.cloudwatch_fault = "InternalServiceFault"
        answer = published(aws, [{"did": {"reclaimed": 2, "enqueued": 2}, "failed": 0}])
        assert answer["setDesiredCapacity"] == {"needed": True, "to": 2}
        assert answer["run"]["metricsError"].startswith("PutMetricData: ")
        assert (answer["run"]["enqueued"], aws.points) == (2, {})

    def test_a_put_that_fails_is_told_whatever_would_become_of_the_next(self, academy, aws, environment):
        errors = iter(("PutMetricData: no", ""))
        environment.setattr(cloudwatch, "put", lambda *_, **__: next(errors))
        assert published(aws)["run"]["metricsError"] == "PutMetricData: no"


ABANDON = {"DefaultResult": "ABANDON", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING"}
RETAIN = {"InstanceLifecyclePolicy": {"RetentionTriggers": {"TerminateHookAbandon": "retain"}}}
ZONES, UNPROTECTED = {"AvailabilityZones": ["a", "b"]}, {"NewInstancesProtectedFromScaleIn": False}


class TestDescribingTheGroup:
    """moto's group, with what AWS can say of one."""

    @pytest.mark.parametrize(
        ("changes", "hook", "safety"),
        [
            pytest.param({}, None, "protected", id="protected"),
            pytest.param(UNPROTECTED, None, "unprotected", id="no-protection"),
            pytest.param(ZONES, None, "unprotected", id="zones-are-rebalanced"),
            pytest.param(
                ZONES | {"SuspendedProcesses": [{"ProcessName": "AZRebalance"}]},
                None,
                "protected",
                id="rebalancing-is-suspended",
            ),
            pytest.param(UNPROTECTED | RETAIN, ABANDON, "hooked", id="hook-abandons-and-is-retained"),
            pytest.param(UNPROTECTED, ABANDON, "unprotected", id="is-not-retained"),
            pytest.param(UNPROTECTED | RETAIN, None, "unprotected", id="has-no-hook"),
            pytest.param(
                UNPROTECTED
                | {"InstanceLifecyclePolicy": {"RetentionTriggers": {"TerminateHookAbandon": "terminate"}}},
                ABANDON,
                "unprotected",
                id="is-terminated",
            ),
            pytest.param(
                UNPROTECTED | RETAIN, ABANDON | {"DefaultResult": "CONTINUE"}, "unprotected", id="continues"
            ),
            pytest.param(
                UNPROTECTED | RETAIN,
                ABANDON | {"LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING"},
                "unprotected",
                id="launch-hook",
            ),
        ],
    )
    def test_what_becomes_of_a_busy_instance(self, aws, described, changes, hook, safety):
        """Protection must hold against rebalancing too; a hook must abandon, and the group retain the instance."""
        named = {"LifecycleHookName": "drain", "AutoScalingGroupName": GROUP}
        if hook:
            aws.autoscaling.put_lifecycle_hook(**named, **hook)
        try:
            assert described({}, **changes) == (Group(1, 20, 1, 0, safety), None)
        finally:
            aws.autoscaling.delete_lifecycle_hook(**named)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            pytest.param({"DesiredCapacityType": "vcpu"}, "vcpu", id="counted-in-processors"),
            pytest.param({"DesiredCapacityType": "units"}, None, id="units"),
            *[
                pytest.param(
                    {
                        "MixedInstancesPolicy": {
                            "LaunchTemplate": {"Overrides": [{"InstanceType": "c7g.4xlarge"} | weight]}
                        }
                    },
                    why,
                    id=f"mixed-{why}",
                )
                for weight, why in (({"WeightedCapacity": "4"}, "weights"), ({}, None))
            ],
            *[
                pytest.param({"SuspendedProcesses": [{"ProcessName": name}]}, why, id=f"suspended-{name}")
                for name, why in (
                    ("Terminate", "Terminate"),
                    ("Launch", "Launch"),
                    ("AlarmNotification", None),
                )
            ],
        ],
    )
    def test_a_group_that_cannot_be_reasoned_about_is_unknown_with_the_reason(self, described, changes, why):
        group, problem = described(**changes)
        assert (group is None) == (problem is not None) == (why is not None)
        assert why is None or why in problem

    @pytest.mark.parametrize(
        ("statuses", "over"),
        [
            pytest.param(["InProgress"], False, id="in-progress"),
            pytest.param(["Baking", "Successful"], False, id="baking"),
            pytest.param(["RollbackInProgress"], False, id="rolling-back"),
            pytest.param(["Successful", "Failed", "Cancelled"], True, id="over"),
            pytest.param(["RollbackSuccessful", "RollbackFailed"], True, id="rolled-back"),
        ],
    )
    def test_an_instance_refresh_lasts_until_it_is_over(self, aws, statuses, over):
        aws.refreshes = statuses
        assert (autoscaling.why_not_to_shrink(GROUP) is None) is over

    def test_what_cannot_be_asked_for_is_unknown_and_what_need_not_be_is_not_asked_for(
        self, described, environment
    ):
        def denied(**_):
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "any call")

        for call in ("describe_lifecycle_hooks", "describe_instance_refreshes"):
            environment.setattr(autoscaling.aws.client("autoscaling"), call, denied)
        assert described()[1] is None
        group, problem = described(**RETAIN)
        assert group is None
        assert "AccessDenied" in problem
        assert "AccessDenied" in autoscaling.why_not_to_shrink(GROUP)


class TestDryRun:
    @pytest.mark.parametrize("run", [{"dryRun": True}, {}], ids=["listed", "listing-failed"])
    def test_it_decides_and_publishes_nothing(self, academy, aws, run, capsys):
        academy.add("UPLOADED"), academy.add("UPLOADED")
        answer = published(aws, run=run, given={"dryRun": True})
        assert (answer["run"]["dryRun"], answer["run"]["decision"]["desired"]) == (True, 2)
        assert answer["setDesiredCapacity"]["needed"] is False
        assert '"applied":false' in capsys.readouterr().out
        assert aws.points == {}

    def test_a_wrong_input_publishes_nothing(self, aws):
        with pytest.raises(InvalidInput, match=r"^dryrun: "):
            published(aws, run={}, given={"dryrun": True})
        assert aws.points == {}
