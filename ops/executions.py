"""An execution of the workflow as Step Functions describes it, and sentences about it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import UNSET

from video_reclaim.records import Malformed, from_builtins
from video_reclaim.rules.run_record import RunRecord
from video_reclaim.rules.staleness import Reason
from video_reclaim.scaling.records import Decision


@dataclass(frozen=True)
class Execution:
    """One execution.

    Attributes:
        arn: its ARN.
        name: the last part of its ARN.
        status: RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED.
        started: when it was started.
        stopped: when it ended; None while it runs.
        redrives: how often it was redriven.
        output: its output as JSON text; '' if it has none.
        error: name of the error that it failed with; '' if it did not.
        cause: why, in words.
        why_not_redrivable: what Step Functions says against a redrive; '' if nothing.
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
            output=shown.get("output") or "",
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

    @property
    def decision(self) -> Decision | None:
        """The scaling decision in the record; None if there is none."""
        record = self.record
        return None if record is None or record.decision is UNSET else record.decision


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


def summary(execution: Execution) -> str:
    """Return one clause about what an execution did."""
    if execution.status == "RUNNING":
        return "is running"
    if execution.error or execution.status != "SUCCEEDED":
        return ": ".join(part for part in (execution.error, execution.cause) if part) or "no cause given"
    record = execution.record
    if record is None:
        return "its record can't be read by this version"
    if record.dry_run:
        return f"dry run: {videos(sum(record.stale.values()))} would be reclaimed"
    done = [f"{count} {word}" for word, count in counts(record).items() if count]
    return ", ".join(done) or "nothing was stale"


def counts(record: RunRecord) -> dict[str, int]:
    """Return what became of videos, by the words of the record."""
    return {
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


def videos(count: int) -> str:
    """Write a number of videos."""
    return "1 video" if count == 1 else f"{count} videos"


def redrive_refusal(execution: Execution, last_state: str) -> str:
    """Return why a redrive can't help a failed execution; '' if it can.

    Args:
        execution: the failed execution.
        last_state: name of the state that it entered last, outside of Maps.
    """
    if execution.error == "InvalidInput":
        return "its input is wrong: a redrive would use the same input"
    if last_state == "NotListed":
        return "the listing failed: the next run lists again"
    return execution.why_not_redrivable
