"""List the stale videos in batches of ids, the oldest claim first."""

from typing import Any

from video_reclaim import log
from video_reclaim.adapters.heartbeats import heartbeats
from video_reclaim.adapters.postgres.store import store
from video_reclaim.records import from_builtins, to_builtins
from video_reclaim.rules.batching import batches
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.listing import judge_all, listing
from video_reclaim.rules.run_record import RunRecord
from video_reclaim.rules.staleness import strike_memory_s, strikes_to_keep
from video_reclaim.settings import Reclaiming, Schedule, read


@log.handler
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map ``{"input": {…}, "run": {…}, "execution": ARN}`` to ``{"run", "batches", "firstMisses"}``.

    An empty ``run`` asks for the first look, a record for the second one. ``batches`` are lists of ids, none in
    a dry run. ``firstMisses`` is the number of videos whose heartbeat was missing for the first time, when a
    second look can confirm it. Only strikes are written, in Redis; a retry writes the same ones again.

    Raises:
        InvalidInput: names the field; nothing was read or written.
        StoreUnavailable, StoreRefused: the database could not be read.
    """
    request = ExecutionInput.parse(event["input"])
    settings, schedule = read(Reclaiming), read(Schedule)
    earlier = from_builtins(event["run"], RunRecord, strict=False) if event["run"] else None
    videos = store().list_candidates()
    beats = heartbeats().read(videos)  # read after the rows: a race can only make a video look alive
    trusted = beats is not None
    if beats and not request.dry_run:
        memory_s = strike_memory_s(settings.confirm_silence_seconds, schedule.rate_minutes)
        trusted = heartbeats().record_strikes(videos, strikes_to_keep(videos, beats), memory_s=memory_s)
    found = judge_all(videos, beats or {}, confirm_silence_s=settings.confirm_silence_seconds)
    listed = listing(found, request, heartbeats_trusted=trusted, earlier=earlier)
    run = listed.run
    log.info("listed", stale=run.stale, spared=run.spared, heartbeats_trusted=run.heartbeats_trusted)
    return {"run": to_builtins(run), "batches": batches(listed.ids), "firstMisses": listed.first_misses}
