"""The trace of a video: one log line for each thing that was found or done, and sentences about it."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from .executions import meaning
from .screen import show_duration, show_time

DECIDED = ("reclaimed", "released", "quarantined", "refused")
"""Outcomes that answer the question why a video was touched; the others lead to one, or follow it."""
STUCK = ("left alone", "skipped", "refused", "not enqueued")
"""Outcomes after which a video is as stuck as before."""
_OF_EVERY_LINE = ("level", "function_name", "function_request_id")
_SENTENCES = {
    "reclaimed": "Put back to work{because}",
    "released": "Sent back to work by an operator, after its quarantine",
    "quarantined": "Set to FAILED, because it had been reclaimed too often{because}",
    "refused": "Not reclaimed: PostgreSQL refused to write its row",
    "refused afterwards": "Its message was sent, but PostgreSQL refused to end its handoff: another one is sent when "
    "the handoff lease expires",
    "skipped": "Left alone when it was its turn{because}",
    "left alone": "Left alone{because}",
    "stale": "Found stale{because}",
    "enqueued": "Its message was sent to the queue{delay}",
    "not enqueued": "Its message could not be sent to the queue",
}
_DELAY = ", to be received after {} s, since a retry of the platform makes workers ignore it until then"


@dataclass(frozen=True)
class TraceLine:
    """One log line about one video, as the functions write it.

    ``message`` is the outcome, such as ``reclaimed``; ``look`` is the call of the function that wrote it; ``reason`` is
    the value of a `Reason`, and ``error`` what PostgreSQL or SQS said, both '' if there is none; ``evidence`` has all
    other fields by name: whose lease, since when something was seen, the attempt.
    """

    at: datetime
    message: str
    video: int
    execution: str = ""
    look: str = ""
    reason: str = ""
    error: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def since(self) -> datetime | None:
        """Since when what the line says was so, as far as it was seen; None if the line doesn't tell."""
        sinces = [value for name, value in self.evidence.items() if name.endswith("_since") and value]
        return datetime.fromisoformat(sinces[0]) if sinces else None

    @property
    def kind(self) -> str:
        """What tells it from others: the reason of a video that was left alone, and else the message."""
        return self.reason if self.message in ("left alone", "skipped") else self.message

    def shown(self) -> dict[str, Any]:
        """Return it as a part of a command's JSON."""
        fields = {name: value for name, value in vars(self).items() if name != "look"}
        return {**fields, "since": self.since, "text": explain(self), "seen": evidence(self)}


def read_trace(lines: Iterable[str]) -> list[TraceLine]:
    """Read log lines, oldest first. Lines that are not about one video are left out."""
    read = []
    for text in lines:
        try:
            line = json.loads(text)
            made = TraceLine(
                at=datetime.fromisoformat(line.pop("timestamp")),
                message=line.pop("message"),
                video=int(line.pop("video")),
                execution=line.pop("execution", ""),
                look=line.get("function_request_id", ""),
                reason=line.pop("reason", None) or "",
                error=line.pop("error", None) or "",
                evidence={name: value for name, value in line.items() if name not in _OF_EVERY_LINE},
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        read.append(made)
    return sorted(read, key=lambda line: line.at)


def explain(line: TraceLine) -> str:
    """Return one sentence about what happened."""
    of_enqueue = line.message == "refused" and not line.reason  # Reclaim's have a reason
    what = "refused afterwards" if of_enqueue else line.message
    sentence = _SENTENCES.get(what, f"{what}{{because}}")
    because = f": {meaning(line.reason)}" if line.reason else ""
    delay_s = line.evidence.get("delay_s")
    said = sentence.format(because=because, delay=_DELAY.format(delay_s) if delay_s else "")
    return f"{said} ({line.error})." if line.error else f"{said}."


def evidence(line: TraceLine) -> str:
    """Return what the line was based on, as it was read."""
    parts = []
    for name, value in line.evidence.items():
        what, _, kind = name.replace("_", " ").rpartition(" ")
        if value is None or name == "delay_s" or (name == "lease" and not lease_until(value)):
            continue
        if name == "holder":
            parts.append(f"leased by {value or 'nobody'}")
        elif name == "lease":
            parts.append(f"lease until {lease_until(value)}")
        elif kind == "since":
            at = datetime.fromisoformat(value)
            parts.append(f"{what} since {show_time(at)} ({show_duration(line.at - at)})")
        else:
            parts.append(f"{what} {value:.0f} s" if kind == "s" else f"{name.replace('_', ' ')} {value}")
    return ", ".join(parts)


def lease_until(lease: str) -> str:
    """Return the end of a lease, a row of PostgreSQL ``(holder,until,started)``; '' if there was none."""
    _, until, *_ = [*next(csv.reader([lease.strip("()")]), []), "", ""]
    try:
        return show_time(datetime.fromisoformat(until).astimezone(UTC))
    except ValueError:
        return ""


def answer_why(lines: Sequence[TraceLine]) -> list[TraceLine]:
    """Return the lines that say why a video was last touched: from the look that led to it to the end.

    These are the lines of the last execution that reclaimed, released or quarantined the video or was refused
    its row, and everything later. If no execution did, all lines.
    """
    decided = [line.execution for line in lines if line.message in DECIDED]
    first = next((n for n, line in enumerate(lines) if decided and line.execution == decided[-1]), 0)
    return list(lines[first:])


def repetitions(lines: Iterable[TraceLine]) -> list[list[TraceLine]]:
    """Put lines in a row that say the same together: those of retries, and of runs that left a video alone."""

    def same(line: TraceLine) -> tuple[object, ...]:
        run = "" if line.message == "left alone" else line.execution
        return run, explain(line), line.evidence.get("attempt")

    return [list(group) for _, group in groupby(lines, key=same)]


def still_quarantined(lines: Iterable[TraceLine]) -> list[TraceLine]:
    """Return for each video that was quarantined and not released since the line of its last quarantine."""
    last: dict[int, TraceLine] = {}
    for line in lines:
        if line.message == "quarantined":
            last[line.video] = line
        elif line.message == "released":
            last.pop(line.video, None)
    return sorted(last.values(), key=lambda line: line.at)


def left_alone(lines: Iterable[TraceLine], spared: Mapping[str, int] | None) -> list[TraceLine]:
    """Return the last word on each video that the execution of these lines left as stuck as it was.

    It may have looked twice, and only the second look counts. ``spared`` is what its record counts, None without one.
    """
    last: dict[int, TraceLine] = {}
    looks = [line.look for line in lines if line.message == "left alone"]
    for line in lines:
        if line.message != "left alone" or (
            line.look == looks[-1] and (spared is None or line.reason in spared)
        ):
            last[line.video] = line
    return [line for line in last.values() if line.message in STUCK]
