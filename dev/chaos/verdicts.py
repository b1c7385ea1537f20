"""The rules on rows that must always hold, by name, and the search for violations in a history.

A violation is always the product's fault. What the platform itself gets wrong is recognized by evidence,
never assumed; `docs/worker-contract.md` explains each case:

- A message that a worker, a user or the queue loses is no fault, but the product has to send it again.
- A completion that is not fenced overwrites whatever the video has become, and so does a save of a whole row.
- An expired lease is the platform's own reason to reclaim, whether the worker lives or not.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise

from dev.chaos import product
from dev.chaos.case import (
    SAME_MOMENT_S,
    Case,
    Findings,
    Violation,
    begins_handoff,
    identity,
    quarantines,
    releases,
    resends,
    takes,
)
from dev.chaos.deliveries import (
    cleared_after_sending,
    duplicates_have_cause,
    not_sent_into_a_cancel,
    nothing_lost,
    sent_once,
)
from dev.chaos.history import SAVE, Row, Write

_BETWEEN_BEATS_S = 22
_READING_S = 2
"""So far apart may be the two readings from which the expiry of a heartbeat is known."""


def only_its_columns(case: Case) -> Findings:
    """The product writes status, leased_by, leased_until, and error_reason where it quarantines or releases."""
    for video, _, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None:
            yield video, write.at, f"inserted or deleted: {write}"
        elif before.rest != after.rest or before.processing_started_at != after.processing_started_at:
            yield video, write.at, f"{before.rest} became {after.rest}"
        elif before.error_reason != after.error_reason and "FAILED" not in (before.status, after.status):
            yield video, write.at, f"error_reason: {after.error_reason}"


def known_steps(case: Case) -> Findings:
    """The product reclaims, resends, releases, adopts, renews, clears and quarantines; nothing else."""
    for video, _, write in case.by_product():
        if write.before and write.after and not _known(write.before, write.after, write.at):
            yield video, write.at, str(write)


def _known(before: Row, after: Row, now: float) -> bool:
    old, new = before.handoff_token, after.handoff_token
    expired = before.leased_until is None or before.leased_until < now + SAME_MOMENT_S
    if new is not None:  # reclaimed, resent, released, renewed or adopted
        fresh = after.leased_until is not None and after.leased_until > now
        quarantined = before.status == "FAILED" and after.error_reason is None
        waiting = before.status == "UPLOADED" and old is None
        from_nobody = before.status == "PROCESSING" or waiting or quarantined
        return fresh and (from_nobody or old == new or (old is not None and expired))
    unleased = after.leased_by == "" and after.leased_until is None
    if after.status == "UPLOADED":
        return unleased and old is not None
    if after.status == "PROCESSING":  # cleared after a claim that sets no lease
        return unleased and before.status == "PROCESSING" and before.leased_by.startswith("reclaim:")
    return (
        after.status == "FAILED" and unleased and before.status == "PROCESSING" and bool(after.error_reason)
    )


def living_workers_keep_their_videos(case: Case) -> Findings:
    """A video whose heartbeat moves is not taken, in whatever status; the platform's rule on leases is excepted.

    A heartbeat that another worker or Redis has deleted doesn't protect what an operator releases.
    """
    for video, _, write in case.by_product():
        before = write.before
        if before is None or not (takes(write) or quarantines(write)) or _is_given_up(case, video, write):
            continue
        looked_at = case.asked_at(case.taker(video, write), "look")
        if looked_at is None:
            if before.status == "PROCESSING" or resends(write):
                yield video, write.at, f"Redis not read: {write}"
            continue
        beat = case.last_beat(video, looked_at)
        if looked_at - beat > case.timing.silent_after_s - _READING_S:
            continue
        if before.status == "FAILED" and _lost_since(case, video, beat, looked_at):
            continue
        yield video, write.at, f"a heartbeat {looked_at - beat:.1f} s before the look: {write}"


def _is_given_up(case: Case, video: int, write: Write) -> bool:
    """Return whether no heartbeat is asked: an expired lease, or an instance that was terminated."""
    before = write.before
    if before is None or before.status != "PROCESSING" or before.leased_by.startswith("reclaim:"):
        return False
    expired = before.leased_until is not None and before.leased_until < write.at
    if expired and case.timing.expired_but_beating == "reclaim":
        return True
    terminated = case.given(case.taker(video, write), "terminated")
    return any(before.leased_by.startswith(instance) for instance in terminated)


def _lost_since(case: Case, video: int, beat: float, looked_at: float) -> bool:
    deleted = any(
        told["event"] == "beatDeleted" and told["at"] > beat and told["began"] < looked_at
        for told in case.steps[video]
    )
    return deleted or any(beat < at < looked_at for at in case.wiped)


def mass_silence_waits(case: Case) -> Findings:
    """While most workers are silent, silence counts only after the longer time."""
    for video, _, write in case.by_product():
        before = write.before
        if before is None or before.status != "PROCESSING" or not (takes(write) or quarantines(write)):
            continue
        looked_at = case.asked_at(case.listing_of(case.taker(video, write)), "look")
        if looked_at is None or _is_given_up(case, video, write):
            continue
        silent_s = looked_at - _moved_at(case, video, looked_at)
        if silent_s < case.timing.mass_silence_s and _most_are_silent(case, looked_at):
            yield video, write.at, f"silent for {silent_s:.1f} s, like most others: {write}"


def _moved_at(case: Case, video: int, before: float) -> float:
    """Return when anybody last changed what is seen of a video."""
    writes = (w for w in case.writes[video] if w.at < before and identity(w.before) != identity(w.after))
    beats = (told["at"] for told in case.steps[video] if told["event"] in ("beat", "beatDeleted"))
    return max((*(write.at for write in writes), *(at for at in beats if at < before)), default=0.0)


def _most_are_silent(case: Case, looked_at: float) -> bool:
    """Return whether the listing must have found most workers silent: by what an earlier look had recorded.

    Unless another listing wrote later what it had seen before that look: then those that have died since begin anew.
    """
    written = [
        (at, max(event.at for event in case.answers(name, "remember")))
        for name, began in case.began.items()
        if began.details["step"] == "ListStaleVideos" and any(case.answers(name, "remember"))
        if (at := case.asked_at(name, "look")) is not None
    ]
    last = max((at for at, _ in written if at <= looked_at - _BETWEEN_BEATS_S), default=None)
    if last is None or any(last < at < looked_at for at in case.wiped):
        return False
    if any(at < last < written_at < looked_at for at, written_at in written):
        return False
    silent = heard = 0
    for video, writes in case.writes.items():
        row = next((w.after for w in reversed(writes) if w.at < looked_at), None)
        if row is None or row.status != "PROCESSING" or (row.leased_until or looked_at) < looked_at:
            continue
        quiet = _moved_at(case, video, looked_at) < last
        silent, heard = silent + quiet, heard + (not quiet)
    return silent >= 3 and silent > heard


def resent_after_waiting(case: Case) -> Findings:
    """A waiting video is sent again only after it has waited unchanged for long enough."""
    for video, index, write in case.by_product():
        read_at = case.asked_at(case.taker(video, write), "read videos")
        if not resends(write) or read_at is None:
            continue
        for earlier in case.writes[video][:index]:
            changed = identity(earlier.before) != identity(earlier.after)
            if changed and read_at - earlier.at < case.timing.lost_after_s - SAME_MOMENT_S:
                yield video, write.at, f"{earlier}, then {write}"


def released_on_request(case: Case) -> Findings:
    """A FAILED video is taken only if the product quarantined it and the execution's input names it."""
    for video, _, write in case.by_product():
        if releases(write) and write.before is not None:
            quarantined = (write.before.error_reason or "").startswith(product.QUARANTINE_REASON)
            if not quarantined or video not in case.given(case.taker(video, write), "release"):
                yield video, write.at, str(write)


def one_owner(case: Case) -> Findings:
    """A claim finds the video UPLOADED, and each write finds what the one before it left."""
    for video, writes in case.writes.items():
        for earlier, later in pairwise(writes):
            if later.before != earlier.after:
                yield video, later.at, f"{earlier} is not what {later} found"
        for write in writes:
            before, after = write.before, write.after
            if before is None or after is None or after.status != "PROCESSING" or write.who == SAVE:
                continue
            if before.processing_started_at != after.processing_started_at and before.status != "UPLOADED":
                yield video, write.at, str(write)


def quarantined_after_reclaims(case: Case) -> Findings:
    """An upload is quarantined only after more reclaims than the limit; a fault may count as one of them."""
    for video, index, write in case.by_product():
        if not quarantines(write) or write.after is None:
            continue
        limit, reason = case.timing.max_reclaims, write.after.error_reason or ""
        if limit == 0 or not reason.startswith(product.QUARANTINE_REASON):
            yield video, write.at, f"limit {limit}: {reason!r}"
            continue
        real = sum(_counts(w, write) for w in case.writes[video][:index])
        faulty = {
            began.details["event"]["execution"]
            for invocation, began in case.began.items()
            if began.details["step"] == "Reclaim" and began.at < write.at
            if video in began.details["event"]["videos"] and case.failed(invocation)
        }
        if real + len(faulty) < limit:
            yield video, write.at, f"after {real} reclaims: {reason}"


def _counts(write: Write, quarantine: Write) -> bool:
    """Return whether a write was a reclaim from a worker, of the upload that was quarantined later."""
    return begins_handoff(write, "PROCESSING") and _upload(write) == _upload(quarantine)


def _upload(write: Write) -> object:
    return json.loads(write.after.rest).get("file_key") if write.after else None


Rule = Callable[[Case], Findings]
RULES: tuple[Rule, ...] = (
    only_its_columns,
    known_steps,
    living_workers_keep_their_videos,
    mass_silence_waits,
    resent_after_waiting,
    released_on_request,
    cleared_after_sending,
    sent_once,
    duplicates_have_cause,
    one_owner,
    quarantined_after_reclaims,
    not_sent_into_a_cancel,
    nothing_lost,
)


def violations(case: Case, rules: Iterable[Rule] = RULES) -> list[Violation]:
    """Return every violation of a rule, in the order of time; what was lost, which often follows, comes last."""
    found = [Violation(rule.__name__, *finding) for rule in rules for finding in rule(case)]
    return sorted(found, key=lambda v: (v.rule == nothing_lost.__name__, v.at))


def steps(case: Case) -> Counter[str]:
    """Count the product's writes by what they did."""
    return Counter(_step(write) for _, _, write in case.by_product())


def _step(write: Write) -> str:
    before, after = write.before, write.after
    if begins_handoff(write):
        status = before.status if before else ""
        return {"PROCESSING": "reclaims", "UPLOADED": "resends"}.get(status, "releases")
    if after and after.handoff_token:
        return "adoptions" if takes(write) else "renewals"
    return "quarantined" if quarantines(write) else "handoffs cleared"
