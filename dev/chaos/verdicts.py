"""The rules that must always hold, by name, and the search for violations in a history.

A violation is always the product's fault. What the platform itself gets wrong is recognized by evidence,
never assumed; `docs/worker-contract.md` explains each case:

- A message that a worker, a user or the queue loses is no fault, but the product has to send it again.
- A completion that is not fenced overwrites whatever the video has become. Workers may do so here.
- An expired lease is the platform's own reason to reclaim, whether the worker lives or not.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from dev.chaos import product
from dev.chaos.case import SAME_MOMENT_S, Case, Violation, begins_handoff, releases
from dev.chaos.deliveries import (
    cleared_after_sending,
    messages_complete,
    not_sent_into_a_cancel,
    nothing_lost,
    sent_once,
)
from dev.chaos.duplicates import duplicates_have_cause
from dev.chaos.history import Row, Write
from dev.chaos.resends import released_on_request, resent_with_cause
from dev.chaos.silence import reclaimed_with_cause


def only_its_columns(case: Case) -> Iterator[Violation]:
    """The product writes status, leased_by, leased_until, and error_reason where it quarantines or releases."""
    for video, _, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None:
            yield Violation("only_its_columns", video, write.at, f"inserted or deleted: {write}")
        elif before.rest != after.rest or before.processing_started_at != after.processing_started_at:
            yield Violation("only_its_columns", video, write.at, f"{before.rest} became {after.rest}")
        elif before.error_reason != after.error_reason and "FAILED" not in (before.status, after.status):
            yield Violation("only_its_columns", video, write.at, f"error_reason: {after.error_reason}")


def known_steps(case: Case) -> Iterator[Violation]:
    """The product reclaims, resends, releases, adopts, renews, clears and quarantines; nothing else.

    `resent_with_cause` and `released_on_request` say when it may take what no worker holds.
    """
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
    if after.status == "FAILED":
        return unleased and before.status in ("PROCESSING", "UPLOADED") and bool(after.error_reason)
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
    """An upload is quarantined only after more reclaims than the limit; a fault may count as one of them.

    A lost message that is sent again counts as well, a release does not.
    """
    for video, index, write in case.by_product():
        if write.after is None or write.after.status != "FAILED":
            continue
        limit = case.timing.max_reclaims
        reason = write.after.error_reason or ""
        if limit == 0 or not reason.startswith(product.QUARANTINE_REASON):
            yield Violation("quarantined_after_reclaims", video, write.at, f"limit {limit}: {reason!r}")
            continue
        real = sum(_counts(w, write) for w in case.writes[video][:index])
        faulty = {
            began.details["event"]["execution"]
            for invocation, began in case.began.items()
            if began.details["step"] == "Reclaim" and began.at < write.at
            if video in began.details["event"]["videos"] and case.failed(invocation)
        }
        if real + len(faulty) < limit:
            yield Violation("quarantined_after_reclaims", video, write.at, f"after {real} reclaims: {reason}")


def _counts(write: Write, quarantine: Write) -> bool:
    """Return whether a write was a reclaim of the upload that was quarantined later."""
    return begins_handoff(write) and not releases(write) and _upload(write) == _upload(quarantine)


def _upload(write: Write) -> object:
    return json.loads(write.after.rest).get("file_key") if write.after else None


RULES: tuple[Callable[[Case], Iterator[Violation]], ...] = (
    only_its_columns,
    known_steps,
    reclaimed_with_cause,
    resent_with_cause,
    released_on_request,
    cleared_after_sending,
    sent_once,
    duplicates_have_cause,
    one_owner,
    quarantined_after_reclaims,
    messages_complete,
    not_sent_into_a_cancel,
    nothing_lost,
)


def violations(case: Case) -> list[Violation]:
    """Return every violation of a rule, in the order of time; what was lost, which often follows, comes last."""
    found = (violation for rule in RULES for violation in rule(case))
    return sorted(found, key=lambda v: (v.rule == nothing_lost.__name__, v.at))


def steps(case: Case) -> Counter[str]:
    """Count the product's writes by what they did."""
    return Counter(_step(write.before, write.after) for _, _, write in case.by_product())


def _step(before: Row | None, after: Row | None) -> str:
    if before is None or after is None:
        return "others"
    if after.handoff_token:
        if before.status == "PROCESSING":
            return "reclaims"
        if not before.handoff_token:
            return "releases" if before.status == "FAILED" else "resends"
        return "renewals" if before.handoff_token == after.handoff_token else "adoptions"
    return "quarantined" if after.status == "FAILED" else "handoffs cleared"
