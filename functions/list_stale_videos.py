"""List the stale videos in batches of ids, the oldest claim first."""

from dataclasses import replace
from typing import Any

from video_reclaim import log
from video_reclaim.adapters import sqs
from video_reclaim.adapters.postgres.store import store
from video_reclaim.adapters.redis.heartbeats import heartbeats
from video_reclaim.conversion import from_builtins, to_builtins
from video_reclaim.rules.batching import batches
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.listing import findings, judge_all, listing
from video_reclaim.rules.run_record import RunRecord
from video_reclaim.rules.sightings import memory_s
from video_reclaim.rules.staleness import Criteria, Video
from video_reclaim.rules.view import BLIND, View, compare, most_are_silent, notes
from video_reclaim.rules.waiting import Proof, needs_look_at_queue, prove
from video_reclaim.settings import Queues, Schedule, criteria_for, read


@log.handler
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map ``{"input": {…}, "run": {…}, "execution": ARN}`` to ``{"run", "batches", "confirmAfterS"}``.

    An empty ``run`` asks for the first look, a record for the second one. ``batches`` are lists of ids, none in
    a dry run. ``confirmAfterS`` is the time after which a second look can tell whether the suspects are silent,
    in seconds; 0 if none is needed. What was seen is written, in Redis; a retry writes the same again.

    Raises:
        InvalidInput: names the field; nothing was read or written.
        StoreUnavailable, StoreRefused: the database could not be read.
    """
    request = ExecutionInput.parse(event["input"])
    earlier = from_builtins(event["run"], RunRecord, strict=False) if event["run"] else None
    videos, criteria = _read(request), criteria_for(request)
    view = compare(videos, heartbeats().look(videos), criteria)  # read after the rows: see `judge`
    criteria = replace(criteria, mass_silence=most_are_silent(videos, view, criteria))
    proof = _prove(videos, view, criteria)
    if not request.dry_run and not _remember(view, proof, criteria):
        view = BLIND
    found = judge_all(videos, view, criteria, lost=proof.lost)
    log.trace(findings(videos, view, found))
    listed = listing(videos, view, found, request, earlier, criteria)
    items = batches(listed.ids)
    return {"run": to_builtins(listed.run), "batches": items, "confirmAfterS": listed.confirm_after_s}


def _read(request: ExecutionInput) -> list[Video]:
    """Read the videos to release and all that may be stuck."""
    released = store().read_videos(request.release) if request.release else []
    return released + [video for video in store().list_candidates() if video.id not in request.release]


def _prove(videos: list[Video], view: View, criteria: Criteria) -> Proof:
    depth = sqs.read_depth([read(Queues).video_url]) if needs_look_at_queue(videos, view) else None
    return prove(videos, view, depth, lost_after_s=criteria.lost_after_s)


def _remember(view: View, proof: Proof, criteria: Criteria) -> bool:
    """Write what was seen; return whether Redis answered and took it."""
    if not view.look.answered:
        return False
    since_s, mass = proof.clear_since_s, criteria.mass_silence
    noted = notes(view, lost=proof.lost, queue_clear_since_s=since_s, mass_silence=mass)
    return heartbeats().record(noted, memory_s=memory_s(read(Schedule).rate_minutes))
