"""How the stale videos of a run are divided into the items of a Map."""

from collections.abc import Sequence

MAX_SINGLE_ITEMS = 40
"""Up to this many videos are one item each, so that the console shows and redrives single videos."""

MAX_BATCH_SIZE = 150
"""Each batch asks PostgreSQL four times and Redis twice, so larger batches ask less (docs/performance.md)."""


def batches(video_ids: Sequence[int]) -> list[list[int]]:
    """Divide ids into Map items and keep their order.

    Up to 40 videos give items of one video. More give at most 40 items of equal size, until an item has 150.
    """
    size = max(1, min(MAX_BATCH_SIZE, -(-len(video_ids) // MAX_SINGLE_ITEMS)))
    return [list(video_ids[start : start + size]) for start in range(0, len(video_ids), size)]
