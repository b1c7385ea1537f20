"""The checks of a deployed stage: each yields what is wrong and what to do, or notes."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .alarms import Watched, alarms
from .stage import StageFile

Client = Callable[[str], Any]
"""Makes a boto3 client for a service."""

NAMESPACE = "VideoReclaim/Verify"
_METRICS_READABLE_S = 180  # "Publishing custom metrics", CloudWatch User Guide: up to two minutes
_DRY_RUN_S = 300


@dataclass(frozen=True)
class Note:
    """Something worth knowing that the stage asks for."""

    text: str


@dataclass(frozen=True)
class Deployed:
    """A deployed stage."""

    name: str
    stage: StageFile
    outputs: Mapping[str, str]
    client: Client

    @property
    def prefix(self) -> str:
        """What the names of its resources begin with."""
        return f"video-reclaim-{self.name}"


Check = Callable[[Deployed], Iterator[str | Note]]


def _roles(deployed: Deployed) -> Iterator[str]:
    """What a dry run doesn't do, asked of IAM."""
    arn = deployed.outputs["StateMachineArn"]
    _, partition, _, region, account, *_ = arn.split(":")
    group = f"arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName"
    queue = deployed.outputs["QueueUrl"].rsplit("/", 1)[1]
    machine = deployed.client("stepfunctions").describe_state_machine(stateMachineArn=arn)
    namespace = {
        "ContextKeyName": "cloudwatch:namespace",
        "ContextKeyType": "string",
        "ContextKeyValues": [deployed.stage.metrics.namespace],
    }
    asked = [
        (
            _role(deployed, "Enqueue"),
            "sqs:SendMessage",
            f"arn:{partition}:sqs:{region}:{account}:{queue}",
            [],
        ),
        (_role(deployed, "PublishBacklog"), "cloudwatch:PutMetricData", "*", [namespace]),
        (
            machine["roleArn"],
            "autoscaling:SetDesiredCapacity",
            f"{group}/{deployed.outputs['AutoScalingGroupName']}",
            [],
        ),
    ]
    for role, action, resource, context in asked:
        if context and deployed.stage.bundle == "host":
            continue  # the emulator takes no context
        (answer,) = deployed.client("iam").simulate_principal_policy(
            PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource], ContextEntries=context
        )["EvaluationResults"]
        if answer["EvalDecision"] != "allowed":
            yield (
                f"{role} may not {action} on {resource} ({answer['EvalDecision']}): a boundary or a policy of the "
                "organization forbids it"
            )


def _role(deployed: Deployed, step: str) -> str:
    name = deployed.outputs[f"{step}Function"]
    return str(deployed.client("lambda").get_function_configuration(FunctionName=name)["Role"])


def _dry_run(deployed: Deployed) -> Iterator[str]:
    states = deployed.client("stepfunctions")
    arn = states.start_execution(
        stateMachineArn=deployed.outputs["StateMachineArn"], input=json.dumps({"dryRun": True})
    )["executionArn"]
    until = time.monotonic() + _DRY_RUN_S
    while (shown := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
        if time.monotonic() > until:
            yield f"{arn} is still running after {_DRY_RUN_S} s: a function waits for something it can't reach"
            return
        time.sleep(1)
    if shown["status"] != "SUCCEEDED":
        yield f"{arn} is {shown['status']}: {shown.get('error')}: {shown.get('cause')}"
        return
    yield from _problems_of_record(json.loads(shown["output"]))


def _problems_of_record(record: Mapping[str, Any]) -> Iterator[str]:
    if record.get("dryRun") is not True:
        yield "the record is not that of a dry run: another version of the workflow is deployed"
    if not record.get("heartbeatsTrusted"):
        yield "heartbeats are not trusted: Redis can't be reached, or no worker has sent one yet"
    if record.get("tenantUnknown"):
        yield f"videos without a tenant, which can't be reclaimed: {record['tenantUnknown'][:5]}"
    decision = record.get("decision") or {}
    inputs = decision.get("inputs", {})
    for source, key in (("the database", "uploaded"), ("the video queue", "visible"), ("the group", "group")):
        if inputs.get(key) is None:
            yield f"{source} is unknown to the decision: {decision.get('reason', 'there is none')}"
    if inputs.get("overrideProblem"):
        yield f"the operator's order is not understood, so nothing is scaled in: {inputs['overrideProblem']}"
    for key in ("metricsError", "scalingError"):
        if record.get(key):
            yield f"{key}: {record[key]}"


def _metrics(deployed: Deployed) -> Iterator[str]:
    cloudwatch, now = deployed.client("cloudwatch"), datetime.now(UTC)
    dimensions = [{"Name": "Stage", "Value": deployed.name}]
    metric = {"MetricName": "Verified", "Dimensions": dimensions}
    cloudwatch.put_metric_data(
        Namespace=NAMESPACE, MetricData=[{**metric, "Value": 1, "Unit": "Count", "Timestamp": now}]
    )
    query = {
        "Id": "verified",
        "MetricStat": {"Metric": {"Namespace": NAMESPACE, **metric}, "Period": 60, "Stat": "Maximum"},
    }
    until = time.monotonic() + _METRICS_READABLE_S
    while time.monotonic() < until:
        (found,) = cloudwatch.get_metric_data(
            MetricDataQueries=[query],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=5),
        )["MetricDataResults"]
        if found["Values"]:
            return
        time.sleep(2)
    yield f"a value put into {NAMESPACE} can't be read back after {_METRICS_READABLE_S} s"


def _alarms(deployed: Deployed) -> Iterator[str]:
    arn = deployed.outputs["StateMachineArn"]
    watched = Watched(
        state_machine_arn=arn,
        undelivered_queue=f"{deployed.prefix}-undelivered",
        video_dead_letter_queue=deployed.outputs["DeadLetterQueueUrl"].rsplit("/", 1)[1],
        dimensions=deployed.stage.metrics.dimensions,
    )
    shown = deployed.client("cloudwatch").describe_alarms(
        AlarmNamePrefix=f"{deployed.prefix}-", MaxRecords=100
    )
    found = {alarm["AlarmName"].removeprefix(f"{deployed.prefix}-"): alarm for alarm in shown["MetricAlarms"]}
    observability = deployed.stage.observability
    page = observability.topic_arn
    topics = {"page": page, "notify": observability.notify_topic_arn or page}
    for alarm in alarms(deployed.stage, watched):
        there = found.get(alarm.name)
        if there is None:
            yield f"{alarm.name} is missing: deploy again"
            continue
        if there["Threshold"] != alarm.threshold:
            yield f"{alarm.name} has threshold {there['Threshold']}, the stage {alarm.threshold}: deploy again"
        topic = topics[alarm.severity]
        if there.get("AlarmActions", []) != ([topic] if topic else []):
            yield f"{alarm.name} notifies {there.get('AlarmActions') or 'nobody'}, in the stage {topic}: deploy again"


def _topics(deployed: Deployed) -> Iterator[str | Note]:
    observability = deployed.stage.observability
    if not observability.topic_arn:
        yield Note("observability.topicArn is not set: alarms that somebody has to act on notify nobody")
    for arn in filter(None, (observability.topic_arn, observability.notify_topic_arn)):
        attributes = deployed.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
        if attributes.get("SubscriptionsConfirmed", "0") == "0":
            yield f"nobody is subscribed to {arn}"


def _schedule(deployed: Deployed) -> Iterator[str]:
    shown = deployed.client("scheduler").get_schedule(Name=f"{deployed.prefix}-reclaim-videos")
    wanted = "ENABLED" if deployed.stage.schedule.enabled else "DISABLED"
    if shown["State"] != wanted:
        yield f"is {shown['State']}, in the stage {wanted}: somebody switched it, or the stage is not deployed"
    minutes = deployed.stage.schedule.rate_minutes
    rate = f"rate({minutes} minute{'s' if minutes > 1 else ''})"
    if shown["ScheduleExpression"] != rate:
        yield f"is {shown['ScheduleExpression']}, in the stage {rate}: deploy again"


def _group(deployed: Deployed) -> Iterator[str]:
    scaling, name = deployed.client("autoscaling"), deployed.outputs["AutoScalingGroupName"]
    groups = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    if not groups:
        yield f"there is no Auto Scaling group {name} in this account and region"
        return
    (group,) = groups
    hooks = scaling.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]
    policy = group.get("InstanceLifecyclePolicy", {}).get("RetentionTriggers", {})
    hooked = policy.get("TerminateHookAbandon") == "retain" and any(
        hook["LifecycleTransition"].endswith("EC2_INSTANCE_TERMINATING")
        and hook["DefaultResult"] == "ABANDON"
        for hook in hooks
    )
    if not (group.get("NewInstancesProtectedFromScaleIn") or hooked):
        yield (
            "new instances are not protected, and no termination lifecycle hook ends in ABANDON with instances "
            "retained: the group shrinks only while nothing is waiting or PROCESSING (docs/scaling.md)"
        )
    suspended = {process["ProcessName"] for process in group.get("SuspendedProcesses", [])}
    if not hooked and len(group.get("AvailabilityZones", [])) > 1 and "AZRebalance" not in suspended:
        yield "AZRebalance is not suspended: Auto Scaling may terminate busy workers (docs/scaling.md)"


CHECKS: Mapping[str, Check] = {
    "roles": _roles,
    "dry run": _dry_run,
    "metrics": _metrics,
    "alarms": _alarms,
    "topics": _topics,
    "schedule": _schedule,
    "worker group": _group,
}
