"""The input of an execution: ``{"dryRun": bool, "limit": int}``, both optional."""

from collections.abc import Mapping
from dataclasses import dataclass

from video_reclaim.errors import InvalidInput

MAX_VIDEOS_PER_RUN = 10_000
"""What one execution takes at most; the next one takes the rest."""


@dataclass(frozen=True, slots=True)
class ExecutionInput:
    """What the caller of an execution asked for.

    Attributes:
        dry_run: report what would be reclaimed, write nothing.
        limit: the most videos to reclaim, 1 to 10,000.
    """

    dry_run: bool = False
    limit: int = MAX_VIDEOS_PER_RUN

    @classmethod
    def parse(cls, event: object) -> "ExecutionInput":
        """Read an execution's input.

        Raises:
            InvalidInput: a field is unknown, of the wrong type or out of range; the message names it.
        """
        if not isinstance(event, Mapping):
            raise InvalidInput("input", f"must be a JSON object, not {_json_type(event)}")
        unknown = sorted(set(event) - {"dryRun", "limit"})
        if unknown:
            raise InvalidInput(unknown[0], "is not a field of the input; known are dryRun and limit")
        dry_run = event.get("dryRun", False)
        if not isinstance(dry_run, bool):
            raise InvalidInput("dryRun", f"must be true or false, not {_json_type(dry_run)}")
        limit = event.get("limit", MAX_VIDEOS_PER_RUN)
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise InvalidInput("limit", f"must be a whole number, not {_json_type(limit)}")
        if not 1 <= limit <= MAX_VIDEOS_PER_RUN:
            raise InvalidInput("limit", f"must be 1 to {MAX_VIDEOS_PER_RUN}, not {limit}")
        return cls(dry_run=dry_run, limit=limit)


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, int | float):
        return f"the number {value}"
    return "an array" if isinstance(value, list) else "an object"
