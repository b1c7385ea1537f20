"""What the verification of a stage says when something is wrong, on an AWS that answers what a test tells it."""

import copy
import json

import pytest

from cdk import checks
from cdk.alarms import Watched, alarms
from cdk.stage import load
from cdk.verify import main, verify
from tests.infra.conftest import ROOT
from tests.infra.references import as_list
from tests.infra.test_stages import LEAST

PAGE = "arn:aws:sns:eu-west-1:123456789012:operators"
NOTIFY = "arn:aws:sns:eu-west-1:123456789012:working-hours"
MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:video-reclaim-mine-reclaim-videos"
GROUP = "academy-video-worker-asg"
RECORD = {
    "dryRun": True,
    "heartbeatsTrusted": True,
    "decision": {"inputs": {"uploaded": 1, "visible": 1, "group": {"desired": 1}, "overrideProblem": None}},
}
HOOK = {"LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "DefaultResult": "ABANDON"}
STAGE = {
    **LEAST,
    "region": "eu-west-1",
    "observability": {"topicArn": PAGE, "notifyTopicArn": NOTIFY},
}


def outputs():
    functions = {f"{step}Function": f"video-reclaim-mine-{step}" for step in ("Enqueue", "PublishBacklog")}
    return {
        "StateMachineArn": MACHINE,
        "QueueUrl": "https://sqs/123456789012/academy-video-jobs",
        "DeadLetterQueueUrl": "https://sqs/123456789012/academy-video-jobs-dlq",
        "AutoScalingGroupName": GROUP,
        **functions,
    }


def alarm_of(alarm):
    topic = {"page": PAGE, "notify": NOTIFY}[alarm.severity]
    name = f"video-reclaim-mine-{alarm.name}"
    return {"AlarmName": name, "Threshold": alarm.threshold, "AlarmActions": [topic]}


def answers(stage):
    """What AWS answers to each call about a stage with which nothing is wrong."""
    watched = Watched(MACHINE, "video-reclaim-mine-undelivered", "academy-video-jobs-dlq")
    stack = {
        "StackStatus": "UPDATE_COMPLETE",
        "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs().items()],
    }
    group = {
        "AvailabilityZones": ["eu-west-1a", "eu-west-1b"],
        "InstanceLifecyclePolicy": {"RetentionTriggers": {"TerminateHookAbandon": "retain"}},
    }
    return {
        "describe_stacks": {"Stacks": [stack]},
        "describe_state_machine": {"roleArn": "arn:aws:iam::123456789012:role/machine"},
        "get_function_configuration": {"Role": "arn:aws:iam::123456789012:role/function"},
        "simulate_principal_policy": {"EvaluationResults": [{"EvalDecision": "allowed"}]},
        "start_execution": {"executionArn": "arn:execution"},
        "describe_execution": {"status": "SUCCEEDED", "output": RECORD},
        "put_metric_data": {},
        "get_metric_data": {"MetricDataResults": [{"Values": [1]}]},
        "describe_alarms": {"MetricAlarms": [alarm_of(alarm) for alarm in alarms(stage, watched)]},
        "get_topic_attributes": {"Attributes": {"SubscriptionsConfirmed": "1"}},
        "get_schedule": {"State": "ENABLED", "ScheduleExpression": "rate(1 minute)"},
        "describe_auto_scaling_groups": {"AutoScalingGroups": [group]},
        "describe_lifecycle_hooks": {"LifecycleHooks": [HOOK]},
    }


class Aws:
    """One client for every service: a call is answered by its name, an exception is raised."""

    def __init__(self, answers, made=lambda _call: None):
        self._answers, self._made = answers, made

    def __getattr__(self, call):
        def answer(**_given):
            self._made(call)
            found = self._answers[call]
            if isinstance(found, Exception):
                raise found
            if "output" in found:
                return {**found, "output": json.dumps(found["output"])}
            return found

        return answer


def findings(change=lambda _answers: None, values=STAGE):
    """The problems of each check, where there are any; ``change`` spoils AWS's answers."""
    stage = load({"mine": values}, "mine")
    given = copy.deepcopy(answers(stage))
    change(given)
    found = {}
    for finding in verify("mine", stage, lambda _service: Aws(given)):
        if finding.problem:
            found.setdefault(finding.check, []).append(finding.problem)
    return found


def test_nothing_is_wrong_with_a_sound_stage():
    assert findings() == {}


def test_the_documented_policy_allows_what_it_calls_and_nothing_else():
    stage = load({"mine": STAGE}, "mine")
    called = set()

    def client(service):
        prefix = {"stepfunctions": "states"}.get(service, service)
        return Aws(answers(stage), lambda call: called.add(f"{prefix}:{call.replace('_', ' ').title()}"))

    assert all(not finding.problem for finding in verify("mine", stage, client))
    _, *rest = json.loads((ROOT / "docs" / "deploy-policy.json").read_text())["Statement"]
    allowed = [action for one in rest for action in as_list(one["Action"])]
    assert sorted(allowed) == sorted(call.replace(" ", "") for call in called)
    (metrics,) = [one for one in rest if one["Sid"] == "VerifyMetrics"]
    assert metrics["Condition"] == {"StringEquals": {"cloudwatch:namespace": checks.NAMESPACE}}


def put(call, *path, value):
    """A change that puts a value into the answer to a call."""

    def change(given):
        *way, last = path
        place = given[call]
        for key in way:
            place = place[key]
        place[last] = value

    return change


def rename_alarm(given):
    given["describe_alarms"]["MetricAlarms"][0]["AlarmName"] = "video-reclaim-mine-Other"


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        pytest.param(
            put("describe_stacks", "Stacks", 0, "StackStatus", value="UPDATE_ROLLBACK_COMPLETE"),
            "stack",
            "is UPDATE_ROLLBACK_COMPLETE",
            id="rolled-back",
        ),
        pytest.param(
            put("simulate_principal_policy", "EvaluationResults", 0, "EvalDecision", value="explicitDeny"),
            "roles",
            "may not sqs:SendMessage on arn:aws:sqs:eu-west-1:123456789012:academy-video-jobs (explicitDeny)",
            id="boundary",
        ),
        pytest.param(
            lambda given: given.update(simulate_principal_policy=RuntimeError("AccessDenied")),
            "roles",
            "can't be checked: AccessDenied",
            id="may-not-ask",
        ),
        pytest.param(
            lambda given: given.update(describe_execution={"status": "FAILED", "error": "QueueUnavailable"}),
            "dry run",
            "is FAILED: QueueUnavailable",
            id="failed-run",
        ),
        *(
            pytest.param(
                put("describe_execution", "output", *path, value=value), "dry run", words, id=f"record-{id_}"
            )
            for id_, path, value, words in (
                ("not-dry", ["dryRun"], False, "not that of a dry run"),
                ("redis", ["heartbeatsTrusted"], False, "heartbeats are not trusted"),
                ("tenant", ["tenantUnknown"], [7], "videos without a tenant, which can't be reclaimed: [7]"),
                ("database", ["decision", "inputs", "uploaded"], None, "the database is unknown"),
                ("queue", ["decision", "inputs", "visible"], None, "the video queue is unknown"),
                ("group", ["decision", "inputs", "group"], None, "the group is unknown"),
                ("order", ["decision", "inputs", "overrideProblem"], "not JSON", "nothing is scaled in: not"),
                ("metrics", ["metricsError"], "refused", "metricsError: refused"),
                ("scaling", ["scalingError"], "refused", "scalingError: refused"),
            )
        ),
        pytest.param(rename_alarm, "alarms", "NoSuccessfulRun is missing", id="no-alarm"),
        pytest.param(
            put("describe_alarms", "MetricAlarms", 0, "Threshold", value=7),
            "alarms",
            "NoSuccessfulRun has threshold 7, the stage 1",
            id="threshold",
        ),
        pytest.param(
            put("describe_alarms", "MetricAlarms", 0, "AlarmActions", value=[NOTIFY]),
            "alarms",
            f"NoSuccessfulRun notifies ['{NOTIFY}'], in the stage {PAGE}",
            id="topic-of-the-other-severity",
        ),
        pytest.param(
            put("describe_alarms", "MetricAlarms", 0, "AlarmActions", value=[]),
            "alarms",
            "NoSuccessfulRun notifies nobody",
            id="no-topic",
        ),
        pytest.param(
            put("get_topic_attributes", "Attributes", value={"SubscriptionsConfirmed": "0"}),
            "topics",
            f"nobody is subscribed to {PAGE}",
            id="no-subscription",
        ),
        pytest.param(
            put("get_schedule", "State", value="DISABLED"), "schedule", "is DISABLED", id="switched-off"
        ),
        pytest.param(
            put("get_schedule", "ScheduleExpression", value="rate(2 minutes)"),
            "schedule",
            "is rate(2 minutes), in the stage rate(1 minute)",
            id="other-rate",
        ),
        pytest.param(
            put("describe_auto_scaling_groups", "AutoScalingGroups", value=[]),
            "worker group",
            f"there is no Auto Scaling group {GROUP}",
            id="no-group",
        ),
        pytest.param(
            put("describe_lifecycle_hooks", "LifecycleHooks", value=[]),
            "worker group",
            "new instances are not protected",
            id="no-hook",
        ),
        pytest.param(
            put("describe_auto_scaling_groups", "AutoScalingGroups", 0, "InstanceLifecyclePolicy", value={}),
            "worker group",
            "AZRebalance is not suspended",
            id="hook-that-retains-nothing",
        ),
    ],
)
def test_what_is_wrong_is_said_by_its_check(change, check, words):
    found = findings(change)
    assert list(found) == [check]
    assert words in " ".join(found[check])


def test_metrics_that_can_not_be_read_back(monkeypatch):
    monkeypatch.setattr(checks, "_METRICS_READABLE_S", 0)
    assert "can't be read back" in " ".join(findings()["metrics"])


def test_a_run_that_does_not_end(monkeypatch):
    monkeypatch.setattr(checks, "_DRY_RUN_S", -1)
    found = findings(lambda given: given.update(describe_execution={"status": "RUNNING"}))
    assert "is still running" in " ".join(found["dry run"])


def test_a_stage_without_a_topic_asks_for_none():
    values = {**STAGE, "observability": {}}

    def silent(given):
        for alarm in given["describe_alarms"]["MetricAlarms"]:
            alarm["AlarmActions"] = []

    assert findings(silent, values) == {}


def test_a_stage_that_can_not_be_read(capsys):
    assert main("nowhere") == 2
    assert "must be one of" in capsys.readouterr().err
