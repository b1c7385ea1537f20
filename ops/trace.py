"""The trace of a video: one log line for each thing that happened to it, and sentences about it."""

import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby

import msgspec

from ops.durations import show_duration, show_time
from ops.executions import meaning
from video_reclaim.records import Malformed, from_json

DECIDED = ("reclaimed", "released", "quarantined", "refused")
"""Outcomes that answer the question why a video was touched; the others lead to one, or follow it."""


class TraceLine(msgspec.Struct, frozen=True):
    """One log line about one video, as the functions write it. None is unknown or does not apply.

    Attributes:
        timestamp: when it was written.
        message: the outcome, such as ``reclaimed``.
        video: id.
        execution: name of the execution.
        reason: value of a `Reason`.
        holder: ``leased_by`` as it was read; '' for nobody.
        lease: the lease as it was read, a row of PostgreSQL: ``(holder,until,started)``.
        silent_since: when the heartbeat was first found missing.
        waiting_since: when the video was first seen UPLOADED.
        queue_oldest_s: age of the oldest message in the queue, seconds.
        queue_empty_since: when the queue was first found empty, if every look since then found it so.
        delay_s: for how long SQS holds the message back, seconds.
        attempt: which attempt at this video it is.
        error: what PostgreSQL or SQS said.
    """

    timestamp: datetime
    message: str
    video: int
    execution: str = ""
    reason: str | None = None
    holder: str | None = None
    lease: str | None = None
    silent_since: datetime | None = None
    waiting_since: datetime | None = None
    queue_oldest_s: float | None = None
    queue_empty_since: datetime | None = None
    delay_s: int | None = None
    attempt: int | None = None
    error: str | None = None

    @property
    def lease_until(self) -> datetime | None:
        """End of the lease; None if there was none."""
        _, until, *_ = [*next(csv.reader([(self.lease or "").strip("()")]), []), "", ""]
        try:
            return datetime.fromisoformat(until).astimezone(UTC)
        except ValueError:
            return None


def read_trace(lines: Iterable[str]) -> list[TraceLine]:
    """Read log lines, oldest first. Lines that are not about one video are left out."""
    read = []
    for line in lines:
        try:
            read.append(from_json(line, TraceLine))
        except Malformed:
            continue
    return sorted(read, key=lambda line: line.timestamp)


def explain(line: TraceLine) -> str:
    """Return one sentence about what happened."""
    because = f": {meaning(line.reason)}" if line.reason else ""
    match line.message:
        case "reclaimed":
            sentence = f"Put back to work{because}"
        case "released":
            sentence = "Sent back to work by an operator, after its quarantine"
        case "quarantined":
            sentence = (
                f"Set to FAILED, because it had been reclaimed too often{because and f'; now{because}'}"
            )
        case "refused" if line.reason is None:  # of Enqueue; Reclaim's have a reason
            sentence = (
                "Its message was sent, but PostgreSQL refused to end its handoff: another one is sent when the "
                "handoff lease expires"
            )
        case "refused":
            sentence = "Not reclaimed: PostgreSQL refused to write its row"
        case "skipped":
            sentence = f"Left alone{because}"
        case "first miss":
            sentence = "Its heartbeat was missing for the first time"
        case "message lost":
            sentence = f"Found without a message{because}"
        case "enqueued" if line.delay_s:
            sentence = (
                f"Its message was sent to the queue, to be received after {line.delay_s} s: until then a retry "
                "of the platform makes workers ignore it"
            )
        case "enqueued":
            sentence = "Its message was sent to the queue"
        case "not enqueued":
            sentence = "Its message could not be sent to the queue"
        case other:
            sentence = f"{other}{because}"
    return f"{sentence} ({line.error})." if line.error else f"{sentence}."


def evidence(line: TraceLine) -> str:
    """Return what the line was based on, as it was read."""
    parts = []
    if line.holder is not None:
        parts.append(f"leased by {line.holder}" if line.holder else "leased by nobody")
    if line.lease_until is not None:
        parts.append(f"lease until {show_time(line.lease_until)}")
    for what, since in (
        ("silent", line.silent_since),
        ("waiting", line.waiting_since),
        ("queue empty", line.queue_empty_since),
    ):
        if since is not None:
            parts.append(f"{what} since {show_time(since)} ({show_duration(line.timestamp - since)})")
    if line.queue_oldest_s is not None:
        parts.append(f"oldest message {line.queue_oldest_s:.0f} s")
    if line.attempt is not None:
        parts.append(f"attempt {line.attempt}")
    return ", ".join(parts)


def answer(lines: Sequence[TraceLine]) -> list[TraceLine]:
    """Return the lines that say why a video was last touched: from the look that led to it to the end.

    These are the lines of the last execution that reclaimed, released or quarantined the video or was refused
    its row, and everything later. If no execution did, all lines.
    """
    decided = [line.execution for line in lines if line.message in DECIDED]
    if not decided:
        return list(lines)
    first = next(place for place, line in enumerate(lines) if line.execution == decided[-1])
    return list(lines[first:])


def repetitions(lines: Iterable[TraceLine]) -> list[tuple[TraceLine, int]]:
    """Return lines with the number of equal ones in a row, such as those of retries; the first stands for them."""
    grouped = groupby(lines, key=lambda line: (line.execution, explain(line), line.attempt))
    return [(rows[0], len(rows)) for rows in (list(group) for _, group in grouped)]


def still_quarantined(lines: Iterable[TraceLine]) -> list[TraceLine]:
    """Return for each video that was quarantined and not released since the line of its last quarantine."""
    last: dict[int, TraceLine] = {}
    for line in lines:
        if line.message == "quarantined":
            last[line.video] = line
        elif line.message == "released":
            last.pop(line.video, None)
    return sorted(last.values(), key=lambda line: line.timestamp)
