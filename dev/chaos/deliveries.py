"""The rules on messages: one for each reclaim, complete, and none lost."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from dev.chaos.case import Case, Violation, begins_handoff, releases
from dev.chaos.causes import repeated
from dev.chaos.evidence import answers
from dev.chaos.history import PRODUCT, Row, Write
from dev.chaos.queue import PLATFORM


def cleared_after_sending(case: Case) -> Iterator[Violation]:
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
            yield Violation(
                "cleared_after_sending", video, write.at, f"no message since {since:.3f}: {write}"
            )


def sent_once(case: Case) -> Iterator[Violation]:
    """A handoff sends one message, unless `repeated` names what came between sending and recording it."""
    for video, messages in case.accepted.items():
        ours = [m for m in messages if m.details["sender"] in case.began]
        for first, second in itertools.pairwise(ours):
            between = [w for w in case.writes[video] if first.at < w.at < second.at]
            if any(begins_handoff(w) for w in between):
                continue
            sender = first.details["sender"]
            if repeated(case, video, sender, second.details["sender"]):
                continue
            yield Violation("sent_once", video, second.at, f"{sender} had sent it at {first.at:.3f}")


def messages_complete(case: Case) -> Iterator[Violation]:
    """A message has the six fields that workers expect; ``attempt`` is at least 2, after a release 1."""
    fields = {"video_id", "file_key", "tenant_id", "tenant_code", "created_at", "attempt"}
    for video, messages in case.accepted.items():
        for message in messages:
            if message.details["sender"] not in case.began:
                continue
            body = json.loads(message.details["body"])
            offset = datetime.fromisoformat(body["created_at"]).utcoffset()
            handoff = next(
                (w for w in reversed(case.writes[video]) if w.at < message.at and begins_handoff(w)), None
            )
            least = 1 if handoff and releases(handoff) else 2
            if set(body) != fields or offset is None or body["attempt"] < least:
                yield Violation("messages_complete", video, message.at, str(body))


def not_sent_into_a_cancel(case: Case) -> Iterator[Violation]:
    """A message is delayed by what is left of the ``cancel_requested`` key that the function had read."""
    for invocation, calls in case.calls.items():
        left_ms: dict[int, int] = {}
        for event in answers(calls, "prepare jobs"):
            for command, answer in zip(event.details["commands"], event.details["answers"], strict=True):
                if command[0] == "PTTL":
                    left_ms[int(str(command[1]).split(":")[3])] = answer
        for video, left in left_ms.items():
            for message in case.accepted[video]:
                sent = message.details["sender"] == invocation
                if sent and message.details.get("delay_s", 0) * 1000 < left:
                    what = f"delayed by {message.details.get('delay_s', 0)} s, {left} ms were left"
                    yield Violation("not_sent_into_a_cancel", video, message.at, what)


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
        fate = f"its last message {_fate(case, video)}: " if _waits(row) else ""
        yield Violation("nothing_lost", video, last.at, f"{fate}it was left {last}")


def _waits(row: Row) -> bool:
    return row.status == "UPLOADED" and not row.handoff_token


def lost(case: Case) -> Counter[str]:
    """Count the videos that are UPLOADED without a message, by what became of their last message."""
    return Counter(f"the last message {fate}" for _, _, fate in _without_message(case))


def _without_message(case: Case) -> Iterator[tuple[int, Write, str]]:
    for video, writes in case.writes.items():
        row = writes[-1].after
        if row is None or not _waits(row) or video in case.waiting:
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
