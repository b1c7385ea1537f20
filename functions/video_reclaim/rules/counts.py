"""What was done with the videos of one item of a Map."""

import msgspec


class Counts(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What was done with the videos of one item of a Map; zeros are left out of the JSON form.

    Attributes:
        reclaimed: videos taken from their workers and handed to the queue.
        enqueued: messages that SQS accepted.
        quarantined: videos set to FAILED after too many reclaims.
        refused: rows that PostgreSQL refused to write, because of a constraint or a trigger for example.
        skipped: number of videos left alone, by reason.
    """

    reclaimed: int = 0
    enqueued: int = 0
    quarantined: int = 0
    refused: int = 0
    skipped: dict[str, int] = msgspec.field(default_factory=dict)


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
