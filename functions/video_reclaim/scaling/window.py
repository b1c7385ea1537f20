"""The window of published points that a scale-in needs.

The window consists of the ``scale_in_window_s / 60`` calendar minutes before the minute of the decision, and
that minute itself. A minute without a point is unknown, never 0. Two minutes need no point, since the value
measured now stands for them: that of the decision, which is still open, and the one before it, whose point may
not be readable yet (CloudWatch documents no bound on that).
"""

from collections.abc import Iterable
from datetime import datetime
from math import isfinite
from typing import NamedTuple

from video_reclaim.scaling.records import Point

_MINUTE_S = 60


class Window(NamedTuple):
    """What the points of the window say.

    Attributes:
        peak: the highest value; 0 without any point.
        missing: number of minutes that need a point and have none near enough.
    """

    peak: float
    missing: int


def read_window(points: Iterable[Point], at: datetime, *, window_s: int, measured_every_s: int) -> Window:
    """Find the peak of the window and the minutes that are not covered.

    A minute is covered by a point that lies less than ``measured_every_s`` seconds from it.
    """
    minute = at.replace(second=0, microsecond=0)
    peak, seen = 0.0, set[int]()
    for point in points:
        ago = -int((point.at - minute).total_seconds() // _MINUTE_S)
        if not isfinite(point.value) or point.value < 0 or ago > window_s // _MINUTE_S:
            continue
        peak = max(peak, point.value)
        seen.add(ago)
    reach = measured_every_s // _MINUTE_S
    covered = {ago + distance for ago in seen for distance in range(1 - reach, reach)}
    return Window(peak, len(set(range(2, window_s // _MINUTE_S + 1)) - covered))
