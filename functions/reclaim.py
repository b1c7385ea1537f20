"""Reclaim one batch of stale videos: fenced, all at once, under a handoff lease until they are in the queue."""

from collections.abc import Mapping, Sequence
from typing import Any

from video_reclaim import log
from video_reclaim.adapters.heartbeats import heartbeats
from video_reclaim.adapters.postgres.store import store
from video_reclaim.records import to_builtins
from video_reclaim.rules.handoff import token_for
from video_reclaim.rules.reclaiming import History, Written, candidates, claims_to_count, counts, plan
from video_reclaim.rules.staleness import Video
from video_reclaim.settings import Reclaiming, read


@log.handler
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map ``{"videos": [id, …], "execution": ARN, "failOnPartial": bool}`` to the event of `enqueue`.

    Every video is read afresh; one that is no longer stale, or no longer there, is skipped and counted. Rows
    that PostgreSQL refuses to write are counted too. A retry finds what an earlier attempt leased by its token
    and answers as that attempt would have.

    Raises:
        StoreUnavailable: PostgreSQL did not answer; any video that was leased carries the token.
        StoreRefused: PostgreSQL refused a statement as a whole.
    """
    settings, token = read(Reclaiming), token_for(event["execution"])
    videos = store().read_videos(event["videos"])
    asked = candidates(videos, token)
    claims = claims_to_count(asked)
    # Without an answer it is unknown which claims Redis has counted.
    history = heartbeats().read_and_count(asked, claims) or History(newly_counted=set(claims))
    confirm_s, max_reclaims = settings.confirm_silence_seconds, settings.max_reclaims
    todo = plan(videos, history, token=token, confirm_silence_s=confirm_s, max_reclaims=max_reclaims)
    leased, quarantined = Written(), Written()
    try:
        leased = store().lease_for_handoff(todo.lease, token=token, handoff_s=settings.handoff_seconds)
        quarantined = store().quarantine(todo.quarantine, todo.quarantine_reasons)
    finally:
        _correct_counts(asked, claims, history, leased.ids, quarantined.ids)
    did = to_builtins(counts(todo, len(event["videos"]), leased, quarantined))
    refused = leased.refused | quarantined.refused
    log.info("reclaimed", videos=leased.ids, quarantined=quarantined.ids, refused=refused, did=did)
    attempts = [todo.attempts[video_id] for video_id in leased.ids]
    return {**event, "videos": leased.ids, "attempts": attempts, "did": did}


def _correct_counts(
    asked: Sequence[Video],
    claims: Mapping[int, str],
    history: History,
    leased: Sequence[int],
    quarantined: Sequence[int],
) -> None:
    """Undo the counts of videos that were not reclaimed, and clear those of quarantined ones."""
    not_reclaimed = history.newly_counted - {*leased, *quarantined}
    heartbeats().undo_counts([video for video in asked if video.id in not_reclaimed], claims)
    heartbeats().clear_counts([video for video in asked if video.id in quarantined])
