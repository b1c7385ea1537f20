"""The rules on messages: one for each reclaim, complete, and none lost."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from dev.chaos.case import Case, Violation, takes_from_worker


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
            if sender == second.details["sender"] and _calls_to_send(case, sender, video) == 1:
                continue  # the answer came too late for boto3, which called again
            if case.failed(sender) or _overlap(case, sender, second.details["sender"]):
                continue
            yield Violation("sent_once", video, second.at, f"{sender} had sent it at {first.at:.3f}")


def _calls_to_send(case: Case, invocation: str, video: int) -> int:
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
        if row.status == "FAILED":
            if not row.error_reason:
                yield Violation("nothing_lost", video, last.at, f"FAILED without a reason: {last}")
            continue
        if dropped_by_worker(case, video) is None:
            yield Violation("nothing_lost", video, last.at, f"it was left {last}")


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
        if dropped_by_worker(case, video) and video not in case.waiting
    )
