"""CloudWatch: puts metrics, and reads them back with GetMetricData."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log
from video_reclaim.metrics import Series
from video_reclaim.scaling.records import Point

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import DimensionTypeDef, MetricStatTypeDef

_PERIOD_S = 60


def put(namespace: str, values: Mapping[Series, float | None], *, at: datetime, enabled: bool = True) -> str:
    """Put one value per series, all in one call. None is unknown and is left out. Return why that failed, or ''.

    A dry run is not ``enabled`` and puts nothing.

    A retry puts the points once more: sums then count twice, maxima don't.
    """
    known = {series: value for series, value in values.items() if value is not None}
    if not known or not enabled:
        return ""
    cloudwatch: CloudWatchClient = aws.client("cloudwatch")
    try:
        cloudwatch.put_metric_data(
            Namespace=namespace,
            MetricData=[
                {
                    "MetricName": series.name,
                    "Dimensions": _dimensions(series),
                    "Unit": series.unit,
                    "Timestamp": at,
                    "Value": float(value),
                }
                for series, value in known.items()
            ],
        )
    except (BotoCoreError, ClientError) as exc:
        cause = f"PutMetricData: {aws.describe(exc)}"
        log.warning("metrics not published", cause=cause)
        return cause
    return ""


def maxima(namespace: str, series: Series, *, at: datetime, window_s: int) -> tuple[Point, ...]:
    """Read back the maximum per minute over the window before ``at``, oldest first.

    A minute without a point is absent, as every minute is when CloudWatch can't answer. Nothing is filled in.
    """
    cloudwatch: CloudWatchClient = aws.client("cloudwatch")
    minute = at.replace(second=0, microsecond=0)
    points: dict[datetime, float] = {}
    statistic: MetricStatTypeDef = {
        "Metric": {"Namespace": namespace, "MetricName": series.name, "Dimensions": _dimensions(series)},
        "Period": _PERIOD_S,
        "Stat": "Maximum",
        "Unit": series.unit,
    }
    try:
        for page in cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=[{"Id": "maximum", "MetricStat": statistic}],
            StartTime=minute - timedelta(seconds=window_s),
            EndTime=minute + timedelta(seconds=_PERIOD_S),
            ScanBy="TimestampAscending",
        ):
            for result in page["MetricDataResults"]:
                points.update(zip(result["Timestamps"], result["Values"], strict=True))
    except (BotoCoreError, ClientError) as exc:
        log.warning("metrics unreadable", error=type(exc).__name__, cause=aws.describe(exc))
        return ()
    return tuple(Point(minute, value) for minute, value in sorted(points.items()))


def _dimensions(series: Series) -> "list[DimensionTypeDef]":
    return [{"Name": name, "Value": value} for name, value in series.dimensions]
