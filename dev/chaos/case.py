"""A history arranged for the rules: by video and by invocation."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dev.chaos.environment import Timing
from dev.chaos.history import PRODUCT, REDIS_FORGETS, Event, Row, Write

Findings = Iterator[tuple[int, float, str]]
"""What a rule yields for each violation: the video, when, and what was found."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken."""

    rule: str
    video: int  # 0 for a rule on the whole run
    at: float  # seconds since the epoch
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: video {self.video} at {self.at:.3f}: {self.what}"


class Case:
    """A history, arranged by video and by invocation, with the product's settings.

    Attributes:
        waiting: videos that have a message at the end.
        writes, accepted, steps: by video; ``steps`` are those that workers told.
        calls, faults, began, ended: by invocation; of the ``calls`` those that were answered.
        deleted: by message, when it had left the queue.
        gone: the same; as long as its worker lives, not before the claim.
        wiped: when Redis lost what it held.
    """

    def __init__(
        self, history: Sequence[Write | Event], timing: Timing, waiting: frozenset[int] = frozenset()
    ) -> None:
        self.history, self.timing, self.waiting = history, timing, waiting
        self.writes: dict[int, list[Write]] = defaultdict(list)
        self.accepted: dict[int, list[Event]] = defaultdict(list)
        self.steps: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.calls: dict[str, list[Event]] = defaultdict(list)
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.began: dict[str, Event] = {}
        self.ended: dict[str, Event] = {}
        self.deleted: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self.wiped: list[float] = []
        for one in history:
            if isinstance(one, Write):
                self.writes[one.video].append(one)
            else:
                self._arrange(one, one.details)

    def _arrange(self, event: Event, details: dict[str, Any]) -> None:
        if event.kind == "accepted":
            self.accepted[video_of(details["body"])].append(event)
        elif event.kind in ("deleted", "dead"):
            self.deleted[details["message"]] = self.gone[details["message"]] = event.at
        elif event.kind == "step" and "video" in details:
            self.steps[details["video"]].append({**details, "at": event.at})
            if details["event"] in ("claimed", "refused", "skipped") and details.get("message") in self.gone:
                self.gone[details["message"]] = event.at
        elif event.kind == "call" and details["when"] == "after":
            self.calls[details["invocation"]].append(event)
        elif event.kind == "fault" and "invocation" in details:
            self.faults[details["invocation"]].append(details["fault"])
        elif event.kind == "fault" and details["fault"] == REDIS_FORGETS:
            self.wiped.append(event.at)
        elif event.kind == "began":
            self.began[details["invocation"]] = event
        elif event.kind == "ended":
            self.ended[details["invocation"]] = event

    def by_product(self) -> Iterator[tuple[int, int, Write]]:
        """Yield the product's writes: video, index among the video's writes, write."""
        for video, writes in self.writes.items():
            yield from ((video, index, write) for index, write in enumerate(writes) if write.who == PRODUCT)

    def row(self, video: int, at: float) -> Row | None:
        """Return a video's row as it was at a time."""
        return next((write.after for write in reversed(self.writes[video]) if write.at < at), None)

    def answers(self, invocation: str, call: str) -> list[Event]:
        """Return the answers to an invocation's calls of this name."""
        return [event for event in self.calls[invocation] if event.details["call"] == call]

    def asked_at(self, invocation: str | None, call: str) -> float | None:
        """Return when an invocation last made a call that was answered; None if it never was.

        It is also when it was answered: nobody else acts meanwhile.
        """
        answers = self.answers(invocation, call) if invocation else []
        return answers[-1].at if answers else None

    def listing_of(self, invocation: str) -> str | None:
        """Return the listing that gave an invocation its videos: the last one of its execution before it."""
        began = self.began[invocation]
        listings = [
            name
            for name, event in self.began.items()
            if event.details["step"] == "ListStaleVideos"
            and event.details["event"]["execution"] == began.details["event"]["execution"]
            and name in self.ended
            and self.ended[name].at < began.at
        ]
        return listings[-1] if listings else None

    def given(self, invocation: str, name: str) -> list[Any]:
        """Return a list of the input of an invocation's execution."""
        return list(self.began[invocation].details["event"]["input"].get(name, []))

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


def story(case: Case, violation: Violation) -> list[str]:
    """Return what is known of one video in the 15 minutes before a violation and the minute after it, a line each."""
    lines = []
    for one in case.history:
        if not violation.at - 900 < one.at < violation.at + 60:
            continue
        if violation.video in (_videos_of(case, one) or [violation.video]):
            lines.append(str(one)[:300])
    return lines


def _videos_of(case: Case, one: Write | Event) -> list[int] | None:
    """Return the videos that a write or an event concerns; None for all."""
    if isinstance(one, Write):
        return [one.video]
    if "body" in one.details:
        return [video_of(one.details["body"])]
    if "video" in one.details:
        return [one.details["video"]]
    began = case.began.get(one.details.get("invocation", ""))
    return began.details["event"].get("videos") if began else None
