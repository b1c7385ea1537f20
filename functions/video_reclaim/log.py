"""Logs: one JSON object per line on standard output, where Lambda collects them.

The fields ``timestamp``, ``level``, ``message`` and ``function_request_id`` are those of Powertools for AWS
Lambda's Logger, and the first three also those of Lambda's own JSON format, so that saved queries find them.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from video_reclaim.errors import StoreUnavailable, describe_failures
from video_reclaim.rules.handoff import execution_name

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

_context: dict[str, str] = {}


def info(message: str, **details: object) -> None:
    """Log what was decided or done. Details are JSON values; never a secret, never a whole row."""
    _write("INFO", message, details)


def trace(lines: Iterable[tuple[str, dict[str, object]]]) -> None:
    """Log what was found or done with each video: pairs of message and details."""
    for message, details in lines:
        info(message, **details)


def warning(message: str, **details: object) -> None:
    """Log that something could not be read or written and the function goes on without it."""
    _write("WARNING", message, details)


def _write(level: Literal["INFO", "WARNING"], message: str, details: dict[str, object]) -> None:
    line = {"timestamp": datetime.now(UTC).isoformat(), "level": level, "message": message}
    print(json.dumps(line | _context | details, separators=(",", ":"), default=str), flush=True)


def handler(function: Handler) -> Handler:
    """Put the request and the execution into every log line of a handler's call.

    A StoreUnavailable that leaves the handler names the videos of its event, since its cause is what the
    operator reads in the console.
    """

    @functools.wraps(function)
    def call(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 (Lambda's context object)
        _context.clear()
        _context["function_name"] = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local")
        _context["function_request_id"] = getattr(context, "aws_request_id", "")
        _context["execution"] = execution_name(event["execution"])
        try:
            return function(event, context)
        except StoreUnavailable as exc:
            if not event.get("videos"):
                raise
            raise StoreUnavailable(describe_failures(dict.fromkeys(event["videos"], str(exc)))) from exc

    return call
