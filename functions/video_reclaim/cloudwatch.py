"""CloudWatch: everything that puts a metric or gets one goes through here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log
from video_reclaim.errors import MetricsUnavailable
from video_reclaim.scaling import Point

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import DimensionTypeDef, MetricDataQueryTypeDef

_PERIOD_S = 60


@dataclass(frozen=True, slots=True)
class Metric:
    """A series: what CloudWatch tells it by.

    Attributes:
        name: metric name.
        unit: CloudWatch's unit; a query finds only what was put with the same one.
        dimensions: names and values; likewise.
    """

    name: str
    unit: Literal["Count", "Seconds"] = "Count"
    dimensions: tuple[tuple[str, str], ...] = ()

    def _dimensions(self) -> "list[DimensionTypeDef]":
        return [{"Name": name, "Value": value} for name, value in self.dimensions]


def put(namespace: str, values: Mapping[Metric, float | None], *, at: datetime) -> None:
    """Put one value per metric, all in one call. What is None is unknown, and is left out.

    A retry puts the points once more: sums then count twice, maxima don't.

    Raises:
        MetricsUnavailable: CloudWatch did not take them.
    """
    known = {metric: value for metric, value in values.items() if value is not None}
    if not known:
        return
    cloudwatch: CloudWatchClient = aws.client("cloudwatch")
    try:
        cloudwatch.put_metric_data(
            Namespace=namespace,
            MetricData=[
                {
                    "MetricName": metric.name,
                    "Dimensions": metric._dimensions(),
                    "Unit": metric.unit,
                    "Timestamp": at,
                    "Value": float(value),
                }
                for metric, value in known.items()
            ],
        )
    except (BotoCoreError, ClientError) as exc:
        raise MetricsUnavailable(f"PutMetricData: {aws.reason(exc)}") from exc


def maxima(
    namespace: str, metrics: Sequence[Metric], *, at: datetime, window_s: int
) -> list[tuple[Point, ...]] | None:
    """Read back each metric's maximum per minute over the window before ``at``, oldest first.

    A minute without a point is absent: nothing is filled in. The points of the last minutes may not be
    readable yet. Return None if CloudWatch can't say; a part that it can't say is absent.
    """
    cloudwatch: CloudWatchClient = aws.client("cloudwatch")
    minute = at.replace(second=0, microsecond=0)
    queries: list[MetricDataQueryTypeDef] = [
        {
            "Id": f"m{index}",
            "MetricStat": {
                "Metric": {
                    "Namespace": namespace,
                    "MetricName": metric.name,
                    "Dimensions": metric._dimensions(),
                },
                "Period": _PERIOD_S,
                "Stat": "Maximum",
                "Unit": metric.unit,
            },
        }
        for index, metric in enumerate(metrics)
    ]
    points: dict[str, dict[datetime, float]] = {str(query["Id"]): {} for query in queries}
    try:
        for page in cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries,
            StartTime=minute - timedelta(seconds=window_s),
            EndTime=minute + timedelta(seconds=_PERIOD_S),
            ScanBy="TimestampAscending",
        ):
            for series in page["MetricDataResults"]:
                points[series["Id"]].update(zip(series["Timestamps"], series["Values"], strict=True))
    except (BotoCoreError, ClientError) as exc:
        log.event("metrics unreadable", error=type(exc).__name__, cause=aws.reason(exc))
        return None
    return [tuple(Point(at, value) for at, value in sorted(series.items())) for series in points.values()]
