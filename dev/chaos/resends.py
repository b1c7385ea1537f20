"""The rules on videos that no worker holds: lost messages that are sent again, and releases."""

import json
from collections.abc import Iterator
from typing import Any

from dev.chaos import product
from dev.chaos.case import SAME_MOMENT_S, Case, Violation, releases, resends
from dev.chaos.evidence import answers, database_time, listing_before, writer
from dev.chaos.history import Row


def resent_with_cause(case: Case) -> Iterator[Violation]:
    """A waiting video is taken only after it waited unchanged, and when its message could not exist.

    The evidence is the wait that Redis had recorded, what the queue answered to the listing, and the writes to
    the row since then.
    """
    for video, index, write in case.by_product():
        if not resends(write):
            continue
        invocation = writer(case, video, write)
        what = "no call of the product explains it" if invocation is None else None
        if invocation is not None:
            since = _waiting_since(case, invocation, video)
            what = (
                "no wait was recorded"
                if since is None
                else _too_short(case, invocation, since)
                or _may_exist(case, invocation, since)
                or _changed(case, video, index, since)
            )
        if what:
            yield Violation("resent_with_cause", video, write.at, f"{what}: {write}")


def _waiting_since(case: Case, invocation: str, video: int) -> float | None:
    """Return since when a video waited, as an invocation read it."""
    since = None
    for event in answers(case.calls[invocation], "take waits"):
        asked, values = event.details["commands"][0], event.details["answers"][0]
        for id_, value in zip(asked[2:], values, strict=True):
            if str(id_) == str(video) and value is not None:
                since = float(value.decode().partition(" ")[0])
    return since


def _too_short(case: Case, invocation: str, since: float) -> str | None:
    read_at = database_time(case.calls[invocation], "read videos") or 0.0
    waited_s = read_at - since
    return f"it had waited {waited_s:.3f} s" if waited_s < case.timing.lost_after_s - SAME_MOMENT_S else None


def _may_exist(case: Case, invocation: str, since: float) -> str | None:
    """Return why the listing could not know that the message was lost, or None."""
    listing = listing_before(case, invocation)
    if listing is None:
        return "no listing of its execution explains it"
    calls = case.calls[listing]
    listed_at = database_time(calls, "list candidates") or 0.0
    depth: dict[str, Any] | None = None
    for event in answers(calls, "read depth"):
        depth = event.details["depth"]
    if depth is None:
        return "the depth of the queue was not known"
    if not any(map(int, depth.values())):
        empty_since = queue_empty_since(case, listing)
        apart_s = listed_at - empty_since if empty_since is not None else 0.0
        return (
            None if apart_s >= case.timing.empty_looks_apart_s - SAME_MOMENT_S else "it was empty in one look"
        )
    oldest = next((event.details["answer"] for event in answers(calls, "read oldest")), None)
    if oldest is None:
        return "the age of the oldest message was not known"
    if listed_at - since <= oldest + case.timing.receive_limit_s - SAME_MOMENT_S:
        return f"the oldest message was {oldest:.3f} s old"
    return None


def queue_empty_since(case: Case, listing: str) -> float | None:
    """Return since when the queue was found empty, as a listing read it: an earlier listing's database time."""
    for event in answers(case.calls[listing], "read heartbeats"):
        for command, answer in zip(event.details["commands"], event.details["answers"], strict=True):
            if command[0] == "HGETALL" and (value := answer.get(product.QUEUE_EMPTY_FIELD)):
                return float(value)
    return None


def _changed(case: Case, video: int, index: int, since: float) -> str | None:
    """Return the write that changed the row while it was said to wait, or None."""
    for write in case.writes[video][:index]:
        if write.at > since + SAME_MOMENT_S and _identity(write.before) != _identity(write.after):
            return f"it had changed since {since:.3f}: {write}"
    return None


def _identity(row: Row | None) -> object:
    if row is None:
        return None
    key = json.loads(row.rest).get("file_key")
    return row.status, row.leased_by, row.leased_until, row.processing_started_at, key


def released_on_request(case: Case) -> Iterator[Violation]:
    """A FAILED video is taken only if the product quarantined it and the execution's input names it."""
    for video, _, write in case.by_product():
        if not releases(write) or write.before is None:
            continue
        invocation = writer(case, video, write)
        given = case.began[invocation].details["event"]["input"] if invocation else {}
        quarantined = (write.before.error_reason or "").startswith(product.QUARANTINE_REASON)
        if not quarantined or video not in given.get("release", []):
            yield Violation("released_on_request", video, write.at, str(write))
