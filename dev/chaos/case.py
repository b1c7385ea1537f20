"""A history arranged for the rules: by video and by invocation."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dev.chaos.environment import Timing
from dev.chaos.history import PRODUCT, Event, History, Row, Write

SAME_MOMENT_S = 0.01
"""Two times that differ by less may be one and the same: clocks and rounding."""

REDIS_FORGETS = ("Redis restarts empty", "Redis fails over")


Findings = Iterator[tuple[int, float, str]]
"""What a rule yields for each violation: the video, when, and what was found."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken."""

    rule: str  # the rule's name
    video: int  # the video's id; 0 for a rule on the whole run
    at: float  # when, seconds since the epoch
    what: str  # what was found

    def __str__(self) -> str:
        return f"{self.rule}: video {self.video} at {self.at:.3f}: {self.what}"


class Case:
    """A history, arranged by video and by invocation, with the product's settings.

    Attributes:
        waiting: videos that have a message at the end.
        writes, accepted, steps: by video; ``steps`` are those that workers told.
        takings: by video, the invocations that set out to take or quarantine it, with the moment.
        calls, faults, began, ended: by invocation.
        deleted: by message, when it had left the queue.
        gone: the same; as long as its worker lives, not before the claim.
        wiped: when Redis lost what it held.
    """

    def __init__(self, history: History, timing: Timing, waiting: frozenset[int] = frozenset()) -> None:
        self.history, self.timing, self.waiting = history, timing, waiting
        self.writes: dict[int, list[Write]] = defaultdict(list)
        self.accepted: dict[int, list[Event]] = defaultdict(list)
        self.steps: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.takings: dict[int, list[tuple[str, Event]]] = defaultdict(list)
        self.calls: dict[str, list[Event]] = defaultdict(list)
        self.faults: dict[str, list[Event]] = defaultdict(list)
        self.began: dict[str, Event] = {}
        self.ended: dict[str, Event] = {}
        self.deleted: dict[str, float] = {}
        self.wiped: list[float] = []
        for write in self.history.writes:
            self.writes[write.video].append(write)
        for event in self.history.events:
            self._arrange(event, event.details)
        self.gone = dict(self.deleted)
        for told in self.history.workers:
            if "video" in told:
                self.steps[told["video"]].append(told)
            if told["event"] in ("claimed", "refused", "skipped") and told.get("message") in self.gone:
                self.gone[told["message"]] = max(self.gone[told["message"]], told["at"])

    def _arrange(self, event: Event, details: dict[str, Any]) -> None:
        if event.kind == "accepted":
            self.accepted[video_of(details["body"])].append(event)
        elif event.kind in ("deleted", "dead"):
            self.deleted[details["message"]] = event.at
        elif event.kind == "call":
            self.calls[details["invocation"]].append(event)
            if details["call"] in ("lease for handoff", "quarantine") and details["when"] == "before":
                for video in map(int, json.loads(details["parameters"]["rows"])):
                    self.takings[video].append((details["invocation"], event))
        elif event.kind == "fault" and "invocation" in details:
            self.faults[details["invocation"]].append(event)
        elif event.kind == "fault" and details["fault"] in REDIS_FORGETS:
            self.wiped.append(event.at)
        elif event.kind == "began":
            self.began[details["invocation"]] = event
        elif event.kind == "ended":
            self.ended[details["invocation"]] = event

    def by_product(self) -> Iterator[tuple[int, int, Write]]:
        """Yield the product's writes: video, index among the video's writes, write."""
        for video, writes in self.writes.items():
            yield from ((video, index, write) for index, write in enumerate(writes) if write.who == PRODUCT)

    def answers(self, invocation: str, call: str) -> list[Event]:
        """Return the answers to an invocation's calls of this name."""
        calls = (event for event in self.calls[invocation] if event.details["call"] == call)
        return [event for event in calls if event.details["when"] == "after"]

    def asked_at(self, invocation: str | None, call: str) -> float | None:
        """Return when an invocation last made a call that was answered; None if it never was."""
        asked, found = 0.0, None
        for event in self.calls[invocation] if invocation else ():
            if event.details["call"] == call and event.details["when"] == "before":
                asked = event.at
            elif event.details["call"] == call:
                found = asked
        return found

    def taker(self, video: int, write: Write) -> str | None:
        """Return the invocation that made this write: the last one that set out to before it."""
        found = None
        for invocation, event in self.takings[video]:
            if event.at <= write.at + SAME_MOMENT_S:
                holder = event.details["parameters"].get("holder", "")  # none where it quarantines
                if write.after and write.after.leased_by == holder:
                    found = invocation
        return found

    def listing_of(self, invocation: str | None) -> str | None:
        """Return the listing that gave an invocation its videos: the last one of its execution before it."""
        found, found_at = None, 0.0
        for other, event in self.began.items() if invocation else ():
            began = self.began[invocation or ""]
            same = event.details["event"].get("execution") == began.details["event"]["execution"]
            lists = same and event.details["step"] == "ListStaleVideos" and found_at < event.at
            if lists and other in self.ended and self.ended[other].at < began.at:
                found, found_at = other, event.at
        return found

    def given(self, invocation: str | None, name: str) -> list[Any]:
        """Return a list of the input of an invocation's execution."""
        return list(self.began[invocation].details["event"]["input"].get(name, [])) if invocation else []

    def failed(self, invocation: str) -> bool:
        """Return whether a fault hit an invocation, or it ended in an error, or never ended."""
        ended = self.ended.get(invocation)
        return bool(self.faults.get(invocation)) or ended is None or ended.details["error"] is not None

    def last_beat(self, video: int, before: float) -> float:
        """Return when Redis last accepted a heartbeat of a worker that had claimed a video; 0 for never.

        One whose claim is refused beats too, and deletes that heartbeat at once.
        """
        claimed = {(t["worker"], t.get("message")) for t in self.steps[video] if t["event"] == "claimed"}
        beats = (t for t in self.steps[video] if t["event"] == "beat" and t["at"] < before)
        return max((t["at"] for t in beats if (t["worker"], t.get("message")) in claimed), default=0.0)


def video_of(body: str) -> int:
    """Return the id of a message's video."""
    return int(json.loads(body)["video_id"])


def takes(write: Write) -> bool:
    """Return whether the product gave a video to a handoff of its own: reclaim, resend, adoption or release."""
    before, after = write.before, write.after
    if write.who != PRODUCT or before is None or after is None or after.handoff_token is None:
        return False
    return before.handoff_token != after.handoff_token


def begins_handoff(write: Write, status: str | None = None) -> bool:
    """Return whether this write began a handoff, if given from this status: `takes`, but not from another handoff."""
    before = write.before
    return (
        takes(write) and before is not None and not before.handoff_token and status in (None, before.status)
    )


def resends(write: Write) -> bool:
    """Return whether this write of the product gave a waiting video to a handoff."""
    return begins_handoff(write, "UPLOADED")


def releases(write: Write) -> bool:
    """Return whether this write of the product gave a FAILED video to a handoff."""
    return begins_handoff(write, "FAILED")


def quarantines(write: Write) -> bool:
    """Return whether the product gave a video up."""
    return write.who == PRODUCT and write.after is not None and write.after.status == "FAILED"


def identity(row: Row | None) -> object:
    """Return what a wait depends on: status, claim and file."""
    if row is None:
        return None
    key = json.loads(row.rest).get("file_key")
    return row.status, row.leased_by, row.leased_until, row.processing_started_at, key


def story(case: Case, violation: Violation) -> list[str]:
    """Return what is known of one video in the 15 minutes before a violation and the minute after it, a line each."""
    video = violation.video
    lines = [(write.at, str(write)) for write in case.writes[video]]
    lines += [
        (told["at"], f"{told['at']:.3f} {told['worker']} {told['event']}") for told in case.steps[video]
    ]
    for event in case.history.events:
        hidden = ("rows", "answers", "body", "commands")
        shown = {name: value for name, value in event.details.items() if name not in hidden}
        began = case.began.get(event.details.get("invocation", ""))
        videos = began.details["event"].get("videos") if began else None
        if "body" in event.details:
            videos = [video_of(event.details["body"])]
        if videos is None or video in videos:
            lines.append((event.at, f"{event.at:.3f} {event.kind} {shown}"[:300]))
    return [line for at, line in sorted(lines) if violation.at - 900 < at < violation.at + 60]
