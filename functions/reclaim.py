"""Reclaim one batch of stale videos: fenced, all at once, under a handoff lease until they are in the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from video_reclaim import log
from video_reclaim.adapters.postgres.store import store
from video_reclaim.adapters.redis.heartbeats import heartbeats
from video_reclaim.records import to_builtins
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.handoff import token_for
from video_reclaim.rules.reclaiming import (
    History,
    Plan,
    Written,
    candidates,
    claims_to_count,
    counts,
    outcomes,
    plan,
    still_lost,
)
from video_reclaim.rules.staleness import Criteria, Video
from video_reclaim.settings import Reclaiming, read


@log.handler
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map ``{"videos": [id, …], "input": {…}, "execution": ARN, "failOnPartial": bool}`` to `enqueue`'s event.

    Every video is read afresh; one that is no longer stale, or no longer there, is skipped and counted. Rows
    that PostgreSQL refuses to write are counted too. A retry finds what an earlier attempt leased by its token
    and answers as that attempt would have.

    Raises:
        StoreUnavailable: PostgreSQL did not answer; any video that was leased carries the token.
        StoreRefused: PostgreSQL refused a statement as a whole.
    """
    settings, token = read(Reclaiming), token_for(event["execution"])
    criteria = _criteria(settings, token, event["input"])
    videos = store().read_videos(event["videos"])
    asked = candidates(videos, criteria)
    claims = claims_to_count(asked, token)
    history = heartbeats().read_and_count(asked, claims)
    lost = still_lost(asked, history.waits, lost_after_s=settings.lost_after_seconds)
    todo = plan(videos, history, replace(criteria, lost=lost), max_reclaims=settings.max_reclaims)
    leased, quarantined = Written(), Written()
    try:
        leased = store().lease_for_handoff(todo.lease, token=token, handoff_s=settings.handoff_seconds)
        quarantined = store().quarantine(todo.quarantine, todo.quarantine_reasons)
    finally:
        corrected = _correct_redis(asked, claims, history, leased.ids, quarantined.ids)
    log.trace(outcomes(event["videos"], videos, todo, history, leased, quarantined))
    return _answer(event, todo, leased, quarantined, redis_answered=history.answered and corrected)


def _answer(
    event: dict[str, Any], todo: Plan, leased: Written, quarantined: Written, *, redis_answered: bool
) -> dict[str, Any]:
    unsent = None if event["failOnPartial"] else token_for(event["execution"])
    did = counts(todo, len(event["videos"]), leased, quarantined, unsent=unsent, answered=redis_answered)
    return {
        "execution": event["execution"],
        "failOnPartial": event["failOnPartial"],
        "videos": leased.ids,
        "attempts": [todo.attempts[video_id] for video_id in leased.ids],
        "did": to_builtins(did),
    }


def _criteria(settings: Reclaiming, token: str, execution_input: object) -> Criteria:
    return Criteria(
        settings.confirm_silence_seconds,
        spare_beating=settings.expired_but_beating == "spare",
        own_token=token,
        released=ExecutionInput.parse(execution_input).release,
    )


def _correct_redis(
    asked: Sequence[Video],
    claims: Mapping[int, str],
    history: History,
    leased: Sequence[int],
    quarantined: Sequence[int],
) -> bool:
    """Undo the counts of videos that were not reclaimed; end those of quarantined ones, whose users see FAILED.

    Return whether Redis took all of it.
    """
    not_reclaimed = history.newly_counted - {*leased, *quarantined}
    undone = heartbeats().undo_counts([video for video in asked if video.id in not_reclaimed], claims)
    given_up = [video for video in asked if video.id in quarantined]
    ended = heartbeats().end_counts([(video.tenant_id or 0, video.id) for video in given_up])
    return heartbeats().forget_status(given_up) and ended and undone
