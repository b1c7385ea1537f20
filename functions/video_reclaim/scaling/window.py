"""The published points that are read back: the windows of a scale-in, and what was last known.

A run may start anywhere within its minute (AWS, "Schedule types on EventBridge Scheduler": 60 second
precision), so a calendar minute without a point is ordinary. A hole is more adjacent absent minutes than lie
between two measurements: two where a run starts every minute. An absent minute is unknown, never 0. The minute
of the decision itself needs no point: the value measured now stands for it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import isfinite

from video_reclaim.scaling.records import LastKnown, Point

_MINUTE_S = 60


def by_minute(points: Iterable[Point], at: datetime) -> dict[int, float]:
    """Return the values by minutes before that of ``at``. A negative or infinite value is no point."""
    minute = at.replace(second=0, microsecond=0)
    return {
        int((minute - point.at).total_seconds() // _MINUTE_S): point.value
        for point in points
        if isfinite(point.value) and point.value >= 0
    }


def has_hole(values: dict[int, float], *, window_s: int, measured_every_s: int) -> bool:
    """Tell whether the window has more adjacent minutes without a point than one measurement may miss."""
    absent = 0
    for ago in range(1, window_s // _MINUTE_S + 1):
        absent = 0 if ago in values else absent + 1
        if absent > measured_every_s // _MINUTE_S:
            return True
    return False


def peak(values: dict[int, float], now: int, window_s: int) -> float:
    """Return the highest value of the window, the one measured now included."""
    return max([now, *(value for ago, value in values.items() if ago <= window_s // _MINUTE_S)])


def last_known(
    backlog: Sequence[Point], desired: Sequence[Point], visible: Sequence[Point], now: int | None
) -> LastKnown | None:
    """Return what was published with the last backlog, and the most messages since; None if there is no point.

    The points are oldest first; ``now`` is the number of messages that wait now.
    """
    if not backlog:
        return None
    last = backlog[-1]
    wanted, then = ({point.at: point.value for point in points}.get(last.at) for points in (desired, visible))
    since = [point.value for point in visible if point.at >= last.at]
    return LastKnown(last.value, wanted, then or 0, max([*since, now or 0, 0]))
