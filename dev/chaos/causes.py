"""Every cause of a second message for a video that has one already, and which of them explains a handoff's second one.

`docs/protocol.md` lists the same causes with the reason why each can't be avoided; a test compares the two.
"""

from enum import StrEnum

from dev.chaos import product
from dev.chaos.case import Case
from dev.chaos.evidence import answers


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
    RETRY_DURING_RESEND = "a resend, during which a user sent a message"
    PAUSED_WORKER = "a resend, while a worker paused between deleting a message and claiming its video"
    USER = "a user's retry or upload"
    REQUEUE = "a worker's requeue"


def repeated(case: Case, video: int, first: str, second: str) -> Cause | None:
    """Return why one handoff sent two messages, by two invocations or one; None without a reason."""
    ended = case.ended.get(first)
    faults = ended.details["faults"] if ended else ["dies"]
    if first == second and _calls_to_send(case, first, video) == 1:
        return Cause.LOST_BY_SQS  # boto3 sent again
    if any("dies" in fault or "out of time" in fault for fault in faults):
        return Cause.CRASH
    if any("answer is lost" in fault or "taken for dead" in fault for fault in faults):
        return Cause.LOST_BY_FUNCTION
    if _overlap(case, first, second):
        return Cause.LOST_BY_FUNCTION
    if any(fault.startswith("SQS") and ("lost" in fault or "times out" in fault) for fault in faults):
        return Cause.LOST_BY_SQS
    if _stayed_locked(case, first, video):
        return Cause.LOCKED_ROW
    if ended is None or ended.details["error"] is None:
        return None
    cut = any("cut" in fault or "ends a session" in fault for fault in faults)
    return Cause.LOST_BY_POSTGRES if cut else Cause.FAILED_CALL


def _calls_to_send(case: Case, invocation: str, video: int) -> int:
    """Return how often an invocation set out to send a message for a video."""
    return sum(
        event.details["call"] == "send"
        and event.details["when"] == "before"
        and video in event.details["videos"]
        for event in case.calls[invocation]
    )


def _overlap(case: Case, first: str, second: str) -> bool:
    """Return whether the second invocation began before the first ended: the first was taken for dead."""
    ended, began = case.ended.get(first), case.began[second]
    return first != second and (ended is None or began.at < ended.at)


def _stayed_locked(case: Case, invocation: str, video: int) -> bool:
    """Return whether an invocation tried to clear a handoff as often as it may, each time in vain."""
    cleared = [event.details["rows"] for event in answers(case.calls[invocation], "clear handoffs")]
    left = [event.details["rows"] for event in answers(case.calls[invocation], "read uncleared")]
    found = [(video,) in map(tuple, rows) for rows in left[1 - product.CLEARINGS :]]
    return len(found) == product.CLEARINGS - 1 and all(found) and (video,) not in map(tuple, cleared[-1])
