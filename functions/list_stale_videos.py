"""List the stale videos in batches of ids, the oldest claim first."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import chain
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
    listing,
    silent_instances,
    with_strikes,
)
from video_reclaim.rules.run_record import RunRecord
from video_reclaim.rules.staleness import (
    Criteria,
    Heartbeat,
    Strike,
    Video,
    credible,
    depends_on_heartbeat,
    strike_memory_s,
    strikes_to_keep,
)
from video_reclaim.rules.survey import Survey
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
    write = not request.dry_run
    with closing(_read_pages(request)) as pages:
        first = next(pages)
        look = heartbeats().look(first) or RedisLook(answered=False)  # read after the rows: see `judge`
        waits, waits_recorded = _watch_waits(first, look, settings, write=write)
        survey = Survey(_criteria(settings, request, waits, earlier), settings.mass_silence_seconds)
        heard = _judge_pages(survey, chain([first], pages), look, settings, write=write)
    log.trace(findings(first, {}, waits, survey.add([video for video in first if video.waits], {})))
    trusted = _end_counts(look, write=write) and heard and waits_recorded and survey.trusted
    can_confirm = heard and survey.can_confirm
    listed = listing(
        survey.found, request, heartbeats_trusted=trusted, can_confirm=can_confirm, earlier=earlier
    )
    add_counts(listed.run, survey.expired_but_beating, waits, answered=look.answered)
    items = batches(listed.ids)
    return {"run": to_builtins(listed.run), "batches": items, "firstMisses": listed.first_misses}


def _read_pages(request: ExecutionInput) -> Generator[list[Video], None, None]:
    """Yield the videos to release and all that may be stuck; at least one page."""
    page = store().read_videos(request.release) if request.release else []
    with closing(store().list_candidates()) as pages:
        for candidates in pages:
            yield page + [video for video in candidates if video.id not in request.release]
            page = []


def _judge_pages(
    survey: Survey, pages: Iterable[list[Video]], look: RedisLook, settings: Reclaiming, *, write: bool
) -> bool:
    """Judge the videos page by page; return whether Redis answered for all, and took what was to be recorded."""
    instances = cache(autoscaling.instances)
    for number, videos in enumerate(pages):
        if number:
            found = heartbeats().look_on(videos) if look.answered else None
            look = RedisLook(answered=False) if found is None else replace(look, heartbeats=found)
        beats = credible(look.heartbeats, seen_before=look.seen_before or survey.hearing.anybody)
        strikes = _strikes(videos, beats, settings, instances)
        recorded = not (write and look.answered) or _record(videos, strikes, look)
        beats = with_strikes(beats, strikes)
        claimed = [video for video in videos if not video.waits]  # those that wait come last
        log.trace(findings(claimed, beats, Waits(), survey.add(claimed, beats)))
        if not recorded:
            look = RedisLook(answered=False)  # waiting for it once is enough
    return look.answered


def _strikes(
    videos: Sequence[Video],
    beats: Mapping[int, Heartbeat],
    settings: Reclaiming,
    instances: Callable[[str], set[str] | None],
) -> dict[int, Strike | None]:
    spare = settings.expired_but_beating == "spare"
    watched = [video for video in videos if depends_on_heartbeat(video, spare_beating=spare)]
    silent = silent_instances(watched, beats)
    known = instances(read(Workers).group_name) if silent else None
    return strikes_to_keep(watched, beats, silent - known if known is not None else set())


def _record(videos: Sequence[Video], strikes: Mapping[int, Strike | None], look: RedisLook) -> bool:
    memory_s = strike_memory_s(read(Schedule).rate_minutes)
    return heartbeats().record(videos, strikes, look, memory_s=memory_s)


def _end_counts(look: RedisLook, *, write: bool) -> bool:
    """Delete the counts of reclaims of videos that are READY or deleted; return whether Redis took it."""
    ended = store().read_ended(list(look.counted)) if write and look.counted else []
    return heartbeats().end_counts([(look.counted[video_id], video_id) for video_id in ended])


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
    written = not write or heartbeats().record_waits(waits, look, queue)
    return waits, written


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
    settings: Reclaiming, request: ExecutionInput, waits: Waits, earlier: RunRecord | None
) -> Criteria:
    may_resend = MAX_RESENT - (earlier.resent if earlier else 0)
    return Criteria(
        settings.confirm_silence_seconds,
        spare_beating=settings.expired_but_beating == "spare",
        lost=waits.lost[:may_resend] if settings.lost_messages == "resend" else (),
        released=request.release,
    )
