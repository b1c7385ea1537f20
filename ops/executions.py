"""An execution of the workflow as Step Functions describes it, its decision's log line, and sentences about both."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from video_reclaim.conversion import Malformed, from_builtins
from video_reclaim.rules.run_record import Distrust, RunRecord
from video_reclaim.rules.staleness import Reason

ENDED_BADLY = ("FAILED", "TIMED_OUT", "ABORTED")
WELL = (Reason.BEATING, Reason.MOVED_ON)
"""Reasons of videos that were left alone and with which nothing is wrong."""
NOTHING_TO_DO = (Reason.SUSPECT, Reason.EXPIRED_BUT_BEATING)
"""Reasons of those that a next run, or their worker, takes care of."""
DISTRUST: Mapping[Distrust, str] = {
    "redisAway": "Redis did not answer, so that only expired leases count",
    "neverHeard": "no heartbeat has ever moved in this Redis: it is empty or new, or there was no worker yet",
    "neverExpires": "a heartbeat has no time to live, so that its worker can't be told from a dead one",
    "massSilence": "most workers are silent at once: their silence counts only after massSilenceSeconds",
}
"""Why silence did not count in a run, by `distrust` in its record."""
DECIDED = '{ $.message = "decided" }'
"""The filter pattern of the log lines of decisions."""
_OF_A_DECISION = {
    "at": "timestamp",
    **{name: name for name in ("execution", "action", "held", "reason", "before", "desired", "applied")},
    **{name: name for name in ("uploaded", "processing", "visible", "failed")},
}


@dataclass(frozen=True)
class Execution:
    """One execution, as Step Functions describes it; '' or None is what it doesn't have.

    ``output`` is JSON text, ``redrives`` is how often it was redriven, and ``why_not_redrivable`` what Step Functions
    says against a redrive.
    """

    arn: str
    status: str
    started: datetime
    stopped: datetime | None = None
    redrives: int = 0
    output: str = ""
    error: str = ""
    cause: str = ""
    why_not_redrivable: str = ""

    @classmethod
    def described(cls, shown: Mapping[str, Any]) -> "Execution":
        """Read an answer of DescribeExecution, or an element of the answer of ListExecutions."""
        return cls(
            arn=shown["executionArn"],
            status=shown["status"],
            started=shown["startDate"],
            stopped=shown.get("stopDate"),
            redrives=shown.get("redriveCount", 0),
            output=shown.get("output") or "" if shown["status"] == "SUCCEEDED" else "",
            error=shown.get("error") or "",
            cause=message_of(shown.get("cause") or ""),
            why_not_redrivable=shown.get("redriveStatusReason") or "",
        )

    @property
    def name(self) -> str:
        """The name, which log lines give as ``execution``."""
        return self.arn.rpartition(":")[2]

    @property
    def record(self) -> RunRecord | None:
        """The record; None if the execution has no output, or one that another version wrote."""
        try:
            return from_builtins(json.loads(self.output), RunRecord, strict=False) if self.output else None
        except Malformed:
            return None

    def shown(self) -> dict[str, Any]:
        """Return it as a part of a command's JSON."""
        told = ("name", "status", "started", "stopped", "redrives", "error", "cause")
        record = json.loads(self.output) if self.output else None
        return {**{name: getattr(self, name) for name in told}, "record": record}


def read_decided(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Read the log lines of decisions, which are also there when their executions failed; oldest first.

    Their counts are what the decision was based on, but ``failed``: videos that could not be put back so far.
    ``before`` is the desired capacity before it; ``applied`` tells whether the group was told. None is unknown.
    """
    read = [json.loads(line) for line in lines]
    made = [{name: line.get(key) for name, key in _OF_A_DECISION.items()} for line in read]
    told = [{**one, "at": datetime.fromisoformat(one["at"])} for one in made]
    return sorted(told, key=lambda one: one["at"])


def message_of(cause: str) -> str:
    """Return the message in the cause of a failed execution, which is JSON if a function raised the error."""
    try:
        read = json.loads(cause)
    except ValueError:
        return cause
    return str(read.get("errorMessage", cause)) if isinstance(read, dict) else cause


def meaning(reason: str) -> str:
    """Return what a reason means, in a clause; the reason itself if this version does not know it."""
    return next((member.meaning for member in Reason if member.value == reason), reason)


def summary(execution: Execution, decided: Mapping[str, Any] | None = None) -> str:
    """Return one clause about what an execution did; of a failed one, its decision tells how much failed."""
    if execution.status == "RUNNING":
        return "is running"
    if execution.error or execution.status != "SUCCEEDED":
        failed = (decided or {}).get("failed")
        many = f"{videos(failed)} failed at first, for example" if failed else ""
        why = ": ".join(part for part in (execution.error, execution.cause) if part)
        return f"{many} {why or 'no cause given'}".strip()
    record = execution.record
    if record is None:
        return "its record can't be read by this version"
    if record.dry_run:
        return f"dry run: {videos(sum(record.stale.values()))} would be reclaimed"
    counts = {
        "reclaimed": record.reclaimed,
        "enqueued": record.enqueued,
        "of them resent": record.resent,
        "of them possible duplicates": sum(record.duplicates.values()),
        "recovered": record.recovered or 0,
        "quarantined": record.quarantined,
        "refused": record.refused,
        "skipped": sum(record.skipped.values()),
        "failed": sum(record.failed.values()),
        "left to the next run": record.left_to_next_run,
    }
    return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count) or "nothing was stale"


def remarks(record: RunRecord) -> list[str]:
    """Return a sentence for everything in a record that somebody has to know besides the counts of videos."""
    left = {name: n for name, n in record.spared.items() if name not in (*WELL, *NOTHING_TO_DO)}
    named = ", ".join(f"{count} {name}" for name, count in left.items())
    many, over = videos(sum(left.values())), videos(record.over_limit)
    said = {
        f"heartbeats are not trusted: {DISTRUST[record.distrust or 'redisAway']}": record.heartbeats_trusted
        is False,
        f"{many} left alone ({named}): `stuck` tells which": left,
        f"rows that PostgreSQL refused: {record.refused}, `stuck` tells which": record.refused,
        f"{over} put back although they ask for quarantine: a bad release of the workers?": record.over_limit,
        "more than 50,000 videos may be stuck: the rest is for the next runs": record.listing_full,
        f"the metrics were not published: {record.metrics_error}": record.metrics_error,
        f"the group refused its new size: {record.scaling_error}": record.scaling_error,
    }
    return [text for text, so in said.items() if so]


def videos(count: int) -> str:
    """Write a number of videos."""
    return "1 video" if count == 1 else f"{count:,} videos"


def redrive_refusal(execution: Execution, last_state: str) -> str:
    """Return why a redrive can't help a failed execution that entered this state last; '' if it can."""
    if execution.error == "InvalidInput":
        return "its input is wrong: a redrive would use the same input"
    if last_state == "NotListed":
        return "the listing failed: the next run lists again"
    return execution.why_not_redrivable
