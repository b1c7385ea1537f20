"""The rules on messages: one for each reclaim, complete, and none lost."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from dev.chaos.case import Case, Violation, takes_from_worker
from dev.chaos.history import PRODUCT, Write
from dev.chaos.queue import PLATFORM


def cleared_after_sending(case: Case) -> Iterator[Violation]:
    """A handoff ends only after SQS has accepted a message for it."""
    for video, index, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None or before.handoff_token is None:
            continue
        if after.status != "UPLOADED" or after.handoff_token is not None:
            continue
        taken = next((w for w in reversed(case.writes[video][:index]) if takes_from_worker(w)), None)
        since = taken.at if taken else 0.0
        if not any(since < message.at < write.at for message in case.accepted[video]):
            yield Violation(
                "cleared_after_sending", video, write.at, f"no message since {since:.3f}: {write}"
            )


def sent_once(case: Case) -> Iterator[Violation]:
    """A reclaim sends one message, unless a fault came between sending and recording it."""
    for video, messages in case.accepted.items():
        ours = [m for m in messages if m.details["sender"] in case.began]
        for first, second in itertools.pairwise(ours):
            between = [w for w in case.writes[video] if first.at < w.at < second.at]
            if any(takes_from_worker(w) for w in between):
                continue
            sender = first.details["sender"]
            if sender == second.details["sender"] and calls_to_send(case, sender, video) == 1:
                continue  # the answer came too late for boto3, which called again
            if case.failed(sender) or overlap(case, sender, second.details["sender"]):
                continue
            yield Violation("sent_once", video, second.at, f"{sender} had sent it at {first.at:.3f}")


def calls_to_send(case: Case, invocation: str, video: int) -> int:
    """Return how often an invocation set out to send a message for a video."""
    return sum(
        event.details["call"] == "send"
        and event.details["when"] == "before"
        and video in event.details["videos"]
        for event in case.calls[invocation]
    )


def overlap(case: Case, first: str, second: str) -> bool:
    """Return whether the second invocation began before the first ended: the first was taken for dead."""
    ended, began = case.ended.get(first), case.began[second]
    return first != second and (ended is None or began.at < ended.at)


def messages_complete(case: Case) -> Iterator[Violation]:
    """A message has the six fields that workers expect, and ``attempt`` is at least 2."""
    fields = {"video_id", "file_key", "tenant_id", "tenant_code", "created_at", "attempt"}
    for video, messages in case.accepted.items():
        for message in messages:
            if message.details["sender"] not in case.began:
                continue
            body = json.loads(message.details["body"])
            offset = datetime.fromisoformat(body["created_at"]).utcoffset()
            if set(body) != fields or offset is None or body["attempt"] < 2:
                yield Violation("messages_complete", video, message.at, str(body))


def nothing_lost(case: Case) -> Iterator[Violation]:
    """At the end each video is READY, or FAILED with a reason, or has a message.

    For a run that has come to rest.
    """
    for video, writes in case.writes.items():
        last = writes[-1]
        row = last.after
        if row is None or row.status in ("READY", "PENDING") or video in case.waiting:
            continue
        if row.status == "UPLOADED" and row.handoff_token is None and not case.excuses_losses:
            continue  # `uploaded_has_message` reports it
        if row.status == "FAILED":
            if not row.error_reason:
                yield Violation("nothing_lost", video, last.at, f"FAILED without a reason: {last}")
            continue
        if dropped_by_worker(case, video) is None:
            yield Violation("nothing_lost", video, last.at, f"it was left {last}")


def uploaded_has_message(case: Case) -> Iterator[Violation]:
    """At the end each video that is UPLOADED has a message, whoever lost the one that it had.

    For a run that has come to rest; only where losses are not excused.
    """
    for video, last, fate in _without_message(case):
        yield Violation("uploaded_has_message", video, last.at, f"its last message {fate}: {last}")


def lost(case: Case) -> Counter[str]:
    """Count the videos that are UPLOADED without a message, by what became of their last message."""
    return Counter(f"the last message {fate}" for _, _, fate in _without_message(case))


def _without_message(case: Case) -> Iterator[tuple[int, Write, str]]:
    for video, writes in case.writes.items():
        row = writes[-1].after
        if row is None or row.status != "UPLOADED" or row.handoff_token or video in case.waiting:
            continue
        yield video, writes[-1], _fate(case, video)


def _fate(case: Case, video: int) -> str:
    """Return what became of a video's last message, in words."""
    if case.writes[video][-1].who not in (PRODUCT, PLATFORM):
        return "was older than a worker's taking by force, after which none was sent"
    if not case.accepted[video]:
        return "was never sent"
    message = case.accepted[video][-1].details["message"]
    if any(e.kind == "dead" and e.details["message"] == message for e in case.history.events):
        return "is in the dead-letter queue"
    last = ""
    for told in case.steps[video]:
        if told.get("message") == message and told["event"] not in ("deleted", "locked", "beatFailed"):
            last = told["event"]
    return {
        "": "was lost by a worker that died as it received",
        "received": "was lost by a worker that died before its claim",
        "skipped": "was deleted while cancel_requested was set",
        "stopped": "was worked on until cancel_requested stopped the encode",
        "refused": "was refused, and its video became UPLOADED later",
    }.get(last, f"ended with {last!r}, and its video became UPLOADED later")


def dropped_by_worker(case: Case, video: int) -> str | None:
    """Return the worker that was killed between deleting a video's last message and claiming the video.

    None if something else became of the video; then the product has to account for it.
    """
    writes = case.writes[video]
    row = writes[-1].after if writes else None
    if row is None or row.status != "UPLOADED" or row.leased_by or not case.accepted[video]:
        return None
    last_message = case.accepted[video][-1].details["message"]
    for told in case.steps[video]:
        if told["event"] == "received" and told["message"] == last_message:
            later = [t for t in case.steps[video] if t["worker"] == told["worker"] and t["at"] >= told["at"]]
            if told["worker"] in case.killed and not any(t["event"] in ("claimed", "refused") for t in later):
                return str(told["worker"])
    received = any(e.kind == "received" and e.details["message"] == last_message for e in case.history.events)
    told_of = any(t.get("message") == last_message for t in case.steps[video])
    # Killed between SQS's answer and its own first record: the message comes back after the time-out.
    return "a worker that was killed as it received" if received and not told_of else None


def excused(case: Case) -> Counter[str]:
    """Count the videos that the platform itself lost, by cause."""
    return Counter(
        "a worker was killed between deleting the message and claiming the video"
        for video in case.writes
        if case.excuses_losses and dropped_by_worker(case, video) and video not in case.waiting
    )
