"""What was done with the videos of one item of a Map."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

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
    each = list(counts)
    values = {
        field.name: [getattr(one, field.name) for one in each] for field in msgspec.structs.fields(Counts)
    }
    added = {name: _sum_of_dicts(v) if name in _BY_KIND else sum(v) for name, v in values.items()}
    return Counts(**added)


_BY_KIND = ("duplicates", "skipped")


def _sum_of_dicts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    return dict(sum(map(Counter, counts), Counter[str]()))


class ItemResult(msgspec.Struct, rename="camel"):
    """What the workflow keeps of one item's output: what was done, and how many of its videos failed by which error."""

    did: Counts = msgspec.field(default_factory=Counts)
    error: str = ""
    failed: int = 0
