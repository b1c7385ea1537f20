"""The rule on silence: when a worker with a live lease loses its video."""

from collections.abc import Iterator

from dev.chaos import product
from dev.chaos.case import SAME_MOMENT_S, Case, Violation
from dev.chaos.evidence import RedisAnswer, answers, database_time, listing_before, redis_answer, writer
from dev.chaos.history import Write

_GONE = "gone "


def reclaimed_with_cause(case: Case) -> Iterator[Violation]:
    """Under a live lease a worker loses its video only after credible silence.

    Credible is silence in a Redis that holds the mark, missed twice with no heartbeat in between, and for
    longer when nobody is heard; or missed once, when the group had said that the worker's instance is gone.
    The evidence is what Redis and the group answered to the product, and the heartbeats that Redis had
    accepted from workers before.
    """
    for video, index, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None or before.status != "PROCESSING" or after.status == "PROCESSING":
            continue
        of_worker = not before.leased_by.startswith("reclaim:")
        expired = before.leased_until is not None and before.leased_until < write.transaction_at
        if of_worker and expired:
            continue
        what = _missing_cause(case, video, index, write)
        if what:
            yield Violation("reclaimed_with_cause", video, write.at, f"{what}: {write}")


def _missing_cause(case: Case, video: int, index: int, write: Write) -> str | None:
    """Return what is missing from the evidence for this write, or None."""
    invocation = writer(case, video, write)
    if invocation is None:
        return "no call of the product explains it"
    answer = redis_answer(case.calls[invocation], "read heartbeats and reclaims")
    if answer is None:
        return "Redis had not answered"
    if answer.heartbeat(video):
        return "it had a heartbeat"
    heard = any(value for key, value in answer.values.items() if key.endswith(":heartbeat"))
    if not answer.seen and not heard:
        return "Redis held no mark that a heartbeat was once seen in it"
    silent_since = answer.answered_at - case.beat_ttl_s
    if case.timing.confirm_s:
        strike = answer.values.get(f":video:{video}:silence")
        if strike is None:
            return "it had no strike"
        at, _, lease = strike.decode().partition(" ")
        if lease.startswith(_GONE):
            return _not_gone(case, video, index, answer)
        what = _too_young(case, invocation, float(at))
        if what:
            return what
        first_answered_at = _first_answer(case, float(at))
        if first_answered_at is None:
            return "no listing explains its first strike"
        silent_since = max(silent_since, first_answered_at)
    return _contradicted(case, video, silent_since, answer)


def _too_young(case: Case, invocation: str, struck_at: float) -> str | None:
    """Return what is missing from the age of a strike, or None."""
    read_at = database_time(case.calls[invocation], "read videos")
    age_s = (read_at or 0.0) - struck_at
    if age_s < case.timing.confirm_s - SAME_MOMENT_S:
        return f"its strike was {age_s:.3f} s old"
    listing = listing_before(case, invocation)
    if listing is None:
        return "no listing of its execution explains it"
    listed_at = database_time(case.calls[listing], "list candidates") or 0.0
    if _nobody_heard(case, listing) and listed_at - struck_at < case.timing.mass_silence_s - SAME_MOMENT_S:
        return f"nobody was heard, and its strike was {listed_at - struck_at:.3f} s old"
    return None


def _nobody_heard(case: Case, listing: str) -> bool:
    """Return whether a listing heard none of at least five workers with a live lease."""
    answer = redis_answer(case.calls[listing], "read heartbeats")
    silent = set()
    for event in answers(case.calls[listing], "list candidates"):
        for row in event.details["rows"]:
            if row[product.STATUS] != "PROCESSING" or row[product.TENANT] is None or row[product.EXPIRED]:
                continue
            if answer and answer.heartbeat(row[product.ID]):
                return False
            if row[product.LEASED_BY]:
                silent.add(row[product.LEASED_BY])
    return len(silent) >= product.MASS


def _not_gone(case: Case, video: int, index: int, answer: RedisAnswer) -> str | None:
    """Return what contradicts that the instance of the worker that held the video was gone, or None."""
    claims = (w for w in reversed(case.writes[video][:index]) if w.after and w.after.status == "PROCESSING")
    holder = next((w.who for w in claims if w.before and w.before.status == "UPLOADED"), "")
    told_at = _told_gone(case, holder, answer.asked_at)
    if told_at is None:
        return f"the group had not said that {holder} is gone"
    if case.last_steps.get(holder, 0.0) > told_at:
        return f"{holder} lived on after the group had said that it is gone"
    return None


def _told_gone(case: Case, worker: str, before: float) -> float | None:
    """Return when the group first answered without the instance of a worker, after the worker's last step."""
    instance = product.instance_of(worker)
    if instance is None:
        return None
    for listing in case.listings:
        for event in answers(case.calls[listing[1]], "read group"):
            group = event.details["answer"]
            alive_until = case.last_steps.get(worker, 0.0)
            if group is not None and instance not in group and alive_until < event.at < before:
                return event.at
    return None


def _contradicted(case: Case, video: int, silent_since: float, answer: RedisAnswer) -> str | None:
    """Return the heartbeat that contradicts silence, or None."""
    for beat in case.beats[video]:
        in_between = beat["began"] > silent_since and beat["at"] < answer.asked_at
        if in_between and not _deleted(case, video, beat["began"], answer.asked_at):
            return f"{beat['worker']} had sent a heartbeat at {beat['at']:.3f}"
    return None


def _deleted(case: Case, video: int, began: float, asked_at: float) -> bool:
    """Return whether a worker may have deleted a heartbeat before Redis was asked."""
    return any(end["at"] > began and end["began"] < asked_at for end in case.beat_ends[video])


def _first_answer(case: Case, struck_at: float) -> float | None:
    """Return when the listing that recorded a strike had read the heartbeats."""
    listings = [name for at, name in case.listings if abs(at - struck_at) < SAME_MOMENT_S]
    found = [redis_answer(case.calls[name], "read heartbeats") for name in listings]
    return max((answer.answered_at for answer in found if answer), default=None)
