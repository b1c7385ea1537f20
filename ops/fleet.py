"""The commands about the worker group and the queues: ``decisions``, ``activities``, ``dead-letters``."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from .aws import Described
from .errors import Exit, OpsError
from .executions import DECIDED, read_decided
from .screen import TIME, Json, Stage, answer, duration, show_duration, show_time, wrap
from .stages import connect
from .status import Shown, describe_backlog, describe_decision

_ADVICE = {
    "videos": "A video is safe without its message: a run sends another one. Don't redrive the queue to its source "
    "while one of its videos may be PROCESSING: the runbook at VideoDeadLetters.",
    "starts": "Nothing has to be sent again: the next start does the same work. Mend the cause, then purge the queue: "
    "the runbook at StartsUndelivered.",
}


def decisions(
    stage: Stage,
    since: Annotated[timedelta, duration("--since", "How far to look back.")] = timedelta(hours=1),
    json_: Json = False,
) -> None:
    """List the decisions, also those of failed executions, newest last, each with its reason."""
    made = read_decided(connect(stage).log_lines(DECIDED, since=since, steps=["PublishBacklog"]))
    if not made:
        raise OpsError(f"No decision within {show_duration(since)}.", Exit.NOT_DONE)
    answer({"decisions": made}, _decision_lines(made), as_json=json_)


def _decision_lines(made: Sequence[Shown]) -> Iterable[str]:
    for one in made:
        yield from wrap(describe_decision(one), label=show_time(one["at"]), indent=TIME)
        yield from wrap(describe_backlog(one), indent=TIME)


def activities(
    stage: Stage,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="The most to show.")] = 5,
    json_: Json = False,
) -> None:
    """List what Auto Scaling did last with the worker group, newest last, with causes and errors."""
    told = {
        **{"started": "StartTime", "ended": "EndTime", "status": "StatusCode", "progress": "Progress"},
        **{"description": "Description", "cause": "Cause", "error": "StatusMessage"},
    }
    activities = reversed(connect(stage).activities(limit))
    found = [{name: one.get(key) for name, key in told.items()} for one in activities]
    answer({"activities": found}, _activity_lines(found), as_json=json_)


def _activity_lines(found: Sequence[Shown]) -> Iterable[str]:
    if not found:
        yield "Auto Scaling has no activity of this group in the last six weeks."
    for one in found:
        said = f"{one['status']}: {one['description']}{' ' + one['error'] if one['error'] else ''}"
        yield from wrap(said, label=show_time(one["started"]), indent=TIME)
        yield from wrap(one["cause"] or "", indent=TIME, most=3)


def dead_letters(stage: Stage, json_: Json = False) -> None:
    """Show the dead letters: messages for videos that no worker deleted, and starts that failed; they stay there."""
    deployment = connect(stage)
    found = [
        {
            "what": what,
            "queue": url and url.rpartition("/")[2],
            "count": deployment.count_messages(url) if url else None,
            "messages": [_message(one) for one in deployment.peek(url)] if url else [],
        }
        for what, url in sorted(deployment.dead_letter_queues().items())
    ]
    answer({"queues": found}, _lines(found), as_json=json_)


def _message(shown: Described) -> Shown:
    sent_ms = shown.get("Attributes", {}).get("SentTimestamp")
    attributes = shown.get("MessageAttributes", {})
    return {
        "sent": datetime.fromtimestamp(int(sent_ms) / 1000, UTC) if sent_ms else None,
        "body": shown["Body"],
        "error": attributes.get("ERROR_CODE", {}).get("StringValue", ""),
        "cause": attributes.get("ERROR_MESSAGE", {}).get("StringValue", ""),
    }


def _lines(found: Sequence[Shown]) -> Iterable[str]:
    for queue in found:
        if queue["queue"] is None:
            yield f"{queue['what']}: the video queue has no dead-letter queue"
            continue
        yield from wrap(f"{queue['what']}: {queue['count']} in {queue['queue']}")
        for one in queue["messages"]:
            why = f"{one['error']}: {one['cause']} " if one["error"] else ""
            sent = show_time(one["sent"]) if one["sent"] else "unknown"
            yield from wrap(f"{why}{_in_short(one['body'])}", label=f"  {sent}  ", indent=23, most=3)
        if queue["count"]:
            yield from wrap(_ADVICE[queue["what"]], indent=2)


def _in_short(body: str) -> str:
    try:
        read = json.loads(body)
        return f"video {read['video_id']}, attempt {read.get('attempt')}"
    except (ValueError, KeyError, TypeError):
        return body
