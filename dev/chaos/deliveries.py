"""The rules on messages: one for each reclaim, none lost, and all causes of second ones.

`docs/protocol.md` lists the same causes with the reason why each can't be avoided; a test compares the two.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from dev.chaos.case import (
    SAME_MOMENT_S,
    Case,
    Findings,
    begins_handoff,
    quarantines,
    releases,
    resends,
    video_of,
)
from dev.chaos.history import SAVE, Event, Write
from dev.chaos.queue import OPERATOR, PLATFORM, WORKER

_RECENTLY_S = 60


class Cause(StrEnum):
    """Why a message was sent while another one for the video was out. The value is its name for people."""

    CRASH = "a function crashed after sending"
    LOST_BY_FUNCTION = "a lost answer of a function"
    LOST_BY_SQS = "a lost answer of SQS"
    LOST_BY_POSTGRES = "a lost answer of PostgreSQL"
    FAILED_CALL = "a failed call after sending"
    LOCKED_ROW = "a row that could not be written when its handoff was to be cleared"
    DURING_HANDOFF = "a handoff, during which a user or a worker sent a message"
    OLDER_PATH = "a reclaim from a worker on the older path, which still had its message"
    ANOTHER_MESSAGE = "a reclaim of a video that was claimed with another message"
    DURING_RESEND = "a resend, during which a user or an operator sent a message"
    PAUSED_WORKER = "a resend, while a worker paused between deleting a message and claiming its video"
    IN_FLIGHT = "a resend, while its message was taken for one that the older path holds"
    SAVED = "a save of a whole row that brought back an earlier state"
    USER = "a user's retry or upload"
    REQUEUE = "a worker's requeue"
    OPERATOR = "an operator's redrive of the dead-letter queue"


_BY_OTHERS = {PLATFORM: Cause.USER, WORKER: Cause.REQUEUE, OPERATOR: Cause.OPERATOR}


def duplicates(case: Case) -> Counter[str]:
    """Count the messages that were sent while another one for the same video was out, by cause."""
    return Counter(str(cause or "without a cause") for _, _, cause in _duplicates(case))


def duplicates_have_cause(case: Case) -> Findings:
    """The product sends no second message while one is out, but for the causes that `Cause` lists."""
    for first, second, cause in _duplicates(case):
        if cause is None:
            video = video_of(second.details["body"])
            what = f"{second.details['sender']} sent while a message of {first.details['sender']} was out"
            yield video, second.at, what


def _duplicates(case: Case) -> Iterator[tuple[Event, Event, Cause | None]]:
    for video, messages in case.accepted.items():
        for index, second in enumerate(messages):
            out = [m for m in messages[:index] if case.gone.get(m.details["message"], second.at) >= second.at]
            if out:
                yield out[-1], second, _cause(case, video, out[-1], second)


def _cause(case: Case, video: int, first: Event, second: Event) -> Cause | None:
    """Return why a second message was sent while the first was out; None without a reason."""
    sender = second.details["sender"]
    if sender in _BY_OTHERS:
        return _BY_OTHERS[sender]
    before = [write for write in case.writes[video] if write.at < second.at]
    handoff = next((write for write in reversed(before) if begins_handoff(write)), None)
    saved = next((write for write in reversed(before) if write.who == SAVE), None)
    if saved and (handoff is None or saved.at > handoff.at or saved is before[before.index(handoff) - 1]):
        return Cause.SAVED
    if handoff is None:
        return None
    if first.at < handoff.at:
        return _of_taking(case, video, first, handoff)
    if first.details["sender"] in _BY_OTHERS:
        return Cause.DURING_HANDOFF if _carried(case, video, sender) else None
    return repeated(case, video, first, second)


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
    rows = [write.before for write in case.writes[video] if asked_at < write.at < answered_at]
    rows += [write.after for write in case.writes[video] if write.at < answered_at][-1:]
    return any(row is not None and row.handoff_token for row in rows)


def _of_taking(case: Case, video: int, first: Event, taking: Write) -> Cause | None:
    """Return why a message was out when the product took a video."""
    if releases(taking):
        given_up = [w for w in case.writes[video] if w.at < taking.at and quarantines(w)]
        known = given_up and first.at < given_up[-1].at
        return _of_reclaim(case, video, first, given_up[-1]) if known else None
    return (_of_resend if resends(taking) else _of_reclaim)(case, video, first, taking)


def _of_reclaim(case: Case, video: int, first: Event, taking: Write) -> Cause | None:
    """Return why a message was out when a video was taken from a worker.

    The worker claimed it with that message and had not deleted it, or it claimed it with another one.
    """
    claims = [w for w in case.writes[video] if w.at < taking.at and _claims(w)]
    received = [
        told["message"]
        for told in case.steps[video]
        if told["event"] == "received"
        and claims
        and told["worker"] == claims[-1].who
        and told["at"] < claims[-1].at + SAME_MOMENT_S
    ]
    if not received:
        return None
    if received[-1] != first.details["message"]:
        return Cause.ANOTHER_MESSAGE
    return Cause.OLDER_PATH if case.deleted.get(received[-1], taking.at) > claims[-1].at else None


def _claims(write: Write) -> bool:
    before, after = write.before, write.after
    return bool(after and after.status == "PROCESSING" and before and before.status == "UPLOADED")


def _of_resend(case: Case, video: int, first: Event, taking: Write) -> Cause | None:
    """Return why a message counted as lost while it was out; None without a reason."""
    listing = case.listing_of(case.taker(video, taking))
    looked_at = case.asked_at(listing, "read depth")
    if listing is None or looked_at is None:
        return None
    if first.details["sender"] in (PLATFORM, OPERATOR) and first.at > looked_at:
        return Cause.DURING_RESEND
    message = first.details["message"]
    if case.deleted.get(message, taking.at) < looked_at:
        return Cause.PAUSED_WORKER
    depth = case.answers(listing, "read depth")[-1].details["depth"]
    seen = int(depth["ApproximateNumberOfMessages"]) + int(depth["ApproximateNumberOfMessagesDelayed"])
    held = int(depth["ApproximateNumberOfMessagesNotVisible"])
    return Cause.IN_FLIGHT if not seen and held <= _held_by_the_older_path(case, looked_at) else None


def _held_by_the_older_path(case: Case, at: float) -> int:
    """Return how many videos were at work under a claim without a lease, or were so within a minute."""
    found = 0
    for video, writes in case.writes.items():
        claims = [t for t in case.steps[video] if t["event"] == "claimed" and t["at"] < at]
        rows = [w.after for w in writes if w.at < at][-1:]
        rows += [w.before for w in writes if at - _RECENTLY_S < w.at < at + _RECENTLY_S]
        at_work = any(row is not None and row.status == "PROCESSING" for row in rows)
        found += bool(at_work and claims and claims[-1].get("manner") == "older")
    return found


def repeated(case: Case, video: int, first: Event, second: Event) -> Cause | None:
    """Return why one handoff sent two messages, by two invocations or one; None without a reason."""
    sender, again = first.details["sender"], second.details["sender"]
    ended = case.ended.get(sender)
    faults = ended.details["faults"] if ended else ["ended: die"]
    if sender == again and _calls_to_send(case, sender, video) == 1:
        return Cause.LOST_BY_SQS  # boto3 sent again
    if any(fault.endswith((": die", "out of time")) for fault in faults):
        return Cause.CRASH
    if any(fault.endswith(("lose the answer", "taken for dead")) for fault in faults):
        return Cause.LOST_BY_FUNCTION
    if sender != again and (ended is None or case.began[again].at < ended.at):
        return Cause.LOST_BY_FUNCTION  # the first was taken for dead
    if any(fault.endswith(("SQS answer lost", "SQS times out")) for fault in faults):
        return Cause.LOST_BY_SQS
    if _stayed_locked(case, sender, video):
        return Cause.LOCKED_ROW
    if ended is None or ended.details["error"] is None:
        return None
    return Cause.LOST_BY_POSTGRES if any(": cut" in fault for fault in faults) else Cause.FAILED_CALL


def _calls_to_send(case: Case, invocation: str, video: int) -> int:
    """Return how often an invocation set out to send a message for a video."""
    return sum(
        event.details["call"] == "send"
        and event.details["when"] == "before"
        and video in event.details["videos"]
        for event in case.calls[invocation]
    )


def _stayed_locked(case: Case, invocation: str, video: int) -> bool:
    """Return whether an invocation tried to clear a handoff several times, each time in vain."""
    cleared = [event.details["rows"] for event in case.answers(invocation, "clear handoffs")]
    left = [event.details["rows"] for event in case.answers(invocation, "read uncleared")]
    found = [(video,) in map(tuple, rows) for rows in left]
    return bool(found) and all(found) and (video,) not in map(tuple, cleared[-1])


def cleared_after_sending(case: Case) -> Findings:
    """A handoff ends only after SQS has accepted a message for it."""
    for video, index, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None or before.handoff_token is None:
            continue
        if after.status != "UPLOADED" or after.handoff_token is not None:
            continue
        taken = next((w for w in reversed(case.writes[video][:index]) if begins_handoff(w)), None)
        since = taken.at if taken else 0.0
        if not any(since < message.at < write.at for message in case.accepted[video]):
            yield video, write.at, f"no message since {since:.3f}: {write}"


def sent_once(case: Case) -> Findings:
    """A handoff sends one message, unless `repeated` names what came between sending and recording it."""
    for video, messages in case.accepted.items():
        ours = [m for m in messages if m.details["sender"] in case.began]
        for first, second in itertools.pairwise(ours):
            between = [w for w in case.writes[video] if first.at < w.at < second.at]
            if any(begins_handoff(w) or w.who == SAVE for w in between):  # a save brings a handoff back
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
                sent = message.details["sender"] == invocation
                if sent and message.details.get("delay_s", 0) * 1000 < left:
                    what = f"delayed by {message.details.get('delay_s', 0)} s, {left} ms were left"
                    yield video, message.at, what


def nothing_lost(case: Case) -> Findings:
    """At the end each video is READY, or FAILED with a reason, or has a message. For a run that has come to rest."""
    for video, writes in case.writes.items():
        last = writes[-1]
        row = last.after
        done = row is None or row.status == "READY" or (row.status == "FAILED" and row.error_reason)
        if not done and video not in case.waiting:
            yield video, last.at, f"it was left {last}"
