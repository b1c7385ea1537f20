"""Reclaim one batch of stale videos: fenced, all at once, and leased to the handoff."""

from collections import Counter
from typing import Any

from video_reclaim import log
from video_reclaim.errors import StoreRefused, naming, naming_its_videos
from video_reclaim.handoff import token_for
from video_reclaim.heartbeats import heartbeats
from video_reclaim.postgres import Written, store
from video_reclaim.reclaiming import candidates, plan, to_count
from video_reclaim.settings import ReclaimSettings, StalenessSettings, read
from video_reclaim.staleness import Verdict


@naming_its_videos
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map ``{"videos": [id, …], "execution": ARN, "insist": bool}`` to what `enqueue` takes.

    Every video is looked at afresh: one that is no longer stale, or no longer there, is skipped and counted.
    The answer is ``{"token", "videos", "attempts", "report"}``: the videos that now carry the execution's
    token, the ``attempt`` of each one's message, and the counts, with ``failed`` if PostgreSQL refused some.

    A retry finds what an earlier attempt took by its token, and answers as that would have.

    Raises:
        StoreUnavailable: PostgreSQL went away; whatever was taken carries the token.
        StoreRefused: PostgreSQL refused every video that there was to take, or, with ``insist``, any.
    """
    staleness, settings = read(StalenessSettings), read(ReclaimSettings)
    token = token_for(event["execution"])
    videos = store().look(event["videos"])
    asked = candidates(videos, token)
    claims = to_count(asked)
    # Without an answer nobody knows what Redis has counted of it.
    pulses, reclaims, counted = heartbeats().pulses_and_reclaims(asked, claims) or ({}, {}, set(claims))
    todo = plan(
        videos,
        pulses,
        reclaims,
        token=token,
        confirm_silence_s=staleness.confirm_silence_seconds,
        max_reclaims=settings.max_reclaims,
    )
    taken, given_up = Written([], {}), Written([], {})
    try:
        taken = store().take(todo.take, token=token, handoff_s=settings.handoff_seconds)
        given_up = store().quarantine(
            [case.video for case in todo.quarantine], [case.reason for case in todo.quarantine]
        )
    finally:  # a worker that lives after all, or somebody else's change, is no reclaim
        written = {*taken.ids, *given_up.ids}
        heartbeats().uncount([video for video in asked if video.id in counted - written], claims)
    heartbeats().forget_reclaims([case.video for case in todo.quarantine if case.video.id in written])

    refused = taken.refused | given_up.refused
    skipped = Counter({str(verdict): n for verdict, n in todo.skipped.items()})
    skipped[Verdict.MOVED_ON] += len(event["videos"]) - skipped.total() - len(written) - len(refused)
    report: dict[str, Any] = {
        "reclaimed": len(taken.ids),
        "quarantined": len(given_up.ids),
        "skipped": {verdict: n for verdict, n in skipped.items() if n},
    }
    log.event(
        "reclaimed", token=token, videos=taken.ids, quarantined=given_up.ids, refused=refused, report=report
    )
    if refused and (event.get("insist") or not written):
        raise StoreRefused(naming(refused))
    if refused:
        report["failed"] = {"videos": list(refused), "error": StoreRefused.__name__}
    return {
        "token": token,
        "videos": taken.ids,
        "attempts": [todo.attempts[video_id] for video_id in taken.ids],
        "report": report,
    }
