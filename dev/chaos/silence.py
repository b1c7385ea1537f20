"""The rule on silence: a worker with a live lease loses its video only after two missed heartbeats."""

from collections.abc import Iterator, Sequence
from typing import Any

from dev.chaos import product
from dev.chaos.case import SAME_MOMENT_S, Case, Violation
from dev.chaos.history import Event, Write


def reclaimed_with_cause(case: Case) -> Iterator[Violation]:
    """Under a live lease a worker loses its video only after two misses that no heartbeat contradicts.

    The evidence is what Redis answered to the product, and the heartbeats that Redis had accepted from
    workers before.
    """
    for video, _, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None or before.status != "PROCESSING" or after.status == "PROCESSING":
            continue
        of_worker = not before.leased_by.startswith("reclaim:")
        expired = before.leased_until is not None and before.leased_until < write.transaction_at
        if of_worker and expired:
            continue
        what = _missing_cause(case, video, write)
        if what:
            yield Violation("reclaimed_with_cause", video, write.at, f"{what}: {write}")


def _missing_cause(case: Case, video: int, write: Write) -> str | None:
    """Return what is missing from the evidence for this write, or None."""
    invocation = _writer(case, video, write)
    if invocation is None:
        return "no call of the product explains it"
    answer = _redis_answer(case.calls[invocation], "read heartbeats and reclaims")
    if answer is None:
        return "Redis had not answered"
    asked_at, answered_at, answers = answer
    prefix = f":video:{video}:"
    if answers.get(f"{prefix}heartbeat") is not None:
        return "it had a heartbeat"
    silent_since = answered_at - case.beat_ttl_s
    confirm_s = case.timing.confirm_s
    if confirm_s:
        strike = answers.get(f"{prefix}silence")
        if strike is None:
            return "it had no strike"
        struck_at = float(strike.decode().split(" ")[0])
        age_s = _read_at(case.calls[invocation]) - struck_at
        if age_s < confirm_s - SAME_MOMENT_S:
            return f"its strike was {age_s:.3f} s old"
        first_answered_at = _first_answer(case, struck_at)
        if first_answered_at is None:
            return "no listing explains its first strike"
        silent_since = max(silent_since, first_answered_at)
    for beat in case.beats[video]:
        if (
            beat["began"] > silent_since
            and beat["at"] < asked_at
            and not _deleted(case, video, beat, asked_at)
        ):
            return f"{beat['worker']} had sent a heartbeat at {beat['at']:.3f}"
    return None


def _deleted(case: Case, video: int, beat: dict[str, Any], asked_at: float) -> bool:
    """Return whether a worker may have deleted a heartbeat before Redis was asked."""
    return any(end["at"] > beat["began"] and end["began"] < asked_at for end in case.beat_ends[video])


def _writer(case: Case, video: int, write: Write) -> str | None:
    """Return the invocation that made this write: the last one that set out to before it."""
    found = None
    for invocation, event in case.reclaims[video]:
        if event.at <= write.at + SAME_MOMENT_S:
            holder = event.details["parameters"].get("holder", "reclaim:")
            if write.after and write.after.leased_by in (holder, ""):
                found = invocation
    return found


def _read_at(calls: Sequence[Event]) -> float:
    """Return the database's time at which an invocation read its batch."""
    read = next(call for call in calls if call.details["call"] == "look" and "rows" in call.details)
    return float(read.details["rows"][0][product.NOW_S])


def _first_answer(case: Case, struck_at: float) -> float | None:
    """Return when the listing that recorded a strike had read the heartbeats."""
    listings = [name for at, name in case.listings if abs(at - struck_at) < SAME_MOMENT_S]
    answers = [_redis_answer(case.calls[name], "read heartbeats") for name in listings]
    return max((answer[1] for answer in answers if answer), default=None)


def _redis_answer(calls: Sequence[Event], call: str) -> tuple[float, float, dict[str, Any]] | None:
    """Return when Redis was asked, when it had answered, and the values by the end of their keys."""
    asked = 0.0
    answers: dict[str, Any] = {}
    answered = None
    for event in calls:
        if event.details["call"] != call:
            continue
        if event.details["when"] == "before":
            asked = event.at
            continue
        answered = event.at
        for command, answer in zip(event.details["commands"], event.details["answers"], strict=True):
            if command[0] == "MGET":
                for key, value in zip(command[1:], answer, strict=True):
                    answers[":video:" + str(key).split(":video:")[1]] = value
    return None if answered is None else (asked, answered, answers)
