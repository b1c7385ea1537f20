"""Reclaim one batch of stale videos: fenced, all at once, under a handoff lease until they are in the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from video_reclaim import log
from video_reclaim.adapters.postgres.store import store
from video_reclaim.adapters.redis.heartbeats import heartbeats
from video_reclaim.conversion import to_builtins
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.handoff import token_for
from video_reclaim.rules.reclaiming import Plan, Written, counts, judge_batch, outcomes, plan, quarantines_due
from video_reclaim.rules.staleness import Criteria, Reason, Video
from video_reclaim.rules.view import View, compare
from video_reclaim.settings import Reclaiming, criteria_for, read


@log.handler
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map ``{"videos": [id, …], "input", "execution", "startedAt", "failOnPartial", "unsent"}`` to `enqueue`'s event.

    ``unsent`` is whether the execution has certainly sent no message for what it leased earlier. Every video is read
    afresh and judged by the rule of the listing; one that is no longer stale, or no longer there, is skipped and
    counted. Rows that PostgreSQL refuses to write are counted too. A retry finds what an earlier attempt leased by
    its token and answers as that attempt would have.

    Raises:
        StoreUnavailable: PostgreSQL did not answer; any video that was leased carries the token.
        StoreRefused: PostgreSQL refused a statement as a whole.
    """
    token, criteria = token_for(event["execution"]), _criteria(event)
    videos = store().read_videos(event["videos"])
    look = heartbeats().look(videos, whole=False)  # read after the rows: see `judge`
    criteria = replace(criteria, mass_silence=look is not None and look.mass_silence_since_s is not None)
    view = compare(videos, look, criteria)
    todo, answered = _plan(videos, judge_batch(videos, view, criteria), view)
    leased = store().lease_for_handoff(todo.lease, token=token, handoff_s=read(Reclaiming).handoff_seconds)
    quarantined = _quarantine(todo)
    log.trace(outcomes(event["videos"], videos, todo, view, leased, quarantined))
    return _answer(event, todo, leased, quarantined, redis_answered=answered and view.look.answered)


def _criteria(event: Mapping[str, Any]) -> Criteria:
    return replace(
        criteria_for(ExecutionInput.parse(event["input"])),
        started_s=datetime.fromisoformat(event["startedAt"]).timestamp(),
        own_token=token_for(event["execution"]),
    )


def _plan(videos: Sequence[Video], reasons: Mapping[int, Reason], view: View) -> tuple[Plan, bool]:
    """Count the dead claims, before any row is written, and decide; also return whether Redis answered."""
    tally = heartbeats().count(videos, reasons, view.look.recorded)
    due = quarantines_due(reasons, tally, max_reclaims=read(Reclaiming).max_reclaims)
    granted = heartbeats().begin_quarantine([video for video in videos if video.id in due])
    return plan(videos, reasons, tally, due=due, granted=granted), tally.answered


def _quarantine(todo: Plan) -> Written:
    """Set videos to FAILED; their users are shown that, whatever answer was lost."""
    try:
        return store().quarantine(todo.quarantine, todo.error_reasons())
    finally:
        heartbeats().forget_status(todo.quarantine)


def _answer(
    event: Mapping[str, Any], todo: Plan, leased: Written, quarantined: Written, *, redis_answered: bool
) -> dict[str, Any]:
    unsent = token_for(event["execution"]) if event["unsent"] else None
    did = counts(todo, len(event["videos"]), leased, quarantined, unsent=unsent, answered=redis_answered)
    return {
        "execution": event["execution"],
        "failOnPartial": event["failOnPartial"],
        "videos": leased.ids,
        "attempts": [todo.attempt(video_id) for video_id in leased.ids],
        "did": to_builtins(did),
    }
