"""The record that an execution ends with: one JSON object that a person can read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

COUNTS = ("reclaimed", "enqueued", "quarantined")


def empty_results() -> dict[str, Any]:
    """The totals of no result at all."""
    return {**dict.fromkeys(COUNTS, 0), "skipped": {}, "failed": {}}


def total(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up the outputs of a Map's items.

    Args:
        results: per item ``reclaimed``, ``enqueued``, ``quarantined``, ``skipped`` by reason, and for an
            item that failed, in whole or in part, ``failed``: ``{"videos": [id, …], "error": name}``. All
            optional.

    Returns:
        The same counts summed up; ``failed`` by error name, in videos.
    """
    skipped: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for result in results:
        skipped.update(result.get("skipped", {}))
        if "failed" in result:
            failed[result["failed"]["error"]] += len(result["failed"]["videos"])
    sums = {name: sum(result.get(name, 0) for result in results) for name in COUNTS}
    return {**sums, "skipped": dict(skipped), "failed": dict(failed)}


def extend(run: Mapping[str, Any], totals: Mapping[str, Any], *, retried: bool) -> dict[str, Any]:
    """Add one pass's totals to an execution's record.

    Args:
        run: the record so far.
        totals: from `total`.
        retried: the pass over failed items has ended, and it only ends once they all succeeded: whatever
            had failed is now ``recovered``.
    """
    before = {**run, **empty_results(), **run}  # what the listing said comes first
    merged = {**before, **{name: before[name] + totals[name] for name in COUNTS}}
    merged["skipped"] = dict(Counter(before["skipped"]) + Counter(totals["skipped"]))
    merged["failed"] = dict(Counter(before["failed"]) + Counter(totals["failed"]))
    if retried:
        merged |= {"recovered": sum(merged["failed"].values()), "failed": {}}
    return merged
