"""What was done with the videos of one item of a Map."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec


class Cause(StrEnum):
    """Why an earlier message for the same video may be in the queue."""

    ADOPTED = "adopted"
    """The video was taken over between database and queue: whoever had it crashed, or failed after sending."""
    RETRIED = "retried"
    """Enqueue was tried again after an attempt that failed or timed out, perhaps after sending."""
    ANSWER_LOST = "answerLost"
    """A call to SQS was repeated because the first one was not answered, or not well."""


class Counts(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What was done with the videos of one item of a Map: see `RunRecord`. Zeros are left out of the JSON form."""

    reclaimed: int = 0
    enqueued: int = 0
    quarantined: int = 0
    over_limit: int = 0
    refused: int = 0
    resent: int = 0
    duplicates: dict[str, int] = msgspec.field(default_factory=dict)
    skipped: dict[str, int] = msgspec.field(default_factory=dict)
    redis_away: int = 0  # 1 when Redis could not be read or written for this item


def add_up(counts: Iterable[Counts]) -> Counts:
    """Add up what was done with several items."""
    each, added = list(counts), dict[str, Any]()
    for name in (field.name for field in msgspec.structs.fields(Counts)):
        values = [getattr(one, name) for one in each]
        by_kind = name in ("duplicates", "skipped")
        added[name] = dict(sum(map(Counter, values), Counter())) if by_kind else sum(values)
    return Counts(**added)


class ItemResult(msgspec.Struct, rename="camel"):
    """What the workflow keeps of one item's output: what was done, and how many of its videos failed by which error."""

    did: Counts = msgspec.field(default_factory=Counts)
    error: str = ""
    failed: int = 0
