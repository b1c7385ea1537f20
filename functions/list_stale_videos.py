"""List the stale videos, in batches of ids, oldest claim first."""

from collections import Counter
from typing import Any

from video_reclaim import log
from video_reclaim.batching import batches
from video_reclaim.execution_input import ExecutionInput
from video_reclaim.heartbeats import heartbeats
from video_reclaim.postgres import store
from video_reclaim.settings import StalenessSettings, read
from video_reclaim.staleness import UNKNOWN_PULSE, judge, strikes_to_keep

_REPORTED_IDS = 100
_DRY_RUN_IDS = 1_000


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map the execution's input to ``{"dryRun": bool, "batches": [[id, …], …], "run": {…}}``.

    ``run`` is the beginning of the execution's record: ``stale`` and ``spared`` by reason, whether the
    heartbeats could be read, and how many stale videos are left to the next run by the cap. A dry run gives
    no batches, but the first 1,000 videos with their reasons, stale ones first; it writes nothing.

    The only thing written is strikes against silent workers, in Redis. A retry writes the same ones again.

    Raises:
        InvalidInput: names the field; nothing was read or written.
        StoreUnavailable, StoreRefused: the database.
    """
    request = ExecutionInput.parse(event)
    settings = read(StalenessSettings)
    videos = store().list_candidates()
    pulses = heartbeats().pulses(videos)  # read last: a race can only make a video look alive
    verdicts = {
        video.id: judge(
            video,
            (pulses or {}).get(video.id, UNKNOWN_PULSE),
            confirm_silence_s=settings.confirm_silence_seconds,
        )
        for video in videos
    }
    trusted = pulses is not None
    if pulses and not request.dry_run:
        strikes = strikes_to_keep(videos, pulses)
        trusted = heartbeats().record_strikes(videos, strikes, memory_s=settings.strike_memory_seconds)

    stale = [video_id for video_id, verdict in verdicts.items() if verdict.stale]
    taken = stale[: request.limit]
    counts = Counter(verdicts.values())
    run = {
        "dryRun": request.dry_run,
        "stale": {verdict: n for verdict, n in counts.items() if verdict.stale},
        "spared": {verdict: n for verdict, n in counts.items() if not verdict.stale},
        "heartbeatsTrusted": trusted,
        "leftToNextRun": len(stale) - len(taken),
    }
    doubtful = [video_id for video_id, verdict in verdicts.items() if verdict == "tenantUnknown"]
    if doubtful:
        run["tenantUnknown"] = doubtful[:_REPORTED_IDS]
    log.event("listed", **run)
    if request.dry_run:
        told = taken + [video_id for video_id, verdict in verdicts.items() if not verdict.stale]
        run["videos"] = [{"id": video_id, "reason": verdicts[video_id]} for video_id in told[:_DRY_RUN_IDS]]
    return {"dryRun": request.dry_run, "batches": [] if request.dry_run else batches(taken), "run": run}
