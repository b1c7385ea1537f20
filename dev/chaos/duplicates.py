"""The rule on duplicates: a second message while one is out only after a crash or a lost answer, by cause."""

from collections import Counter
from collections.abc import Iterator

from dev.chaos.case import Case, Violation, begins_handoff, releases, resends, takes_from_worker, video_of
from dev.chaos.deliveries import calls_to_send, overlap
from dev.chaos.evidence import answers, listing_before, writer
from dev.chaos.history import Event, Write
from dev.chaos.queue import MAX_RECEIVES, PLATFORM, WORKER

_OUT = {PLATFORM: "while a user's message was out", WORKER: "while a worker's requeue was out"}
_DURING_HANDOFF = {
    PLATFORM: "a handoff, during which a user sent a message",
    WORKER: "a handoff, during which a worker sent a message",
}


def duplicates(case: Case) -> Counter[str]:
    """Count the messages that were sent while another one for the same video was out, by cause."""
    return Counter(cause or "without a cause" for _, _, cause in _duplicates(case))


def duplicates_have_cause(case: Case) -> Iterator[Violation]:
    """The product sends no second message while one is out, unless a crash or a lost answer explains it.

    What users and workers send, and what follows from it, is the platform's.
    """
    for first, second, cause in _duplicates(case):
        if cause is None:
            video = video_of(second.details["body"])
            what = f"{second.details['sender']} sent while a message of {first.details['sender']} was out"
            yield Violation("duplicates_have_cause", video, second.at, what)


def _duplicates(case: Case) -> Iterator[tuple[Event, Event, str | None]]:
    for video, messages in case.accepted.items():
        for index, second in enumerate(messages):
            out = [m for m in messages[:index] if case.gone.get(m.details["message"], second.at) >= second.at]
            if out:
                yield out[-1], second, _cause(case, video, out[-1], second)


def _cause(case: Case, video: int, first: Event, second: Event) -> str | None:
    """Return why a second message was sent while the first was out; None without a reason."""
    sender, earlier = second.details["sender"], first.details["sender"]
    if sender == PLATFORM:
        return "a user's retry or upload"
    if sender == WORKER:
        return "a worker's requeue"
    origin = _origin(case, video, second.at)
    if origin is None:
        return None
    if first.at > origin.at:
        return _DURING_HANDOFF.get(earlier) or _repeated(case, video, earlier, sender)
    if resends(origin):
        return _resent(case, video, first, origin)
    if not takes_from_worker(origin) and not releases(origin):
        return None
    what = "a release" if releases(origin) else "a reclaim"
    if _held(case, video, first, origin.at):
        return f"{what} from a worker on the older path, which still had its message"
    if earlier in _OUT:
        return f"{what}, {_OUT[earlier]}"
    others = [m for m in case.accepted[video] if m is not first and m.at < origin.at]
    if any(case.gone.get(m.details["message"], second.at) > first.at for m in others):
        return f"{what}, while an earlier duplicate was out"
    return None


def _resent(case: Case, video: int, first: Event, origin: Write) -> str | None:
    """Return why a message counted as lost while it was out; None without a reason."""
    invocation = writer(case, video, origin)
    listing = listing_before(case, invocation) if invocation else None
    if listing is None:
        return None
    message = first.details["message"]
    looked_at = max((event.at for event in answers(case.calls[listing], "read depth")), default=0.0)
    if first.at > looked_at:
        sender = {PLATFORM: "a user", WORKER: "a worker"}.get(first.details["sender"])
        return f"a resend, during which {sender} sent a message" if sender else None
    if case.deleted.get(message, origin.at) < looked_at:
        return "a resend, while a worker paused between deleting a message and claiming its video"
    received = [e for e in case.history.events if e.kind == "received" and e.details["message"] == message]
    if len(received) >= MAX_RECEIVES:
        return "a resend, while a message was received for the last time"
    return None


def _origin(case: Case, video: int, before: float) -> Write | None:
    """Return the write that began the handoff of a message sent at ``before``."""
    for write in reversed(case.writes[video]):
        inserted = write.before is None and write.after is not None and write.after.handoff_token
        if write.at < before and (begins_handoff(write) or inserted):
            return write
    return None


def _repeated(case: Case, video: int, first: str, second: str) -> str | None:
    """Return why one handoff sent two messages."""
    faults = case.ended[first].details["faults"] if first in case.ended else ["dies"]
    if first == second and calls_to_send(case, first, video) == 1:
        return "a lost answer of SQS, after which boto3 sent again"
    if any("dies" in fault or "out of time" in fault for fault in faults):
        return "a function crashed after sending"
    if overlap(case, first, second) or any("lost" in f or "taken for dead" in f for f in faults):
        return "a lost answer of a function"
    if any("cut" in fault or "ends a session" in fault for fault in faults):
        return "a lost answer of PostgreSQL"
    return "a failed call after sending" if case.failed(first) else None


def _held(case: Case, video: int, message: Event, at: float) -> bool:
    """Return whether a worker had claimed the video with a message that it had not deleted."""
    received = {
        told["worker"]: told["at"]
        for told in case.steps[video]
        if told.get("message") == message.details["message"] and told["event"] == "received"
    }
    return any(
        write.after is not None
        and write.after.status == "PROCESSING"
        and received.get(write.who, at) < write.at < at
        for write in case.writes[video]
    )
