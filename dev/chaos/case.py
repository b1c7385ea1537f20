"""A history arranged for the rules: by video and by invocation."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dev.chaos import product
from dev.chaos.environment import Timing
from dev.chaos.history import PRODUCT, Event, History, Write

SAME_MOMENT_S = 0.002
"""Two times that differ by less may be one and the same: clocks and rounding."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken.

    Attributes:
        rule: the rule's name.
        video: the video's id; 0 for a rule on the whole run.
        at: when, seconds since the epoch.
        what: what was found.
    """

    rule: str
    video: int
    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: video {self.video} at {self.at:.3f}: {self.what}"


@dataclass
class Case:
    """A history, arranged by video and by invocation.

    Attributes:
        history: everything that was recorded.
        timing: the product's settings.
        beat_ttl_s: how long a heartbeat lasts.
        waiting: videos that have a message at the end.
        writes, accepted, beats, beat_ends, steps: by video; ``beat_ends`` are heartbeats deleted by workers,
            ``steps`` all else that workers did.
        deleted: by message, when it had left the queue.
        gone: the same; as long as its worker lives, not before the claim.
        last_steps: by worker, when it last told of a step.
        reclaims: by video, the invocations that set out to take or quarantine it.
        calls, faults, began, ended: by invocation.
        listings: each listing's database time, and its invocation.
    """

    history: History
    timing: Timing
    beat_ttl_s: float
    waiting: frozenset[int] = frozenset()
    writes: dict[int, list[Write]] = field(default_factory=lambda: defaultdict(list))
    accepted: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))
    beats: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    beat_ends: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    steps: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    reclaims: dict[int, list[tuple[str, Event]]] = field(default_factory=lambda: defaultdict(list))
    calls: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    deleted: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    last_steps: dict[str, float] = field(default_factory=dict)
    began: dict[str, Event] = field(default_factory=dict)
    ended: dict[str, Event] = field(default_factory=dict)
    listings: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for write in self.history.writes:
            self.writes[write.video].append(write)
        for event in self.history.events:
            self._arrange(event)
        self.deleted = dict(self.gone)
        for told in self.history.workers:
            self.last_steps[told["worker"]] = told["at"]
            if "video" not in told:
                continue
            kind = {"beat": self.beats, "beatDeleted": self.beat_ends}.get(told["event"], self.steps)
            kind[told["video"]].append(told)
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
                    self.reclaims[video].append((details["invocation"], event))
            if details["call"] == "list candidates" and details["when"] == "after":
                self.listings += [(row[product.NOW_S], details["invocation"]) for row in details["rows"][:1]]
        elif event.kind == "fault" and "invocation" in details:
            self.faults[details["invocation"]].append(event)
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

    def failed(self, invocation: str) -> bool:
        """Return whether a fault hit an invocation, or it ended in an error, or never ended."""
        ended = self.ended.get(invocation)
        return bool(self.faults.get(invocation)) or ended is None or ended.details["error"] is not None


def video_of(body: str) -> int:
    """Return the id of a message's video."""
    return int(json.loads(body)["video_id"])


def begins_handoff(write: Write) -> bool:
    """Return whether this write of the product began a handoff: a reclaim, a resend or a release."""
    return bool(
        write.who == PRODUCT
        and write.after
        and write.after.handoff_token
        and write.before
        and not write.before.handoff_token
    )


def takes_from_worker(write: Write) -> bool:
    """Return whether this write took a video from a worker and gave it to a handoff."""
    return bool(begins_handoff(write) and write.before and write.before.status == "PROCESSING")


def resends(write: Write) -> bool:
    """Return whether this write of the product gave a waiting video to a handoff, or quarantined it."""
    before = write.before
    return bool(
        write.who == PRODUCT
        and before
        and before.status == "UPLOADED"
        and not before.handoff_token
        and write.after
        and (write.after.handoff_token or write.after.status == "FAILED")
    )


def releases(write: Write) -> bool:
    """Return whether this write of the product gave a FAILED video to a handoff."""
    return bool(begins_handoff(write) and write.before and write.before.status == "FAILED")
