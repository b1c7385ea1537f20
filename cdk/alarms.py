"""The alarms: one per condition that would go unnoticed, each with an entry in the runbook."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from aws_cdk import Annotations
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sns as sns
from constructs import Construct

from .metrics import METRICS
from .stage import AlarmSetting, InvalidStage, Stage

Severity = Literal["page", "notify"]
Comparison = Literal[">=", "<"]


@dataclass(frozen=True)
class Alarm:
    """One metric compared with one threshold.

    Attributes:
        name: the condition, in camel case; the runbook's heading is the same.
        severity: ``page`` when somebody has to act now, ``notify`` when it can wait for working hours.
        description: the condition in one sentence.
        metric: namespace and name.
        dimensions: dimensions of the metric.
        comparison: the alarm is raised when the value compares so with the threshold.
        threshold: in the metric's unit.
        statistic: CloudWatch's statistic over one period.
        periods: number of consecutive periods that must breach.
        period_s: length of a period.
        missing: how a period without values counts.
    """

    name: str
    severity: Severity
    description: str
    metric: tuple[str, str]
    dimensions: dict[str, str]
    comparison: Comparison
    threshold: float
    statistic: str = "Maximum"
    periods: int = 1
    period_s: int = 60
    missing: Literal["breaching", "notBreaching", "ignore"] = "notBreaching"


@dataclass(frozen=True)
class Watched:
    """What the alarms and the dashboard look at."""

    state_machine_arn: str
    undelivered_queue: str
    video_dead_letter_queue: str
    worker_types: tuple[str, ...] = ("Video",)
    dimensions: dict[str, str] = field(default_factory=dict)


class OperatorAlarms(Construct):
    """Each alarm tells the topic of its severity when it is raised and when it is over."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        prefix: str,
        stage: Stage,
        watched: Watched,
        topics: Mapping[Severity, sns.ITopic | None],
    ) -> None:
        super().__init__(scope, id_)
        runbook_url = stage.observability.runbook_url
        if stage.bundle == "aws" and not runbook_url.startswith(("https://", "http://")):
            Annotations.of(self).add_warning_v2(
                "video-reclaim:runbookUrl",
                f"observability.runbookUrl is {runbook_url!r}, so that the links in the alarms open nothing: publish "
                "the runbook and give its address",
            )
        self.by_name: dict[str, cloudwatch.CfnAlarm] = {}
        self.thresholds = alarms(stage, watched)
        for alarm in self.thresholds:
            topic = topics[alarm.severity]
            self.by_name[alarm.name] = cloudwatch.CfnAlarm(
                self,
                alarm.name,
                alarm_name=f"{prefix}-{alarm.name}",
                alarm_description=f"{alarm.description} Severity: {alarm.severity}. "
                f"Runbook: {runbook_url}#{alarm.name.lower()}",
                namespace=alarm.metric[0],
                metric_name=alarm.metric[1],
                dimensions=[{"name": name, "value": value} for name, value in alarm.dimensions.items()],
                statistic=alarm.statistic,
                period=alarm.period_s,
                evaluation_periods=alarm.periods,
                comparison_operator=_COMPARISONS[alarm.comparison],
                threshold=alarm.threshold,
                treat_missing_data=alarm.missing,
                alarm_actions=[topic.topic_arn] if topic else None,
                ok_actions=[topic.topic_arn] if topic else None,
            )


_COMPARISONS = {">=": "GreaterThanOrEqualToThreshold", "<": "LessThanThreshold"}


def alarms(stage: Stage, watched: Watched) -> list[Alarm]:
    """Return the alarms of a stage, with the thresholds that it sets and without those that it disables.

    NoSuccessfulRun and BacklogUnmeasured are left out while the schedule is off.

    Raises:
        InvalidStage: the stage names an alarm that does not exist.
    """
    known = [*_of_executions(stage, watched), *_of_videos(stage, watched), *_of_queues(watched)]
    given = stage.observability.alarms
    if unknown := given.keys() - {alarm.name for alarm in known}:
        names = ", ".join(alarm.name for alarm in known)
        raise InvalidStage(f"observability.alarms.{min(unknown)}: must be one of {names}")
    kept = []
    for alarm in known:
        setting = given.get(alarm.name, AlarmSetting())
        if setting.enabled and (stage.schedule.enabled or alarm.missing != "breaching"):
            kept.append(alarm if setting.threshold is None else replace(alarm, threshold=setting.threshold))
    return kept


def _of_executions(stage: Stage, watched: Watched) -> list[Alarm]:
    round_s = 60 * stage.schedule.rate_minutes
    rounds: dict[str, Any] = {"periods": 5, "period_s": round_s, "missing": "breaching"}
    event: dict[str, Any] = {"period_s": 300}

    def ended(
        name: str, severity: Severity, metric: str, how: dict[str, Any], comparison: Comparison
    ) -> Alarm:
        series = ("AWS/States", metric), {"StateMachineArn": watched.state_machine_arn}
        return Alarm(name, severity, _DESCRIPTIONS[name], *series, comparison, 1, statistic="Sum", **how)

    return [
        ended("NoSuccessfulRun", "page", "ExecutionsSucceeded", rounds, "<"),
        ended("ExecutionFailed", "notify", "ExecutionsFailed", event, ">="),
        ended("ExecutionTimedOut", "notify", "ExecutionsTimedOut", event, ">="),
    ]


def _of_videos(stage: Stage, watched: Watched) -> list[Alarm]:
    """Return the alarms on the product's own metrics: lasting conditions, and events."""
    namespace, round_s = stage.metrics.namespace, 60 * stage.schedule.rate_minutes
    event: dict[str, Any] = {"period_s": 300}
    rounds: dict[str, Any] = {"periods": 5, "period_s": round_s, "missing": "ignore"}
    hours: dict[str, Any] = {"periods": 3, "period_s": 3600, "missing": "ignore", "statistic": "Minimum"}
    unmeasured = rounds | {"statistic": "SampleCount", "missing": "breaching"}

    def own(
        name: str,
        severity: Severity,
        metric: str,
        how: dict[str, Any],
        comparison: Comparison = ">=",
        threshold: float = 1,
    ) -> Alarm:
        how = {"statistic": METRICS[metric].statistic} | how
        series = (namespace, metric), watched.dimensions
        return Alarm(name, severity, _DESCRIPTIONS[name], *series, comparison, threshold, **how)

    return [
        own("OldestWait", "page", "OldestBacklogAge", rounds, ">=", stage.observability.oldest_wait_seconds),
        own("BacklogUnmeasured", "page", "BacklogCount", unmeasured, "<"),
        own("HeartbeatsUntrusted", "page", "HeartbeatsTrusted", rounds, "<"),
        own("VideosQuarantined", "notify", "VideosQuarantined", event),
        own("MessagesLost", "notify", "VideosResent", event),
        own("RowsRefused", "notify", "VideosRefused", event),
        own("TenantUnknown", "notify", "VideosWithoutTenant", event),
        own("OverrideUnclear", "notify", "OverrideUnclear", rounds | {"periods": 3}),
        own("WorkersIdle", "notify", "IdleWorkersWhileWaiting", hours | {"period_s": max(300, round_s)}),
        own("DecisionHeld", "notify", "DecisionHeld", hours),
        own("AtMaximum", "notify", "WaitingAtMaximum", hours),
    ]


_DESCRIPTIONS = {
    "NoSuccessfulRun": "No execution has succeeded for five minutes, or five rounds of a slower schedule.",
    "ExecutionFailed": "An execution has failed: videos could not be put back, or the listing failed.",
    "ExecutionTimedOut": "An execution took longer than an hour.",
    "OldestWait": "A video has waited for a worker for too long.",
    "BacklogUnmeasured": "BacklogCount has not been published for five rounds: the database can't be read, or "
    "CloudWatch takes no metrics.",
    "HeartbeatsUntrusted": "Redis can't tell which workers are alive: videos are reclaimed by their lease alone.",
    "VideosQuarantined": "Videos were set to FAILED because they had been reclaimed too often.",
    "MessagesLost": "Videos waited for a worker, and the queue held no message for them. They were sent again.",
    "RowsRefused": "PostgreSQL refused to write rows of videos: a constraint or a trigger forbids it.",
    "TenantUnknown": "Videos are stuck that have no tenant: neither their heartbeat's key nor their message can be "
    "named.",
    "OverrideUnclear": "The operator's order for the fleet can't be read or understood: nothing is scaled in.",
    "WorkersIdle": "For fifteen minutes, or three rounds if they are longer, videos have waited and instances in "
    "service took none: no worker came up there.",
    "DecisionHeld": "For three hours each round withheld a change of the fleet, by an order or for want of knowledge.",
    "AtMaximum": "For three hours videos have waited although the worker group is at its maximum.",
    "StartsUndelivered": "The schedule could not start executions.",
    "VideoDeadLetters": "Messages for videos were received three times and never deleted.",
}


def _of_queues(watched: Watched) -> list[Alarm]:
    queues = {
        "StartsUndelivered": watched.undelivered_queue,
        "VideoDeadLetters": watched.video_dead_letter_queue,
    }
    metric = ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    return [
        Alarm(name, "notify", _DESCRIPTIONS[name], metric, {"QueueName": queue}, ">=", 1)
        for name, queue in queues.items()
    ]
