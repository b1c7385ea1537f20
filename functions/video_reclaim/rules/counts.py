"""What was done with the videos of one item of a Map."""

import msgspec


class Counts(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What was done with the videos of one item of a Map; zeros are left out of the JSON form.

    Attributes:
        reclaimed: videos taken from their workers and handed to the queue.
        enqueued: messages that SQS accepted.
        quarantined: videos set to FAILED after too many reclaims.
        refused: rows that PostgreSQL refused to write, because of a constraint or a trigger for example.
        resent: videos whose lost message is sent again.
        adopted: videos taken over between database and queue. A message for them may already exist, when an
            earlier attempt crashed after sending or the answer of SQS was lost.
        skipped: number of videos left alone, by reason.
        redis_away: 1 when Redis did not answer for this item.
    """

    reclaimed: int = 0
    enqueued: int = 0
    quarantined: int = 0
    refused: int = 0
    resent: int = 0
    adopted: int = 0
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
