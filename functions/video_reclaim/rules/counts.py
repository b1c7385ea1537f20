"""What was done with the videos of one item of a Map."""

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
    """What was done with the videos of one item of a Map; zeros are left out of the JSON form.

    Attributes:
        reclaimed: videos taken from their workers and handed to the queue.
        enqueued: messages that SQS accepted.
        quarantined: videos set to FAILED after too many reclaims.
        over_limit: videos put back to work that would be quarantined in an hour without so many quarantines.
        refused: rows that PostgreSQL refused to write, because of a constraint or a trigger for example.
        resent: videos whose lost message is sent again.
        duplicates: messages sent although an earlier one for the same video may be in the queue, by `Cause`.
        skipped: number of videos left alone, by reason.
        redis_away: 1 when Redis could not be read or written for this item.
    """

    reclaimed: int = 0
    enqueued: int = 0
    quarantined: int = 0
    over_limit: int = 0
    refused: int = 0
    resent: int = 0
    duplicates: dict[str, int] = msgspec.field(default_factory=dict)
    skipped: dict[str, int] = msgspec.field(default_factory=dict)
    redis_away: int = 0


class ItemResult(msgspec.Struct, rename="camel"):
    """What the workflow keeps of one item's output.

    Attributes:
        did: what was done.
        error: name of the error, when some of the item's videos failed.
        failed: how many failed.
    """

    did: Counts = msgspec.field(default_factory=Counts)
    error: str = ""
    failed: int = 0
