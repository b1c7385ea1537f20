"""List the stale videos in batches of ids, the oldest claim first."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET

from video_reclaim import log
from video_reclaim.adapters import autoscaling, cloudwatch, sqs
from video_reclaim.adapters.postgres.store import store
from video_reclaim.adapters.redis.heartbeats import heartbeats
from video_reclaim.records import from_builtins, to_builtins
from video_reclaim.rules.batching import batches
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.listing import (
    RedisLook,
    expired_but_beating,
    findings,
    judge_all,
    listing,
    silent_instances,
    with_strikes,
)
from video_reclaim.rules.run_record import RunRecord
from video_reclaim.rules.staleness import (
    Criteria,
    Heartbeat,
    Video,
    confirmation_s,
    credible,
    strike_memory_s,
    strikes_to_keep,
)
from video_reclaim.rules.waiting import MAX_RESENT, QueueLook, Waits, lost, overdue, track
from video_reclaim.settings import Queues, Reclaiming, Schedule, Workers, read


@log.handler
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map ``{"input": {…}, "run": {…}, "execution": ARN}`` to ``{"run", "batches", "firstMisses"}``.

    An empty ``run`` asks for the first look, a record for the second one. ``batches`` are lists of ids, none in
    a dry run. ``firstMisses`` is the number of videos whose heartbeat was missing for the first time, when a
    second look can confirm it. Strikes and waits are written, in Redis; a retry writes the same ones again.

    Raises:
        InvalidInput: names the field; nothing was read or written.
        StoreUnavailable, StoreRefused: the database could not be read.
    """
    request, settings = ExecutionInput.parse(event["input"]), read(Reclaiming)
    earlier = from_builtins(event["run"], RunRecord, strict=False) if event["run"] else None
    videos = store().list_candidates()
    if request.release:
        videos = [*store().read_videos(request.release), *videos]
    look = heartbeats().look(videos) or RedisLook(answered=False)  # read after the rows: see `judge`
    beats, trusted = _watch_heartbeats(videos, look, write=not request.dry_run)
    waits = _watch_waits(videos, look, settings.lost_after_seconds, write=not request.dry_run)
    found = judge_all(videos, beats, _criteria(settings, request, videos, beats, waits))
    listed = listing(found, request, heartbeats_trusted=trusted, earlier=earlier)
    run = listed.run
    run.expired_but_beating, run.messages_lost = expired_but_beating(videos, beats), len(waits.lost)
    run.longest_wait_s = waits.longest_s() if look.answered else UNSET
    for outcome, details in findings(videos, beats, waits, found):
        log.info(outcome, **details)
    items = batches(listed.ids)
    return {"run": to_builtins(run), "batches": items, "firstMisses": listed.first_misses}


def _watch_heartbeats(
    videos: Sequence[Video], look: RedisLook, *, write: bool
) -> tuple[dict[int, Heartbeat], bool]:
    """Record what is silent; return the heartbeats with their strikes, and whether they can be trusted."""
    beats = credible(look.heartbeats, seen_before=look.seen_before)
    instances = silent_instances(videos, beats)
    known = autoscaling.instances(read(Workers).group_name) if instances else None
    strikes = strikes_to_keep(videos, beats, instances - known if known is not None else set())
    decisive = [video.id for video in videos if video.has_heartbeat and not video.lease_expired]
    trusted = look.answered and all(beats[id_] == look.heartbeats[id_] for id_ in decisive)
    if write and look.answered:
        memory_s = strike_memory_s(read(Schedule).rate_minutes)
        trusted &= heartbeats().record(videos, strikes, look, memory_s=memory_s)
        ended = store().read_ended(list(look.counted)) if look.counted else []
        heartbeats().end_counts([(look.counted[video_id], video_id) for video_id in ended])
    return with_strikes(beats, strikes), trusted


def _watch_waits(videos: Sequence[Video], look: RedisLook, lost_after_s: int, *, write: bool) -> Waits:
    """Record what waits, and find the videos whose messages cannot exist any more."""
    waits = track(videos, look.waits, look.just_retried)
    due = overdue(waits, lost_after_s=lost_after_s) if look.answered else []
    queue = _look_at_queue(look, waits.now_s) if due else None
    if write and look.answered:
        heartbeats().record_waits(waits, look, queue)
    waits.lost, waits.queue = lost(due, waits, queue), queue
    return waits


def _look_at_queue(look: RedisLook, now_s: float) -> QueueLook | None:
    queue_url = read(Queues).video_url
    depth = sqs.read_depth([queue_url])
    if depth is None:
        return None
    if depth.empty:
        since_s = look.queue_empty_since_s
        return QueueLook(now_s if since_s is None else since_s, None)
    return QueueLook(None, cloudwatch.oldest_message_s(queue_url.rpartition("/")[2], at=datetime.now(UTC)))


def _criteria(
    settings: Reclaiming,
    request: ExecutionInput,
    videos: Sequence[Video],
    beats: Mapping[int, Heartbeat],
    waits: Waits,
) -> Criteria:
    confirm_s, mass_s = settings.confirm_silence_seconds, settings.mass_silence_seconds
    return Criteria(
        confirmation_s(videos, beats, confirm_s=confirm_s, mass_s=mass_s),
        spare_beating=settings.expired_but_beating == "spare",
        lost=waits.lost[:MAX_RESENT] if settings.lost_messages == "resend" else (),
        released=request.release,
    )
