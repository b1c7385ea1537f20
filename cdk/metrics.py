"""The product's metrics, from functions/video_reclaim/metrics.json: the one list that the functions publish by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from .sources import ROOT

LIST = ROOT / "functions" / "video_reclaim" / "metrics.json"


@dataclass(frozen=True)
class Metric:
    """An entry of the list; ``dimension`` is None for those of the stage, ``statistic`` combines values of a period."""

    name: str
    unit: str
    statistic: str
    dimension: str | None
    meaning: str


METRICS: Mapping[str, Metric] = {entry["name"]: Metric(**entry) for entry in json.loads(LIST.read_text())}
