"""The platform's former scaling policy, computed from the records of this project's decisions."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from video_reclaim.scaling.records import Inputs

STEP = 5
EMPTY_FOR = timedelta(seconds=1200)


def former_policy(records: Sequence[Inputs]) -> list[int | None]:
    """Return what the former policy would have asked for at each decision; None where it changed nothing.

    It asked for the messages in flight plus at most 5 of the visible ones, and for the group's minimum once
    the queue had been empty for 1,200 s. A queue that could not be read counted as empty. Before the first
    record the queue counts as not empty.

    Args:
        records: inputs of consecutive decisions, oldest first.
    """
    asked: list[int | None] = []
    empty_since: datetime | None = None
    for seen in records:
        visible, in_flight = seen.visible or 0, seen.in_flight or 0
        wanted: int | None = None
        if visible or in_flight:
            empty_since = None
            wanted = in_flight + min(visible, STEP)
        else:
            empty_since = empty_since or seen.at
            if seen.at - empty_since >= EMPTY_FOR:
                wanted = seen.group.min if seen.group else 0
        asked.append(seen.group.clamp(wanted) if seen.group and wanted is not None else wanted)
    return asked
