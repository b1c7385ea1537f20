"""The rules on messages: one for each reclaim, none lost, and all causes of second ones.

`docs/protocol.md` lists the same causes with the reason why each can't be avoided; a test compares the two.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from dev.chaos.case import Case, Findings
from dev.chaos.history import BEGINS_HANDOFF, SAVE, Event, Write
from dev.chaos.queue import OPERATOR, PLATFORM, WORKER


class Cause(StrEnum):
    """Why a message was sent while another one for the video was out. The value is its name for people."""

    FAILED = "a function failed after sending"
    LOST_BY_FUNCTION = "a lost answer of a function"
    LOST_BY_SQS = "a lost answer of SQS"
    LOCKED_ROW = "a row that could not be written when its handoff was to be cleared"
    DURING_HANDOFF = "a handoff, during which a user or a worker sent a message"
    RECLAIM = "a reclaim from a worker that still had its message, or of a video that had two"
    DURING_RESEND = "a resend, during which a user or an operator sent a message"
    PAUSED_WORKER = "a resend, while a worker paused between deleting a message and claiming its video"
    IN_FLIGHT = "a resend, while its message was taken for one that the older path holds"
    SAVED = "a save of a whole row that brought back an earlier state"
    USER = "a user's retry or upload"
    REQUEUE = "a worker's requeue"
    OPERATOR = "an operator's redrive of the dead-letter queue"


_BY_OTHERS = {PLATFORM: Cause.USER, WORKER: Cause.REQUEUE, OPERATOR: Cause.OPERATOR}


def duplicates(case: Case) -> Iterator[tuple[int, Event, Event, Cause | None]]:
    """Yield each message that was sent while another one for the same video was out.

    Yields the video, the other message, this one, and the cause; None for a cause without a reason.
    """
    for video, messages in case.accepted.items():
        for index, second in enumerate(messages):
            out = [m for m in messages[:index] if case.gone.get(m.details["message"], second.at) >= second.at]
            if out:
                yield video, out[-1], second, _cause(case, video, out[-1], second)


def count(case: Case) -> Counter[str]:
    """Count the second messages by cause."""
    return Counter(str(cause or "without a cause") for *_, cause in duplicates(case))


def duplicates_have_cause(case: Case) -> Findings:
    """The product sends no second message while one is out, but for the causes that `Cause` lists."""
    for video, first, second, cause in duplicates(case):
        if cause is None:
            what = f"{second.details['sender']} sent while a message of {first.details['sender']} was out"
            yield video, second.at, what


def _cause(case: Case, video: int, first: Event, second: Event) -> Cause | None:
    sender = second.details["sender"]
    if sender in _BY_OTHERS:
        return _BY_OTHERS[sender]
    before = [write for write in case.writes[video] if write.at < second.at]
    handoff = next((write for write in reversed(before) if write.step in BEGINS_HANDOFF), None)
    saved = next((write for write in reversed(before) if write.who == SAVE), None)
    if saved and (handoff is None or saved.at > handoff.at or saved is before[before.index(handoff) - 1]):
        return Cause.SAVED
    if handoff is None:
        return None
    if first.at < handoff.at:
        return _of_resend(case, first, handoff) if handoff.step == "resends" else Cause.RECLAIM
    if first.details["sender"] in _BY_OTHERS:
        return Cause.DURING_HANDOFF if _carried(case, video, sender) else None
    return repeated(case, video, first, second)


def _carried(case: Case, video: int, invocation: str) -> bool:
    """Return whether the row carried a handoff when an invocation read that the video is to be sent."""
    for event in reversed(case.answers(invocation, "read handoffs")):
        if any(row[0] == video for row in event.details["rows"]):
            row = case.row(video, event.at)
            return row is not None and row.handoff_token is not None
    return False


def _of_resend(case: Case, first: Event, taking: Write) -> Cause | None:
    """Return why a message counted as lost while it was out; None without a reason."""
    listing = case.listing_of(taking.invocation or "")
    looked_at = case.asked_at(listing, "read depth")
    if listing is None or looked_at is None:
        return None
    if first.details["sender"] in (PLATFORM, OPERATOR) and first.at > looked_at:
        return Cause.DURING_RESEND
    if case.deleted.get(first.details["message"], taking.at) < looked_at:
        return Cause.PAUSED_WORKER
    depth = case.answers(listing, "read depth")[-1].details["depth"]
    seen = int(depth["ApproximateNumberOfMessages"]) + int(depth["ApproximateNumberOfMessagesDelayed"])
    held = int(depth["ApproximateNumberOfMessagesNotVisible"])
    read_at = case.asked_at(listing, "list candidates") or looked_at
    return Cause.IN_FLIGHT if not seen and held <= _held_by_the_older_path(case, read_at) else None


def _held_by_the_older_path(case: Case, at: float) -> int:
    """Return how many videos were at work under a claim without a lease."""
    found = 0
    for video in case.writes:
        row = case.row(video, at)
        claims = [told for told in case.steps[video] if told["event"] == "claimed" and told["at"] < at]
        found += bool(row and row.status == "PROCESSING" and claims and claims[-1]["manner"] == "older")
    return found


def repeated(case: Case, video: int, first: Event, second: Event) -> Cause | None:
    """Return why one handoff sent two messages, by two invocations or one; None without a reason."""
    sender, again = first.details["sender"], second.details["sender"]
    ended = case.ended.get(sender)

    def struck(*ends: str) -> bool:
        return any(fault.endswith(ends) for fault in case.faults[sender])

    if sender == again:  # boto3 sent again what the function sent once
        sent = [answer for answer in case.answers(sender, "send") if video in answer.details["videos"]]
        return Cause.LOST_BY_SQS if len(sent) < 2 else None
    if ended is None or case.began[again].at < ended.at:  # the first was taken for dead
        return Cause.LOST_BY_FUNCTION
    if struck("SQS times out"):
        return Cause.LOST_BY_SQS
    if ended.details["error"] is not None:
        return Cause.FAILED
    if struck("lose the answer", "taken for dead"):
        return Cause.LOST_BY_FUNCTION
    return Cause.LOCKED_ROW if _stayed_locked(case, sender, video) else None


def _stayed_locked(case: Case, invocation: str, video: int) -> bool:
    """Return whether an invocation tried to clear a handoff again, in vain."""
    cleared, left = (case.answers(invocation, call) for call in ("clear handoffs", "read uncleared"))
    return bool(left) and (video,) in left[-1].details["rows"] and (video,) not in cleared[-1].details["rows"]


def cleared_after_sending(case: Case) -> Findings:
    """A handoff ends only after SQS has accepted a message for it."""
    for video, index, write in case.by_product():
        if write.step != "handoffs cleared" or not write.before or write.before.handoff_token is None:
            continue
        taken = next((w for w in reversed(case.writes[video][:index]) if w.step in BEGINS_HANDOFF), None)
        since = taken.at if taken else 0.0
        if not any(since < message.at < write.at for message in case.accepted[video]):
            yield video, write.at, f"no message since {since:.3f}: {write}"


def sent_once(case: Case) -> Findings:
    """A handoff sends one message, unless `repeated` names what came between sending and recording it."""
    for video, messages in case.accepted.items():
        ours = [m for m in messages if m.details["sender"] in case.began]
        for first, second in itertools.pairwise(ours):
            between = [w for w in case.writes[video] if first.at < w.at < second.at]
            if any(
                w.step in BEGINS_HANDOFF or w.who == SAVE for w in between
            ):  # a save brings a handoff back
                continue
            if not repeated(case, video, first, second):
                yield video, second.at, f"{first.details['sender']} had sent it at {first.at:.3f}"


def not_sent_into_a_cancel(case: Case) -> Findings:
    """A message is delayed by what is left of the ``cancel_requested`` key that the function had read."""
    for invocation in case.calls:
        left_ms: dict[int, int] = {}
        for event in case.answers(invocation, "prepare jobs"):
            for command, answer in zip(event.details["commands"], event.details["answers"], strict=True):
                if command[0] == "PTTL":
                    left_ms[int(str(command[1]).split(":")[3])] = answer
        for video, left in left_ms.items():
            for message in case.accepted[video]:
                delay_s = message.details["delay_s"]
                if message.details["sender"] == invocation and delay_s * 1000 < left:
                    yield video, message.at, f"delayed by {delay_s} s, {left} ms were left"


def nothing_lost(case: Case) -> Findings:
    """At the end each video is READY, or FAILED with a reason, or has a message. For a run that has come to rest."""
    for video, writes in case.writes.items():
        last = writes[-1]
        row = last.after
        done = row is None or row.status == "READY" or (row.status == "FAILED" and row.error_reason)
        if not done and video not in case.waiting:
            yield video, last.at, f"it was left {last}"
