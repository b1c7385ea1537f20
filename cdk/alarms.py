"""What wakes an operator: one alarm per thing that would go unnoticed, each with its entry in the runbook."""

from dataclasses import dataclass, field
from typing import Any, Literal

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from cdk.stage import Stage


@dataclass(frozen=True)
class Alarm:
    """One metric held against one bound.

    Attributes:
        name: what is the matter, in camel case; the runbook's heading is the same.
        says: the description's first sentence.
        metric: namespace and name.
        dimensions: of that metric.
        rings: comparison and bound.
        periods: of 60 s each that are looked at; every one must breach.
        period_s: the length of one, if it is not 60 s.
        statistic: over one period.
        missing: what a period without a point counts as.
    """

    name: str
    says: str
    metric: tuple[str, str]
    dimensions: dict[str, str]
    rings: tuple[Literal[">=", "<"], float]
    periods: int = 1
    period_s: int = 60
    statistic: str = "Maximum"
    missing: Literal["breaching", "notBreaching", "ignore"] = "notBreaching"


@dataclass(frozen=True)
class Watched:
    """The names of what the alarms look at."""

    state_machine_arn: str
    undelivered_queue: str
    video_dead_letter_queue: str
    dimensions: dict[str, str] = field(default_factory=dict)


class OperatorAlarms(Construct):
    """Every alarm tells the stage's topic when it rings and when it is over."""

    def __init__(self, scope: Construct, id_: str, *, prefix: str, stage: Stage, watched: Watched) -> None:
        super().__init__(scope, id_)
        seen = stage.observability
        for alarm in alarms(stage, watched):
            comparison, bound = alarm.rings
            cloudwatch.CfnAlarm(
                self,
                alarm.name,
                alarm_name=f"{prefix}-{alarm.name}",
                alarm_description=f"{alarm.says} Runbook: {seen.runbook_url}#{alarm.name.lower()}",
                namespace=alarm.metric[0],
                metric_name=alarm.metric[1],
                dimensions=[{"name": name, "value": value} for name, value in alarm.dimensions.items()],
                statistic=alarm.statistic,
                period=alarm.period_s,
                evaluation_periods=alarm.periods,
                comparison_operator=_COMPARISONS[comparison],
                threshold=bound,
                treat_missing_data=alarm.missing,
                alarm_actions=[seen.topic_arn] if seen.topic_arn else None,
                ok_actions=[seen.topic_arn] if seen.topic_arn else None,
            )


_COMPARISONS = {">=": "GreaterThanOrEqualToThreshold", "<": "LessThanThreshold"}


_FIVE_MINUTES: dict[str, Any] = {"period_s": 300, "statistic": "Sum"}


def alarms(stage: Stage, watched: Watched) -> list[Alarm]:
    """Return the alarms of a stage. NoSuccessfulRun is left out while the schedule is off."""
    return [*_of_executions(stage, watched), *_of_videos(stage, watched), *_of_queues(watched)]


def _of_executions(stage: Stage, watched: Watched) -> list[Alarm]:
    machine = {"StateMachineArn": watched.state_machine_arn}
    no_run = Alarm(
        "NoSuccessfulRun",
        "No execution has succeeded for five minutes, or five rounds of a slower schedule.",
        ("AWS/States", "ExecutionsSucceeded"),
        machine,
        ("<", 1),
        periods=5,
        period_s=60 * stage.schedule.rate_minutes,
        statistic="Sum",
        missing="breaching",
    )
    return [
        *([no_run] if stage.schedule.enabled else []),
        Alarm(
            "ExecutionFailed",
            "An execution has failed: videos could not be put back, or the listing or publishing failed.",
            ("AWS/States", "ExecutionsFailed"),
            machine,
            (">=", 1),
            **_FIVE_MINUTES,
        ),
        Alarm(
            "ExecutionTimedOut",
            "An execution took longer than an hour.",
            ("AWS/States", "ExecutionsTimedOut"),
            machine,
            (">=", 1),
            **_FIVE_MINUTES,
        ),
    ]


def _of_videos(stage: Stage, watched: Watched) -> list[Alarm]:
    own, rate = stage.metrics.namespace, stage.schedule.rate_minutes
    return [
        Alarm(
            "OldestWait",
            "A video has waited for a worker for too long.",
            (own, "OldestBacklogAge"),
            watched.dimensions,
            (">=", stage.observability.oldest_wait_seconds),
            periods=5,
            period_s=60 * rate,
            missing="ignore",
        ),
        Alarm(
            "VideosQuarantined",
            "Videos were set to FAILED because they had been reclaimed too often.",
            (own, "VideosQuarantined"),
            watched.dimensions,
            (">=", 1),
            **_FIVE_MINUTES,
        ),
        Alarm(
            "HeartbeatsUntrusted",
            "Redis can't tell which workers are alive: videos are reclaimed by their lease alone.",
            (own, "HeartbeatsTrusted"),
            watched.dimensions,
            ("<", 1),
            periods=5,
            period_s=60 * rate,
            missing="ignore",
        ),
        Alarm(
            "OverrideUnclear",
            "The operator's order for the fleet can't be read or understood: nothing is scaled in.",
            (own, "OverrideUnclear"),
            watched.dimensions,
            (">=", 1),
            periods=3,
            period_s=60 * rate,
            missing="ignore",
        ),
    ]


def _of_queues(watched: Watched) -> list[Alarm]:
    def dead_letters(name: str, says: str, queue: str) -> Alarm:
        metric = ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
        return Alarm(name, says, metric, {"QueueName": queue}, (">=", 1))

    return [
        dead_letters(
            "StartsUndelivered", "The schedule could not start executions.", watched.undelivered_queue
        ),
        dead_letters(
            "VideoDeadLetters",
            "Messages for videos were received three times and never deleted.",
            watched.video_dead_letter_queue,
        ),
    ]
