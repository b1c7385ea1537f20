"""The rules that must always hold, by name, and the search for violations in a history.

A violation is always the product's fault. What the platform itself gets wrong is recognized by evidence,
never assumed; `docs/worker-contract.md` explains each case:

- A worker that dies between deleting a message and claiming its video loses the message. Excused only if
  the worker was killed after it had received that message, and recorded no claim; never excused in a soak
  with the real platform's ways (`RealPlatform`).
- A completion that is not fenced overwrites whatever the video has become. Workers may do so here.
- An expired lease is the platform's own reason to reclaim, whether the worker lives or not.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from dev.chaos import product
from dev.chaos.case import SAME_MOMENT_S, Case, Violation, takes_from_worker
from dev.chaos.deliveries import (
    cleared_after_sending,
    messages_complete,
    nothing_lost,
    sent_once,
    uploaded_has_message,
)
from dev.chaos.duplicates import duplicates_have_cause
from dev.chaos.history import Row
from dev.chaos.silence import reclaimed_with_cause


def only_its_columns(case: Case) -> Iterator[Violation]:
    """The product writes status, leased_by, leased_until, and error_reason where it quarantines."""
    for video, _, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None:
            yield Violation("only_its_columns", video, write.at, f"inserted or deleted: {write}")
        elif before.rest != after.rest or before.processing_started_at != after.processing_started_at:
            yield Violation("only_its_columns", video, write.at, f"{before.rest} became {after.rest}")
        elif before.error_reason != after.error_reason and after.status != "FAILED":
            yield Violation("only_its_columns", video, write.at, f"error_reason: {after.error_reason}")


def known_steps(case: Case) -> Iterator[Violation]:
    """The product reclaims, adopts, renews, clears and quarantines, each from where it may; nothing else."""
    for video, _, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None:
            continue
        if _known(before, after, write.transaction_at):
            continue
        yield Violation("known_steps", video, write.at, str(write))


def _known(before: Row, after: Row, now: float) -> bool:
    old, new = before.handoff_token, after.handoff_token
    expired = before.leased_until is not None and before.leased_until < now + SAME_MOMENT_S
    if new is not None:  # reclaimed, renewed or adopted
        fresh = after.leased_until is not None and after.leased_until > now
        return fresh and (before.status == "PROCESSING" or old == new or (old is not None and expired))
    unleased = after.leased_by == "" and after.leased_until is None
    if after.status == "UPLOADED":
        return unleased and old is not None
    if after.status == "FAILED":
        from_either = before.status == "PROCESSING" or old is not None
        return unleased and from_either and bool(after.error_reason)
    return False


def one_owner(case: Case) -> Iterator[Violation]:
    """A claim finds the video UPLOADED, and each write finds what the one before it left."""
    for video, writes in case.writes.items():
        for earlier, later in pairwise(writes):
            if later.before != earlier.after:
                yield Violation("one_owner", video, later.at, f"{earlier} is not what {later} found")
        for write in writes:
            before, after = write.before, write.after
            if before is None or after is None or after.status != "PROCESSING":
                continue
            claimed = before.processing_started_at != after.processing_started_at
            if claimed and before.status != "UPLOADED":
                yield Violation("one_owner", video, write.at, str(write))


def quarantined_after_reclaims(case: Case) -> Iterator[Violation]:
    """A video is quarantined only after more reclaims than the limit; a fault may count as one of them."""
    for video, index, write in case.by_product():
        if write.after is None or write.after.status != "FAILED":
            continue
        limit = case.timing.max_reclaims
        reason = write.after.error_reason or ""
        if limit == 0 or not reason.startswith(product.QUARANTINE_REASON):
            yield Violation("quarantined_after_reclaims", video, write.at, f"limit {limit}: {reason!r}")
            continue
        real = sum(takes_from_worker(w) for w in case.writes[video][:index])
        faulty = {
            began.details["event"]["execution"]
            for invocation, began in case.began.items()
            if began.details["step"] == "Reclaim" and began.at < write.at
            if video in began.details["event"]["videos"] and case.failed(invocation)
        }
        if real + len(faulty) < limit:
            yield Violation("quarantined_after_reclaims", video, write.at, f"after {real} reclaims: {reason}")


RULES: tuple[Callable[[Case], Iterator[Violation]], ...] = (
    only_its_columns,
    known_steps,
    reclaimed_with_cause,
    cleared_after_sending,
    sent_once,
    duplicates_have_cause,
    one_owner,
    quarantined_after_reclaims,
    messages_complete,
    nothing_lost,
)


def violations(case: Case) -> list[Violation]:
    """Return every violation of a rule, in the order of time; at the end what may be the platform's loss."""
    rules = RULES if case.excuses_losses else (*RULES, uploaded_has_message)
    found = (violation for rule in rules for violation in rule(case))
    return sorted(found, key=lambda v: (v.rule == uploaded_has_message.__name__, v.at))


def steps(case: Case) -> Counter[str]:
    """Count the product's writes by what they did."""
    return Counter(_step(write.before, write.after) for _, _, write in case.by_product())


def _step(before: Row | None, after: Row | None) -> str:
    if before is None or after is None:
        return "others"
    if after.handoff_token:
        if before.status == "PROCESSING":
            return "reclaims"
        return "renewals" if before.handoff_token == after.handoff_token else "adoptions"
    return "quarantined" if after.status == "FAILED" else "handoffs cleared"
