"""The command ``verify``: the checks of a deployed stage, or of a deployed construct by its name.

Each check yields what is wrong and what to do, or notes. What is there is compared with the template that was deployed;
what a stage's file says and nobody has deployed, `make diff` shows.
"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property

import typer
from botocore.exceptions import ClientError

from video_reclaim.settings import Metrics, Queues, Workers

from .aws import Deployment, Described
from .errors import Exit
from .executions import remarks
from .runs import wait
from .screen import Json, Stage, answer, wrap
from .stages import connect

NAMESPACE = "VideoReclaim/Verify"
_DRY_RUN_S = 300
_METRICS_READABLE_S = 180  # "Publishing custom metrics", CloudWatch User Guide: up to two minutes
_OF_AN_ALARM = (
    *("MetricName", "Namespace", "Statistic", "Period", "EvaluationPeriods", "ComparisonOperator"),
    *("Threshold", "TreatMissingData"),
)


class Checked:
    """What is checked: a deployment, and the stack that it belongs to."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment, self.client = deployment, deployment.client

    @cached_property
    def stack(self) -> Described:
        """The stack ``VideoReclaim-NAME``, or the one of another app that has the construct NAME."""
        cloudformation, name = self.client("cloudformation"), f"VideoReclaim-{self.deployment.stage}"
        try:
            found = cloudformation.describe_stacks(StackName=name)["Stacks"]
        except ClientError:
            asked = {"PhysicalResourceId": self.deployment.publisher["FunctionName"]}
            name = cloudformation.describe_stack_resources(**asked)["StackResources"][0]["StackName"]
            found = cloudformation.describe_stacks(StackName=name)["Stacks"]
        return dict(found[0])

    def templated(self, kind: str, name: str) -> dict[str, Described]:
        """Return the properties of the stage's resources of a type in the template, by what is in ``name``."""
        body = self.client("cloudformation").get_template(StackName=self.stack["StackName"])["TemplateBody"]
        template = json.loads(body) if isinstance(body, str) else body
        found = [one["Properties"] for one in template["Resources"].values() if one["Type"] == kind]
        prefix = f"{self.deployment.prefix}-"
        return {one[name]: one for one in found if str(one.get(name, "")).startswith(prefix)}


NOTE = "note: "  # how a finding begins that may be meant


def _stack(checked: Checked) -> Iterator[str]:
    status = checked.stack["StackStatus"]
    if not status.endswith("_COMPLETE") or "ROLLBACK" in status:
        yield f"{checked.stack['StackName']} is {status}: see its events in CloudFormation"


def _roles(checked: Checked) -> Iterator[str]:
    """What a dry run doesn't do, asked of IAM."""
    deployment = checked.deployment
    name = f"{deployment.prefix}-Enqueue"
    enqueue = checked.client("lambda").get_function_configuration(FunctionName=name)["Role"]
    states = checked.client("stepfunctions")
    machine = states.describe_state_machine(stateMachineArn=deployment.machine)["roleArn"]
    *_, account, queue = deployment.settings(Queues).video_url.split("/")
    queue_arn = deployment.arn("sqs", queue).replace(deployment.machine.split(":")[4], account)
    group = deployment.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName")
    namespace = {
        **{"ContextKeyName": "cloudwatch:namespace", "ContextKeyType": "string"},
        "ContextKeyValues": [deployment.settings(Metrics).namespace],
    }
    for role, action, resource, context in (
        (enqueue, "sqs:SendMessage", queue_arn, []),
        (deployment.publisher["Role"], "cloudwatch:PutMetricData", "*", [namespace]),
        (machine, "autoscaling:SetDesiredCapacity", f"{group}/{deployment.settings(Workers).group_name}", []),
    ):
        if context and ":000000000000:" in role:
            continue  # the emulator takes no context
        (answer,) = checked.client("iam").simulate_principal_policy(
            PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource], ContextEntries=context
        )["EvaluationResults"]
        if answer["EvalDecision"] != "allowed":
            yield (
                f"{role} may not {action} on {resource} ({answer['EvalDecision']}): a boundary or a policy of the "
                "organization forbids it"
            )


def _dry_run(checked: Checked) -> Iterator[str]:
    ended = wait(checked.deployment, checked.deployment.start({"dryRun": True}), limit_s=_DRY_RUN_S)
    record = ended.record
    if ended.status == "RUNNING":
        yield f"{ended.arn} still runs after {_DRY_RUN_S} s: a function waits for something it can't reach"
    elif record is None:
        yield f"{ended.arn} is {ended.status}: {ended.error}: {ended.cause}"
    elif not record.dry_run:
        yield "the record is not that of a dry run: another version of the workflow is deployed"
    else:
        yield from remarks(record)
        inputs = record.decision.inputs if record.decision else None
        for source, key in (("database", "uploaded"), ("video queue", "visible"), ("worker group", "group")):
            if getattr(inputs, key, None) is None:
                yield f"the {source} is unknown to the decision: {record.decision and record.decision.reason}"
        if inputs and inputs.override_problem:
            yield f"the override is not understood, so nothing is scaled in: {inputs.override_problem}"
        if inputs and inputs.group and inputs.group.safety == "unprotected":
            yield (
                "busy workers are not safe from a scale-in: new instances are not protected, or zones are rebalanced, "
                "and no termination hook retains them. The group shrinks only when nothing is at work (docs/scaling.md)"
            )


def _metrics(checked: Checked) -> Iterator[str]:
    cloudwatch, at, margin = checked.client("cloudwatch"), datetime.now(UTC), timedelta(minutes=5)
    metric = {"MetricName": "Verified", "Dimensions": [{"Name": "Stage", "Value": checked.deployment.stage}]}
    value = {**metric, "Value": 1, "Unit": "Count", "Timestamp": at}
    cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=[value])
    series = {"Metric": {"Namespace": NAMESPACE, **metric}, "Period": 60, "Stat": "Maximum"}
    asked = {"MetricDataQueries": [{"Id": "verified", "MetricStat": series}]}
    until = time.monotonic() + _METRICS_READABLE_S
    while time.monotonic() < until:
        found = cloudwatch.get_metric_data(StartTime=at - margin, EndTime=at + margin, **asked)
        if found["MetricDataResults"][0]["Values"]:
            return
        time.sleep(min(2, _METRICS_READABLE_S))
    yield f"a value put into {NAMESPACE} can't be read back after {_METRICS_READABLE_S} s"


def _alarms(checked: Checked) -> Iterator[str]:
    there = {alarm["AlarmName"]: alarm for alarm in checked.deployment.alarms().values()}
    for name, wanted in checked.templated("AWS::CloudWatch::Alarm", "AlarmName").items():
        found = there.get(name)
        if found is None:
            yield f"{name} is missing: somebody deleted it; deploy again"
            continue
        for field in _OF_AN_ALARM:
            if found.get(field) != wanted.get(field):
                yield f"{name} has {field} {found.get(field)}, as deployed {wanted.get(field)}: somebody changed it"
        meant, notified = wanted.get("AlarmActions", []), found.get("AlarmActions", [])
        known = {topic for topic in meant if isinstance(topic, str)}  # not one that the same stack creates
        if len(meant) != len(notified) or not known <= set(notified) or not found.get("ActionsEnabled", True):
            yield f"{name} notifies {notified or 'nobody'}, as deployed {meant}: somebody changed or disabled it"


def _topics(checked: Checked) -> Iterator[str]:
    alarms = checked.deployment.alarms().values()
    notified = {topic for alarm in alarms for topic in alarm.get("AlarmActions", [])}
    if not notified:
        yield f"{NOTE}no topic is set: alarms that somebody has to act on notify nobody"
    for arn in sorted(notified):
        attributes = checked.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
        if attributes.get("SubscriptionsConfirmed", "0") == "0":
            yield f"nobody is subscribed to {arn}"


def _schedule(checked: Checked) -> Iterator[str]:
    there = checked.deployment.schedule()
    for wanted in checked.templated("AWS::Scheduler::Schedule", "Name").values():
        for field in ("State", "ScheduleExpression"):
            if there[field] != wanted.get(field, there[field]):
                yield f"is {there[field]}, as deployed {wanted[field]}: somebody changed it: `start`, `stop`, or deploy"


CHECKS = (_stack, _roles, _dry_run, _metrics, _alarms, _topics, _schedule)


def verify(stage: Stage, json_: Json = False) -> None:
    """Check what is deployed: stack, roles, a dry run, metrics, alarms, topics, schedule.

    It writes nothing but a dry run, and one value into the namespace VideoReclaim/Verify.
    """
    checked, findings = Checked(connect(stage)), list[dict[str, str]]()
    for problems in CHECKS:
        try:
            found = list(problems(checked)) or [""]
        except Exception as exc:  # a service that refuses to answer is a problem of its check
            found = [f"can't be checked: {exc}"]
        for text in found:
            kind = "ok" if not text else "note" if text.startswith(NOTE) else "FAIL"
            check = problems.__name__.strip("_").replace("_", " ")
            findings.append({"check": check, "kind": kind, "text": text.removeprefix(NOTE)})
            if not json_:
                said = f"{check}: {text.removeprefix(NOTE)}".rstrip(": ")
                print(*wrap(said, label=kind, indent=5), sep="\n", flush=True)
    answer({"findings": findings}, [], as_json=json_)
    if any(finding["kind"] == "FAIL" for finding in findings):
        raise typer.Exit(Exit.NOT_DONE)
