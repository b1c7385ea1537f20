"""The metrics, from ``metrics.json``: the one list that the functions, alarms, dashboard and documents use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from video_reclaim.conversion import from_json

WORKER_TYPE = "WorkerType"
VIDEO = "Video"
"""The worker type whose queue reclaimed videos are sent to."""

Unit = Literal["Count", "Seconds"]
Statistic = Literal["Maximum", "Minimum", "Sum"]


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of the list: see docs/metrics.md. Without a dimension of its own it has those of the stage."""

    name: str
    unit: Unit
    statistic: Statistic
    dimension: Literal["WorkerType"] | None
    meaning: str


METRICS = {
    metric.name: metric
    for metric in from_json(Path(__file__).with_suffix(".json").read_bytes(), list[Metric])
}


class Series(msgspec.Struct, frozen=True):
    """A metric with its dimensions, names and values, by which CloudWatch identifies it."""

    name: str
    unit: Unit  # a query finds only what was put with the same one
    dimensions: tuple[tuple[str, str], ...]


def series(name: str, dimensions: Mapping[str, str]) -> Series:
    """Return the series of a metric of the list. Raises KeyError for any other name."""
    return Series(name, METRICS[name].unit, tuple(sorted(dimensions.items())))
