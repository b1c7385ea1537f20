"""What the product had been told before it wrote: the calls of an invocation and of its execution's listing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dev.chaos import product
from dev.chaos.case import SAME_MOMENT_S, Case
from dev.chaos.history import Event, Write


@dataclass(slots=True)
class RedisAnswer:
    """What Redis answered to one call of an invocation.

    Attributes:
        asked_at: when it was asked.
        answered_at: when it had answered.
        values: by the end of the key, from ``:video:`` on.
        seen: it held the mark that a heartbeat was once seen in it.
    """

    asked_at: float
    answered_at: float
    values: dict[str, Any] = field(default_factory=dict)
    seen: bool = False

    def heartbeat(self, video: int) -> bool:
        """Return whether it had a heartbeat of a video."""
        return self.values.get(f":video:{video}:heartbeat") is not None


def redis_answer(calls: Sequence[Event], call: str) -> RedisAnswer | None:
    """Return the answer to a call; None if there was none. Of several calls of this name, the last counts."""
    asked, found = 0.0, None
    for event in calls:
        if event.details["call"] != call:
            continue
        if event.details["when"] == "before":
            asked = event.at
            continue
        found = found or RedisAnswer(asked, event.at)
        found.asked_at, found.answered_at = asked, event.at
        for command, answer in zip(event.details["commands"], event.details["answers"], strict=True):
            if command[0] == "MGET":
                for key, value in zip(command[1:], answer, strict=True):
                    found.values[":video:" + str(key).split(":video:")[1]] = value
            elif command[-1] == product.HEARTBEAT_SEEN_KEY:
                found.seen = answer >= 0 if command[0] == "TTL" else bool(answer)
    return found


def answers(calls: Sequence[Event], call: str) -> Iterator[Event]:
    """Yield the answers to the calls of this name."""
    return (e for e in calls if e.details["call"] == call and e.details["when"] == "after")


def writer(case: Case, video: int, write: Write) -> str | None:
    """Return the invocation that made this write: the last one that set out to before it."""
    found = None
    for invocation, event in case.reclaims[video]:
        if event.at <= write.at + SAME_MOMENT_S:
            holder = event.details["parameters"].get("holder", "")  # none where it quarantines
            if write.after and write.after.leased_by == holder:
                found = invocation
    return found


def listing_before(case: Case, invocation: str) -> str | None:
    """Return the listing that gave an invocation its videos: the last one of its execution before it."""
    began = case.began[invocation]
    execution = began.details["event"]["execution"]
    found, found_at = None, 0.0
    for other, event in case.began.items():
        details = event.details
        if details["step"] != "ListStaleVideos" or details["event"]["execution"] != execution:
            continue
        if found_at < event.at < began.at and other in case.ended and case.ended[other].at < began.at:
            found, found_at = other, event.at
    return found


def database_time(calls: Sequence[Event], statement: str) -> float | None:
    """Return the database's clock as a statement read it; None if it returned no row."""
    for event in answers(calls, statement):
        if event.details.get("rows"):
            return float(event.details["rows"][0][product.NOW_S])
    return None
