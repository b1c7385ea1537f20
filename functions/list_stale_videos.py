"""List the stale videos in batches of ids, the oldest claim first."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from video_reclaim import log
from video_reclaim.adapters import autoscaling, cloudwatch, sqs
from video_reclaim.adapters.postgres.store import store
from video_reclaim.adapters.redis.heartbeats import heartbeats
from video_reclaim.records import from_builtins, to_builtins
from video_reclaim.rules.batching import batches
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.listing import (
    RedisLook,
    add_counts,
    findings,
    is_trusted,
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
    depends_on_heartbeat,
    strike_memory_s,
    strikes_to_keep,
)
from video_reclaim.rules.waiting import (
    MAX_RESENT,
    RETRY_SEEN_S,
    QueueLook,
    Waits,
    gap_limit_s,
    lost,
    overdue,
    still_valid,
    track,
)
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
    videos = _read_videos(request)
    look = heartbeats().look(videos) or RedisLook(answered=False)  # read after the rows: see `judge`
    write = look.answered and not request.dry_run
    beats, recorded = _watch_heartbeats(videos, look, settings, write=write)
    waits, waits_recorded = _watch_waits(videos, look, settings, write=write)
    criteria = _criteria(settings, request, videos, beats, waits, earlier)
    found, trusted = judge_all(videos, beats, criteria), is_trusted(videos, beats, criteria)
    listed = listing(
        found,
        request,
        heartbeats_trusted=look.answered and recorded and waits_recorded and trusted,
        can_confirm=recorded and criteria.confirm_silence_s == settings.confirm_silence_seconds,
        earlier=earlier,
    )
    add_counts(listed.run, videos, beats, waits, answered=look.answered)
    log.trace(findings(videos, beats, waits, found))
    items = batches(listed.ids)
    return {"run": to_builtins(listed.run), "batches": items, "firstMisses": listed.first_misses}


def _read_videos(request: ExecutionInput) -> list[Video]:
    released = store().read_videos(request.release) if request.release else []
    return list({video.id: video for video in [*released, *store().list_candidates()]}.values())


def _watch_heartbeats(
    videos: Sequence[Video], look: RedisLook, settings: Reclaiming, *, write: bool
) -> tuple[dict[int, Heartbeat], bool]:
    """Record what is silent; return the heartbeats with their strikes, and whether these were written."""
    spare = settings.expired_but_beating == "spare"
    watched = [video for video in videos if depends_on_heartbeat(video, spare_beating=spare)]
    beats = credible(look.heartbeats, seen_before=look.seen_before)
    silent = silent_instances(watched, beats)
    known = autoscaling.instances(read(Workers).group_name) if silent else None
    strikes = strikes_to_keep(watched, beats, silent - known if known is not None else set())
    recorded = True
    if write:
        memory_s = strike_memory_s(read(Schedule).rate_minutes)
        recorded = heartbeats().record(videos, strikes, look, memory_s=memory_s)
        ended = store().read_ended(list(look.counted)) if look.counted else []
        recorded = heartbeats().end_counts([(look.counted[one], one) for one in ended]) and recorded
    return with_strikes(beats, strikes), recorded


def _watch_waits(
    videos: Sequence[Video], look: RedisLook, settings: Reclaiming, *, write: bool
) -> tuple[Waits, bool]:
    """Find the videos whose messages cannot exist any more; record what waits, and return whether it was written."""
    if not look.answered:
        return Waits(), False
    now_s = max((video.now_s for video in videos), default=0.0)
    limit_s = gap_limit_s(read(Schedule).rate_minutes)
    recorded = still_valid(look.waits, look.waits_looked_at_s, now_s=now_s, gap_limit_s=limit_s)
    waits = track(videos, recorded, look.just_retried)
    waits.ended = [video_id for video_id in look.waits if video_id not in waits.by_id]
    due = overdue(waits, lost_after_s=settings.lost_after_seconds)
    queue = _look_at_queue(look, waits.now_s, retries_seen=limit_s <= RETRY_SEEN_S) if due else None
    waits.lost, waits.queue = lost(due, waits, queue), queue
    return waits, not write or heartbeats().record_waits(waits, look, queue)


def _look_at_queue(look: RedisLook, now_s: float, *, retries_seen: bool) -> QueueLook | None:
    """Look at the video queue. The age of its oldest message proves nothing if users' retries may go unseen."""
    queue_url = read(Queues).video_url
    depth = sqs.read_depth([queue_url])
    if depth is None:
        return None
    if depth.empty:
        since_s = look.queue_empty_since_s
        return QueueLook(now_s if since_s is None else since_s, None)
    if not retries_seen:
        return QueueLook(None, None)
    return QueueLook(None, cloudwatch.oldest_message_s(queue_url.rpartition("/")[2], at=datetime.now(UTC)))


def _criteria(
    settings: Reclaiming,
    request: ExecutionInput,
    videos: Sequence[Video],
    beats: Mapping[int, Heartbeat],
    waits: Waits,
    earlier: RunRecord | None,
) -> Criteria:
    confirm_s, mass_s = settings.confirm_silence_seconds, settings.mass_silence_seconds
    may_resend = MAX_RESENT - (earlier.resent if earlier else 0)
    return Criteria(
        confirmation_s(videos, beats, confirm_s=confirm_s, mass_s=mass_s),
        spare_beating=settings.expired_but_beating == "spare",
        lost=waits.lost[:may_resend] if settings.lost_messages == "resend" else (),
        released=request.release,
    )
