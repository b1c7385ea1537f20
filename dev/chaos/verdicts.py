"""The rules on rows that must always hold, by name, and the search for violations in a history.

A violation is always the product's fault. What the platform itself gets wrong is recognized by evidence,
never assumed; `docs/worker-contract.md` explains each case:

- A message that a worker, a user or the queue loses is no fault, but the product has to send it again.
- A completion that is not fenced overwrites whatever the video has become, and so does a save of a whole row.
- An expired lease is the platform's own reason to reclaim, whether the worker lives or not.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from dev.chaos import product
from dev.chaos.case import Case, Findings, Violation
from dev.chaos.deliveries import (
    cleared_after_sending,
    duplicates_have_cause,
    not_sent_into_a_cancel,
    nothing_lost,
    sent_once,
)
from dev.chaos.history import TAKES, Row, Write

_READING_S = 2
"""So far apart may be the two readings from which the expiry of a heartbeat is known."""
_ROUNDING_S = 0.01


def known_steps(case: Case) -> Findings:
    """The product reclaims, resends, releases, adopts, renews, clears and quarantines; nothing else.

    It writes status, leased_by, leased_until, and error_reason where it quarantines or releases.
    """
    for video, _, write in case.by_product():
        if not (write.before and write.after and _known(write.before, write.after, write.at)):
            yield video, write.at, str(write)


def _known(before: Row, after: Row, now: float) -> bool:
    same = replace(after, status=before.status, leased_by=before.leased_by, leased_until=before.leased_until)
    if "FAILED" in (before.status, after.status):
        same = replace(same, error_reason=before.error_reason)
    if same != before:
        return False
    old, new = before.handoff_token, after.handoff_token
    if new is not None:  # reclaimed, resent, released, renewed or adopted
        fresh = after.leased_until is not None and after.leased_until > now
        expired = before.leased_until is None or before.leased_until < now
        quarantined = before.status == "FAILED" and after.error_reason is None
        waiting = before.status == "UPLOADED" and old is None
        from_nobody = before.status == "PROCESSING" or waiting or quarantined
        return fresh and (from_nobody or old == new or (old is not None and expired))
    if after.leased_by or after.leased_until is not None:
        return False
    if after.status == "UPLOADED":
        return old is not None
    if after.status == "PROCESSING":  # cleared after a claim that sets no lease
        return before.status == "PROCESSING" and before.leased_by.startswith("reclaim:")
    return after.status == "FAILED" and before.status == "PROCESSING" and bool(after.error_reason)


def _taken(case: Case) -> Iterator[tuple[int, Write, Row, str]]:
    """Yield what the product took or gave up by a heartbeat: video, write, row before it, invocation.

    No heartbeat is asked for an expired lease, nor for an instance that was terminated.
    """
    for video, _, write in case.by_product():
        before, invocation = write.before, write.invocation or ""
        if before is None or write.step not in (*TAKES, "quarantined"):
            continue
        if before.status == "PROCESSING" and not before.leased_by.startswith("reclaim:"):
            expired = before.leased_until is not None and before.leased_until < write.at
            terminated = case.given(invocation, "terminated")
            if expired and case.timing.expired_but_beating == "reclaim":
                continue
            if any(before.leased_by.startswith(instance) for instance in terminated):
                continue
        yield video, write, before, invocation


def living_workers_keep_their_videos(case: Case) -> Findings:
    """A video whose heartbeat moves is not taken, in whatever status; the platform's rule on leases is excepted.

    A heartbeat that another worker or Redis has deleted doesn't protect what an operator releases.
    """
    for video, write, before, invocation in _taken(case):
        looked_at = case.asked_at(invocation, "look")
        if looked_at is None:
            if before.status == "PROCESSING" or write.step == "resends":
                yield video, write.at, f"Redis not read: {write}"
            continue
        beat = case.last_beat(video, looked_at)
        if looked_at - beat > case.timing.silent_after_seconds - _READING_S:
            continue
        if before.status == "FAILED" and _lost_since(case, video, beat, looked_at):
            continue
        yield video, write.at, f"a heartbeat {looked_at - beat:.1f} s before the look: {write}"


def _lost_since(case: Case, video: int, beat: float, looked_at: float) -> bool:
    deleted = any(
        told["event"] == "beatDeleted" and told["at"] > beat and told["began"] < looked_at
        for told in case.steps[video]
    )
    return deleted or any(beat < at < looked_at for at in case.wiped)


def mass_silence_waits(case: Case) -> Findings:
    """While most workers are silent, silence counts only after the longer time.

    Silent, and known to be so, is at least each worker that was so before the one whose video was taken, unless
    Redis has lost that since: a listing that looked before may write some of it again. What a refused worker sets and
    deletes again, the product may have seen, or not.
    """
    for video, write, before, invocation in _taken(case):
        looked_at = case.asked_at(case.listing_of(invocation), "look")
        if before.status != "PROCESSING" or looked_at is None:
            continue
        moved_at = max(case.last_beat(video, looked_at), _changed_at(case, video, looked_at))
        forgotten = any(moved_at < at < looked_at for at in case.wiped)
        if forgotten or looked_at - moved_at >= case.timing.mass_silence_seconds:
            continue
        rows = {other: case.row(other, looked_at) for other in case.writes}
        at_work = [
            other
            for other, row in rows.items()
            if row and row.status == "PROCESSING" and (row.leased_until or looked_at) >= looked_at
        ]
        silent = sum(_quiet_since(case, other, looked_at) <= moved_at for other in at_work)
        if silent >= 3 and silent > len(at_work) - silent:
            silent_s = looked_at - moved_at
            yield video, write.at, f"silent for {silent_s:.1f} s, like {silent} of {len(at_work)}: {write}"


def _changed_at(case: Case, video: int, before: float) -> float:
    """Return when anybody last wrote what a wait depends on."""
    return max((w.at for w in case.writes[video] if w.at < before and _changes(w)), default=0.0)


def _quiet_since(case: Case, video: int, before: float) -> float:
    """Return when anybody last changed what is seen of a video, its heartbeat included."""
    steps = (told for told in case.steps[video] if told["event"] in ("beat", "beatDeleted"))
    beats = [float(told["at"]) for told in steps if told["at"] < before]
    return max([_changed_at(case, video, before), *beats])


def _changes(write: Write) -> bool:
    """Return whether a write changed what a wait depends on."""
    return not (write.before and write.after and write.before.identity == write.after.identity)


def resent_after_waiting(case: Case) -> Findings:
    """A waiting video is sent again only after it has waited unchanged for long enough."""
    for video, index, write in case.by_product():
        read_at = case.asked_at(write.invocation, "read videos")
        if write.step != "resends" or read_at is None:
            continue
        for earlier in case.writes[video][:index]:
            if _changes(earlier) and read_at - earlier.at < case.timing.lost_after_seconds - _ROUNDING_S:
                yield video, write.at, f"{earlier}, then {write}"


def released_on_request(case: Case) -> Findings:
    """A FAILED video is taken only if the product quarantined it and the execution's input names it."""
    for video, _, write in case.by_product():
        if write.step == "releases" and write.before is not None:
            quarantined = (write.before.error_reason or "").startswith(product.QUARANTINE_REASON)
            if not quarantined or video not in case.given(write.invocation or "", "release"):
                yield video, write.at, str(write)


def quarantined_after_reclaims(case: Case) -> Findings:
    """An upload is quarantined only after more claims than the limit, with this reason."""
    for video, index, write in case.by_product():
        if write.step != "quarantined" or write.after is None:
            continue
        rows = [earlier.after for earlier in case.writes[video][:index]]
        claims = {
            row.processing_started_at
            for row in rows
            if row and row.status == "PROCESSING" and row.file_key == write.after.file_key
        }
        limit, reason = case.timing.max_reclaims, write.after.error_reason or ""
        if not 0 < limit < len(claims) or not reason.startswith(product.QUARANTINE_REASON):
            yield video, write.at, f"after {len(claims)} claims: {reason!r}"


Rule = Callable[[Case], Findings]
RULES: tuple[Rule, ...] = (
    known_steps,
    living_workers_keep_their_videos,
    mass_silence_waits,
    resent_after_waiting,
    released_on_request,
    cleared_after_sending,
    sent_once,
    duplicates_have_cause,
    quarantined_after_reclaims,
    not_sent_into_a_cancel,
    nothing_lost,
)


def violations(case: Case, rules: Iterable[Rule] = RULES) -> list[Violation]:
    """Return every violation of a rule, in the order of time; what was lost, which often follows, comes last."""
    found = [Violation(rule.__name__, *finding) for rule in rules for finding in rule(case)]
    return sorted(found, key=lambda v: (v.rule == nothing_lost.__name__, v.at))
