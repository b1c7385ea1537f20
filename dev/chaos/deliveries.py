"""The rules on messages: one for each reclaim, complete, and none lost."""

import itertools
import json
from collections.abc import Iterator
from datetime import datetime

from dev.chaos.case import Case, Violation, begins_handoff
from dev.chaos.duplicates import repeated
from dev.chaos.history import SAVE


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
            what = f"no message since {since:.3f}: {write}"
            yield Violation("cleared_after_sending", video, write.at, what)


def sent_once(case: Case) -> Iterator[Violation]:
    """A handoff sends one message, unless `repeated` names what came between sending and recording it."""
    for video, messages in case.accepted.items():
        ours = [m for m in messages if m.details["sender"] in case.began]
        for first, second in itertools.pairwise(ours):
            between = [w for w in case.writes[video] if first.at < w.at < second.at]
            if any(begins_handoff(w) or w.who == SAVE for w in between):  # a save brings a handoff back
                continue
            if not repeated(case, video, first, second):
                what = f"{first.details['sender']} had sent it at {first.at:.3f}"
                yield Violation("sent_once", video, second.at, what)


def messages_complete(case: Case) -> Iterator[Violation]:
    """A message has the six fields that workers expect."""
    fields = {"video_id", "file_key", "tenant_id", "tenant_code", "created_at", "attempt"}
    for video, messages in case.accepted.items():
        for message in messages:
            body = json.loads(message.details["body"])
            complete = (
                set(body) == fields and datetime.fromisoformat(body["created_at"]).utcoffset() is not None
            )
            if message.details["sender"] in case.began and not (complete and body["attempt"] >= 1):
                yield Violation("messages_complete", video, message.at, str(body))


def not_sent_into_a_cancel(case: Case) -> Iterator[Violation]:
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
                    yield Violation("not_sent_into_a_cancel", video, message.at, what)


def nothing_lost(case: Case) -> Iterator[Violation]:
    """At the end each video is READY, or FAILED with a reason, or has a message. For a run that has come to rest."""
    for video, writes in case.writes.items():
        last = writes[-1]
        row = last.after
        done = (
            row is None or row.status in ("READY", "PENDING") or (row.status == "FAILED" and row.error_reason)
        )
        if not done and video not in case.waiting:
            yield Violation("nothing_lost", video, last.at, f"it was left {last}")
