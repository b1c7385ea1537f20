"""moto, as strict as AWS where it is kinder, and with faults that AWS has and moto hasn't.

moto lets a metric be read the moment it is put, whatever its namespace; a group be sized beyond its limits; and never
refuses one message of ten.

    with strict_aws() as aws:
        ...
        aws.settle()            # what was put so far can be read from now on
        aws.refused[7] = "InternalError"

What is put with a timestamp in the past also waits for `settle`.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partialmethod
from typing import Any
from unittest.mock import patch

import moto.autoscaling.exceptions as autoscaling_errors
import moto.cloudwatch.exceptions as cloudwatch_errors
from moto import mock_aws
from moto.autoscaling.responses import AutoScalingResponse
from moto.cloudwatch.models import CloudWatchBackend
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult
from moto.sqs.exceptions import SQSException
from moto.sqs.models import SQSBackend

STEP_FUNCTIONS_AND_LAMBDA = {
    "stepfunctions": {"execute_state_machine": True},
    "lambda": {"use_docker": False},
}

Series = tuple[str, str, tuple[tuple[str, str], ...], str]
Original = Callable[..., Any]


@dataclass
class StrictAws:
    """What a test sets, and what it may look at."""

    points: dict[Series, list[tuple[datetime, float, bool]]] = field(default_factory=dict)
    """Every point that was put, by namespace, name, dimensions and unit: the minute, the value, and whether it can be
    read by now."""
    points_per_page: int = 500
    """How many points of a series one answer of GetMetricData holds."""
    cloudwatch_fault: str = ""
    """An error code that every CloudWatch call fails with."""
    scaling_fault: str = ""
    """An error code that SetDesiredCapacity fails with."""
    queue_fault: str = ""
    """An error code that SendMessageBatch fails with, as a whole."""
    refused: dict[str, str] = field(default_factory=dict)
    """By entry id, the code with which SQS refuses that entry of a batch."""
    desired_set: list[int] = field(default_factory=list)
    """Every desired capacity that was accepted."""
    refreshes: list[str] = field(default_factory=list)
    """Statuses of the group's instance refreshes, newest first; moto knows none."""

    def reset(self) -> None:
        """Forget every metric and every fault."""
        self.__init__()  # type: ignore[misc]

    def put(self, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        """PutMetricData."""
        _maybe_fail(self.cloudwatch_fault, cloudwatch_errors.CloudWatchException)
        if not namespace or namespace.startswith(("AWS/", ":")):
            raise cloudwatch_errors.InvalidParameterValue(f"The value {namespace} for Namespace is invalid.")
        for datum in metric_data:
            value = float(datum["Value"])
            if not math.isfinite(value):
                raise cloudwatch_errors.InvalidParameterValue(f"The value {value} is invalid.")
            series = (namespace, datum["MetricName"], _dimensions(datum), datum.get("Unit", "None"))
            minute = _utc(datum.get("Timestamp") or datetime.now(UTC)).replace(second=0, microsecond=0)
            self.points.setdefault(series, []).append((minute, value, False))

    def settle(self) -> None:
        """Let everything that was put so far be read: on AWS that takes seconds or minutes."""
        for points in self.points.values():
            points[:] = [(minute, value, True) for minute, value, _ in points]


def _maybe_fail(code: str, kind: type[Exception]) -> None:
    if code:
        raise kind(code, f"{code}, as the test wants it")


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _dimensions(metric: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((one["Name"], one["Value"]) for one in metric.get("Dimensions") or []))


@contextlib.contextmanager
def strict_aws(config: dict[str, Any] | None = None) -> Iterator[StrictAws]:
    """Mock AWS in this process for the length of the block, strictly.

    Args:
        config: moto's; `STEP_FUNCTIONS_AND_LAMBDA` for a test that runs state machines.
    """
    aws = StrictAws()
    get = partialmethod(_get_metric_data, aws)
    resize = partialmethod(_set_desired_capacity, aws, AutoScalingResponse.set_desired_capacity)
    send = partialmethod(_send_message_batch, aws, SQSBackend.send_message_batch)
    refreshes = partialmethod(_describe_instance_refreshes, aws)
    with (
        patch.object(CloudWatchBackend, "put_metric_data", lambda _backend, *given: aws.put(*given)),
        patch.object(CloudWatchResponse, "get_metric_data", get),
        patch.object(AutoScalingResponse, "set_desired_capacity", resize),
        patch.object(AutoScalingResponse, "describe_instance_refreshes", refreshes, create=True),
        patch.object(SQSBackend, "send_message_batch", send),
        mock_aws(config=config),  # type: ignore[call-overload]
    ):
        yield aws


# The calls that are replaced, as methods of moto's classes


def _maxima(
    aws: StrictAws, query: dict[str, Any], start: datetime, end: datetime
) -> list[tuple[datetime, float]]:
    """Answer one query of GetMetricData: the maximum of each of its periods that has a readable point."""
    stat = query["MetricStat"]
    period_s, metric = int(stat["Period"]), stat["Metric"]
    if period_s % 60 or stat["Stat"] != "Maximum":
        raise cloudwatch_errors.ValidationError("Only maxima over whole minutes are told here.")
    wanted = metric["Namespace"], metric["MetricName"], _dimensions(metric)
    found: dict[datetime, float] = {}
    for (*series, unit), points in aws.points.items():
        if tuple(series) != wanted or stat.get("Unit", unit) != unit:
            continue
        for minute, value, readable in points:
            seconds = int(minute.timestamp())
            period = datetime.fromtimestamp(seconds - seconds % period_s, UTC)
            if readable and start.replace(second=0, microsecond=0) <= period < end:
                found[period] = max(value, found.get(period, value))
    return sorted(found.items())


def _get_metric_data(response: CloudWatchResponse, aws: StrictAws) -> ActionResult:
    _maybe_fail(aws.cloudwatch_fault, cloudwatch_errors.CloudWatchException)
    given = response._get_params()
    start, end = _utc(given["StartTime"]), _utc(given["EndTime"])
    if start >= end:
        raise cloudwatch_errors.ValidationError("The parameter EndTime must be greater than StartTime.")
    first, page = int(given.get("NextToken") or 0), aws.points_per_page
    step = 1 if given.get("ScanBy") == "TimestampAscending" else -1
    results, more = [], False
    for query in given["MetricDataQueries"]:
        points = _maxima(aws, query, start, end)[::step]
        shown, rest = points[first : first + page], points[first + page :]
        more = more or bool(rest)
        results.append(
            {
                "Id": query["Id"],
                "Label": query["Id"],
                "Timestamps": [at for at, _ in shown],
                "Values": [value for _, value in shown],
                "StatusCode": "PartialData" if rest else "Complete",
            }
        )
    answer: dict[str, Any] = {"MetricDataResults": results}
    return ActionResult(answer | ({"NextToken": str(first + page)} if more else {}))


def _set_desired_capacity(response: AutoScalingResponse, aws: StrictAws, original: Original) -> ActionResult:
    name, desired = (response._get_param("AutoScalingGroupName"), response._get_int_param("DesiredCapacity"))
    group = response.autoscaling_backend.autoscaling_groups.get(name)
    if group is None:
        raise autoscaling_errors.ValidationError("AutoScalingGroup name not found - null")
    if not group.min_size <= desired <= group.max_size:
        raise autoscaling_errors.ValidationError(
            f"New SetDesiredCapacity value {desired} is outside {group.min_size} to {group.max_size}."
        )
    _maybe_fail(aws.scaling_fault, autoscaling_errors.AutoscalingClientError)
    aws.desired_set.append(desired)
    return original(response)


def _describe_instance_refreshes(response: AutoScalingResponse, aws: StrictAws) -> ActionResult:
    name, most = response._get_param("AutoScalingGroupName"), response._get_int_param("MaxRecords") or 50
    shown = [{"AutoScalingGroupName": name, "Status": status} for status in aws.refreshes[:most]]
    return ActionResult({"InstanceRefreshes": shown})


def _send_message_batch(
    backend: SQSBackend,
    aws: StrictAws,
    original: Original,
    queue_name: str,
    entries: dict[str, dict[str, Any]],
) -> Any:
    backend.get_queue(queue_name)
    _maybe_fail(aws.queue_fault, SQSException)
    taken = {key: entry for key, entry in entries.items() if entry["Id"] not in aws.refused}
    messages, failed = original(backend, queue_name, taken) if taken else ([], [])
    for entry in entries.values():
        if code := aws.refused.get(entry["Id"]):
            failed.append({"Id": entry["Id"], "SenderFault": False, "Code": code, "Message": code})
    return messages, failed


def make_workers(autoscaling: Any, name: str) -> None:
    """Make a group of 1 to 20 workers that are protected from scale-in, at 1."""
    if not autoscaling.describe_launch_configurations()["LaunchConfigurations"]:
        autoscaling.create_launch_configuration(
            LaunchConfigurationName="worker", ImageId="ami-12c6146b", InstanceType="c7g.xlarge"
        )
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        MinSize=1,
        MaxSize=20,
        DesiredCapacity=1,
        LaunchConfigurationName="worker",
        AvailabilityZones=[f"{autoscaling.meta.region_name}a"],
        NewInstancesProtectedFromScaleIn=True,
    )
