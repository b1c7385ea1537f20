"""A history arranged for the rules: by video and by invocation."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dev.chaos.environment import Timing
from dev.chaos.history import PRODUCT, Event, History, Row, Write

SAME_MOMENT_S = 0.01
"""Two times that differ by less may be one and the same: clocks and rounding."""

REDIS_FORGETS = ("Redis restarts empty", "Redis fails over")


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken."""

    rule: str  # the rule's name
    video: int  # the video's id; 0 for a rule on the whole run
    at: float  # when, seconds since the epoch
    what: str  # what was found

    def __str__(self) -> str:
        return f"{self.rule}: video {self.video} at {self.at:.3f}: {self.what}"


@dataclass
class Case:
    """A history, arranged by video and by invocation.

    Attributes:
        history: everything that was recorded.
        timing: the product's settings.
        waiting: videos that have a message at the end.
        writes, accepted, steps: by video; ``steps`` are those that workers told.
        gone: by message, when it had left the queue; as long as its worker lives, not before the claim.
        deleted: by message, when it had left the queue.
        takings: by video, the invocations that set out to take or quarantine it, with the moment.
        calls, faults, began, ended: by invocation.
        wiped: when Redis lost what it held.
    """

    history: History
    timing: Timing
    waiting: frozenset[int] = frozenset()
    writes: dict[int, list[Write]] = field(default_factory=lambda: defaultdict(list))
    accepted: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))
    steps: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    takings: dict[int, list[tuple[str, Event]]] = field(default_factory=lambda: defaultdict(list))
    calls: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    deleted: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    began: dict[str, Event] = field(default_factory=dict)
    ended: dict[str, Event] = field(default_factory=dict)
    wiped: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for write in self.history.writes:
            self.writes[write.video].append(write)
        for event in self.history.events:
            self._arrange(event)
        self.deleted = dict(self.gone)
        for told in self.history.workers:
            if "video" in told:
                self.steps[told["video"]].append(told)
            if told["event"] in ("claimed", "refused", "skipped") and told.get("message") in self.gone:
                self.gone[told["message"]] = max(self.gone[told["message"]], told["at"])

    def _arrange(self, event: Event) -> None:
        details = event.details
        if event.kind == "accepted":
            self.accepted[video_of(details["body"])].append(event)
        elif event.kind in ("deleted", "dead"):
            self.gone[details["message"]] = event.at
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
            for index, write in enumerate(writes):
                if write.who == PRODUCT:
                    yield video, index, write

    def answers(self, invocation: str, call: str) -> Iterator[Event]:
        """Yield the answers to an invocation's calls of this name."""
        return (
            e for e in self.calls[invocation] if e.details["call"] == call and e.details["when"] == "after"
        )

    def asked_at(self, invocation: str, call: str) -> float | None:
        """Return when an invocation last made a call that was answered; None if it never was."""
        asked, found = 0.0, None
        for event in self.calls[invocation]:
            if event.details["call"] == call:
                if event.details["when"] == "before":
                    asked = event.at
                else:
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

    def listing_of(self, invocation: str) -> str | None:
        """Return the listing that gave an invocation its videos: the last one of its execution before it."""
        began = self.began[invocation]
        found, found_at = None, 0.0
        for other, event in self.began.items():
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
        return max(
            (
                told["at"]
                for told in self.steps[video]
                if told["event"] == "beat" and told["at"] < before
                if (told["worker"], told.get("message")) in claimed
            ),
            default=0.0,
        )


def video_of(body: str) -> int:
    """Return the id of a message's video."""
    return int(json.loads(body)["video_id"])


def takes(write: Write) -> bool:
    """Return whether the product gave a video to a handoff of its own: reclaim, resend, adoption or release."""
    before, after = write.before, write.after
    if write.who != PRODUCT or before is None or after is None or after.handoff_token is None:
        return False
    return before.handoff_token != after.handoff_token


def begins_handoff(write: Write) -> bool:
    """Return whether this write began a handoff: `takes`, but not from an earlier handoff."""
    return takes(write) and write.before is not None and write.before.handoff_token is None


def resends(write: Write) -> bool:
    """Return whether this write of the product gave a waiting video to a handoff."""
    return begins_handoff(write) and write.before is not None and write.before.status == "UPLOADED"


def releases(write: Write) -> bool:
    """Return whether this write of the product gave a FAILED video to a handoff."""
    return begins_handoff(write) and write.before is not None and write.before.status == "FAILED"


def quarantines(write: Write) -> bool:
    """Return whether the product gave a video up."""
    return write.who == PRODUCT and write.after is not None and write.after.status == "FAILED"


def identity(row: Row | None) -> object:
    """Return what a wait depends on: status, claim and file."""
    if row is None:
        return None
    key = json.loads(row.rest).get("file_key")
    return row.status, row.leased_by, row.leased_until, row.processing_started_at, key


def story(case: Case, violation: Violation, *, before_s: float = 900.0, after_s: float = 60.0) -> list[str]:
    """Return everything known of one video around a violation, in order, a line each."""
    video = violation.video
    lines = [(write.at, str(write)) for write in case.writes[video]]
    for event in case.history.events:
        if _concerns(case, event, video):
            shown = {
                k: v for k, v in event.details.items() if k not in ("rows", "answers", "body", "commands")
            }
            lines.append((event.at, str(Event(event.at, event.kind, shown))[:300]))
    lines += [
        (told["at"], f"{told['at']:.3f} {told['worker']} {told['event']}") for told in case.steps[video]
    ]
    return [line for at, line in sorted(lines) if violation.at - before_s < at < violation.at + after_s]


def _concerns(case: Case, event: Event, video: int) -> bool:
    details = event.details
    if event.kind in ("accepted", "received", "deleted", "dead"):
        return video_of(details["body"]) == video
    if event.kind == "call":
        return video in case.began[details["invocation"]].details["event"].get("videos", ())
    if event.kind == "fault" and "invocation" not in details:
        return True
    return video in details.get("videos", ()) or video in details.get("event", {}).get("videos", ())
