"""What Enqueue is given, and what it answers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from video_reclaim.errors import (
    EnqueueIncomplete,
    QueueRefused,
    QueueUnavailable,
    VideoReclaimError,
    describe_failures,
)
from video_reclaim.rules.counts import Cause, Counts
from video_reclaim.rules.reclaiming import Written
from video_reclaim.rules.staleness import Reason


class Batch(msgspec.Struct, rename="camel"):
    """The answer of Reclaim, which is the event of Enqueue."""

    execution: str
    fail_on_partial: bool  # raise unless every message is accepted
    videos: list[int]
    attempts: list[int]  # of each video's message
    did: Counts  # so far
    retries: int = 0  # how often this state was tried before, without success


class ItemOutput(msgspec.Struct, omit_defaults=True):
    """The output of one item of a Map."""

    did: Counts
    error: str = ""  # name of the error, when SQS did not accept some of the messages
    ids: list[int] = msgspec.field(default_factory=list)  # the videos of these messages


@dataclass(slots=True)
class Sent:
    """The result of sending several messages, by video id."""

    accepted: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)  # of the accepted: boto3 made the call twice
    refused: dict[int, str] = field(default_factory=dict)  # with SQS's reason
    not_sent: list[int] = field(default_factory=list)  # their calls failed as a whole, or were not made
    error: str = ""  # why they were not sent
    definite: bool = False  # SQS refused them: none of them is in the queue


def did_now(batch: Batch, sent: Sent, cleared: Written, *, jobs: int, redis_answered: bool) -> Counts:
    """Return what was done with the videos of the item, by Reclaim and by this attempt.

    ``jobs`` of them still carried the token; the others moved on. A row that PostgreSQL refused to clear has its
    message in the queue.
    """
    skipped = dict(batch.did.skipped)
    if moved_on := len(batch.videos) - jobs:
        skipped[Reason.MOVED_ON] = skipped.get(Reason.MOVED_ON, 0) + moved_on
    return msgspec.structs.replace(
        batch.did,
        reclaimed=len(batch.videos) - len(sent.refused) - len(sent.not_sent),
        enqueued=len(sent.accepted),
        refused=batch.did.refused + len(cleared.refused),
        duplicates=batch.did.duplicates | _repeated(batch, sent),
        skipped=skipped,
        redis_away=batch.did.redis_away if redis_answered else 1,
    )


def output(batch: Batch, sent: Sent, did: Counts) -> ItemOutput:
    """Return the output of the item, or raise what is left to a retry.

    Raises:
        QueueUnavailable, QueueRefused: a call failed as a whole, and nothing was accepted or everything must be.
        EnqueueIncomplete: SQS refused messages, and accepted none or should have accepted all.
    """
    failed = sent.refused | dict.fromkeys(sent.not_sent, sent.error)
    failure: type[VideoReclaimError] = QueueUnavailable if sent.error else EnqueueIncomplete
    if sent.error and sent.definite and not batch.retries:  # an earlier attempt may have sent them
        failure = QueueRefused
    if failed and (batch.fail_on_partial or not sent.accepted):
        raise failure(describe_failures(failed))
    return ItemOutput(did, failure.__name__ if failed else "", list(failed))


def _repeated(batch: Batch, sent: Sent) -> dict[str, int]:
    """Count the accepted messages that an earlier attempt, or an earlier call, may have sent already."""
    if batch.retries and sent.accepted:
        return {Cause.RETRIED.value: len(sent.accepted)}
    return {Cause.ANSWER_LOST.value: len(sent.repeated)} if sent.repeated else {}


def outcomes(
    sent: Sent, attempts: Mapping[int, int], delays_s: Mapping[int, int], cleared: Written
) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield what became of each message, as a log message with its details."""
    for video_id in sent.accepted:
        delay = {"delay_s": delays_s[video_id]} if video_id in delays_s else {}
        yield "enqueued", {"video": video_id, "attempt": attempts[video_id], **delay}
    for video_id, error in (sent.refused | dict.fromkeys(sent.not_sent, sent.error)).items():
        yield "not enqueued", {"video": video_id, "attempt": attempts[video_id], "error": error}
    for video_id, error in cleared.refused.items():
        yield "refused", {"video": video_id, "error": error}
