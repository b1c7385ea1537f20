"""The rule on duplicates: each message that is sent while another one for the video is out has a known cause."""

from collections import Counter
from collections.abc import Iterator

from dev.chaos.case import (
    SAME_MOMENT_S,
    Case,
    Violation,
    begins_handoff,
    releases,
    resends,
    video_of,
)
from dev.chaos.causes import Cause, repeated
from dev.chaos.evidence import answers, listing_before, writer
from dev.chaos.history import PRODUCT, Event, Write
from dev.chaos.queue import PLATFORM, WORKER
from dev.chaos.resends import queue_empty_since

_AGES_SEEN_LOOKS = 9
_COMMIT_S = 0.1
"""A write may be visible this much later than it was recorded."""


def duplicates(case: Case) -> Counter[str]:
    """Count the messages that were sent while another one for the same video was out, by cause."""
    return Counter(str(cause or "without a cause") for _, _, cause in _duplicates(case))


def duplicates_have_cause(case: Case) -> Iterator[Violation]:
    """The product sends no second message while one is out, but for the causes that `Cause` lists.

    What users and workers send is the platform's.
    """
    for first, second, cause in _duplicates(case):
        if cause is None:
            video = video_of(second.details["body"])
            what = f"{second.details['sender']} sent while a message of {first.details['sender']} was out"
            yield Violation("duplicates_have_cause", video, second.at, what)


def _duplicates(case: Case) -> Iterator[tuple[Event, Event, Cause | None]]:
    for video, messages in case.accepted.items():
        for index, second in enumerate(messages):
            out = [m for m in messages[:index] if case.gone.get(m.details["message"], second.at) >= second.at]
            if out:
                yield out[-1], second, _cause(case, video, out[-1], second)


def _cause(case: Case, video: int, first: Event, second: Event) -> Cause | None:
    """Return why a second message was sent while the first was out; None without a reason."""
    sender = second.details["sender"]
    if sender in (PLATFORM, WORKER):
        return Cause.USER if sender == PLATFORM else Cause.REQUEUE
    handoff = _handoff_before(case, video, second.at)
    if handoff is None:
        return None
    if first.at < handoff.at:
        return _of_taking(case, video, first, handoff)
    if first.details["sender"] in (PLATFORM, WORKER):
        return Cause.DURING_HANDOFF if _carried(case, video, sender) else None
    return repeated(case, video, first.details["sender"], sender)


def _handoff_before(case: Case, video: int, before: float) -> Write | None:
    """Return the write that began the handoff of a message sent at ``before``."""
    for write in reversed(case.writes[video]):
        inserted = write.before is None and write.after is not None and write.after.handoff_token
        if write.at < before and (begins_handoff(write) or inserted):
            return write
    return None


def _carried(case: Case, video: int, invocation: str) -> bool:
    """Return whether the row carried a handoff when an invocation read that the video is to be sent."""
    asked_at, window = 0.0, (0.0, 0.0)
    for event in case.calls[invocation]:
        if event.details["call"] != "read handoffs":
            continue
        if event.details["when"] == "before":
            asked_at = event.at
        elif any(row[0] == video for row in event.details["rows"]):
            window = asked_at, event.at
    asked_at, answered_at = window
    rows = [write.before for write in case.writes[video] if asked_at - _COMMIT_S < write.at < answered_at]
    rows += [write.after for write in case.writes[video] if write.at < answered_at][-1:]
    return any(row is not None and row.handoff_token for row in rows)


def _of_taking(case: Case, video: int, first: Event, taking: Write) -> Cause | None:
    """Return why a message was out when the product took a video, to send another one or to quarantine it."""
    if releases(taking):
        given_up = [w for w in case.writes[video] if w.at < taking.at and _quarantines(w)]
        return (
            _of_taking(case, video, first, given_up[-1]) if given_up and first.at < given_up[-1].at else None
        )
    if resends(taking):
        return _of_resend(case, video, first, taking)
    if taking.before is not None and taking.before.status == "PROCESSING":
        return _of_reclaim(case, video, first, taking)
    return None


def _quarantines(write: Write) -> bool:
    return write.who == PRODUCT and write.after is not None and write.after.status == "FAILED"


def _of_reclaim(case: Case, video: int, first: Event, taking: Write) -> Cause | None:
    """Return why a message was out when a video was taken from a worker.

    The worker claimed it with that message and had not deleted it, or it claimed it with another one.
    """
    claims = [w for w in case.writes[video] if w.at < taking.at and _claims(w)]
    if not claims:
        return None
    claim = claims[-1]
    received = [
        told["message"]
        for told in case.steps[video]
        if told["event"] == "received"
        and told["worker"] == claim.who
        and told["at"] < claim.at + SAME_MOMENT_S
    ]
    if not received:
        return None
    if received[-1] != first.details["message"]:
        return Cause.ANOTHER_MESSAGE
    return Cause.OLDER_PATH if case.deleted.get(received[-1], taking.at) > claim.at else None


def _claims(write: Write) -> bool:
    before, after = write.before, write.after
    return bool(after and after.status == "PROCESSING" and before and before.status == "UPLOADED")


def _of_resend(case: Case, video: int, first: Event, taking: Write) -> Cause | None:
    """Return why a message counted as lost while it was out; None without a reason."""
    invocation = writer(case, video, taking)
    listing = listing_before(case, invocation) if invocation else None
    if invocation is None or listing is None:
        return None
    asked_at = [e.at for e in case.calls[invocation] if e.details["call"] == "take waits"]
    if first.details["sender"] == PLATFORM and asked_at and first.at > asked_at[0]:
        return Cause.RETRY_DURING_RESEND
    deleted_at = case.deleted.get(first.details["message"], taking.at)
    return Cause.PAUSED_WORKER if deleted_at < _first_look(case, listing) else None


def _first_look(case: Case, listing: str) -> float:
    """Return when the first of the two looks at the queue was made on which a listing rests.

    In a queue that is never empty, the age of a message is seen for 10 minutes after it was deleted.
    """
    looked_at = max((event.at for event in answers(case.calls[listing], "read depth")), default=0.0)
    empty_since = queue_empty_since(case, listing)
    earlier = [
        event.at
        for at, name in case.listings
        if empty_since is not None and abs(at - empty_since) < SAME_MOMENT_S
        for event in answers(case.calls[name], "read depth")
    ]
    return max(earlier, default=looked_at - _AGES_SEEN_LOOKS * case.timing.empty_looks_apart_s)
