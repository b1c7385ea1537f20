"""What a look at all videos that may be stuck comes to: the record so far, and the videos to reclaim."""

import itertools
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from msgspec import UNSET, structs

from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.run_record import Distrust, ListedVideo, RunRecord
from video_reclaim.rules.sightings import Seen
from video_reclaim.rules.staleness import Criteria, Reason, Video, iso, judge
from video_reclaim.rules.view import View

MAX_LISTED = 50_000
"""At most this many videos are looked at in one listing."""

_TOLD = 1_000
"""At most this many videos are told one by one: in a dry run's record, and in the log as left alone."""

_TENANTS_UNKNOWN = 100
_WAIT_MARGIN_S = 2
"""The wait is longer than the silence that it confirms: the precision of a Wait state is not documented."""


def judge_all(
    videos: Iterable[Video], view: View, criteria: Criteria, *, lost: Container[int]
) -> dict[int, Reason]:
    """Judge every video, in order, but for those that merely wait."""
    found = ((video, judge(video, view.of(video), criteria, lost=lost)) for video in videos)
    return {video.id: reason for video, reason in found if not (video.waits and reason == Reason.MOVED_ON)}


class Listing(NamedTuple):
    """What a listing comes to: the record of the execution so far, and the videos to reclaim, in order."""

    run: RunRecord
    ids: list[int]
    confirm_after_s: int  # when a second look can tell that the suspects are silent; 0 for none


def listing(
    videos: Sequence[Video],
    view: View,
    found: Mapping[int, Reason],
    request: ExecutionInput,
    earlier: RunRecord | None,
    criteria: Criteria,
) -> Listing:
    """Return what is to be reclaimed, and the record of the execution so far.

    The limit holds over both looks together. The second look adds to the stale videos of the ``earlier`` record; of
    the videos that were spared, only the second look counts.
    """
    taken = sum(earlier.stale.values()) if earlier else 0  # or more, if the limit left some over
    stale = [video_id for video_id, reason in found.items() if reason.stale]
    spared = [video_id for video_id, reason in found.items() if not reason.stale]
    ids = stale[: max(0, request.limit - taken)]
    counts = Counter(found.values())
    why = _distrust(view, found, criteria)
    unknown = [video_id for video_id in spared if found[video_id] == Reason.TENANT_UNKNOWN]
    run = structs.replace(
        earlier or RunRecord(dry_run=request.dry_run),
        stale={str(reason): n for reason, n in counts.items() if reason.stale},
        spared={str(reason): n for reason, n in counts.items() if not reason.stale},
        heartbeats_trusted=why is None and (earlier is None or earlier.heartbeats_trusted is not False),
        distrust=why or (earlier.distrust if earlier else UNSET),
        expired_but_beating=sum(video.lease_expired and _beats(video, view) for video in videos),
        longest_wait_s=_longest_wait_s(videos, view) if view.look.answered else UNSET,
        left_to_next_run=len(stale) - len(ids),
        listing_full=len(videos) >= MAX_LISTED or UNSET,
        tenant_unknown=unknown[:_TENANTS_UNKNOWN] or UNSET,
    )
    if earlier:
        # Videos that the limit left over were counted by the first look.
        run.stale = dict(Counter(earlier.stale) + Counter({} if earlier.left_to_next_run else run.stale))
        run.expired_but_beating = max(run.expired_but_beating, earlier.expired_but_beating)
    if not request.dry_run:
        return Listing(run, ids, 0 if earlier else _confirm_after_s(found, view, criteria))
    named = itertools.islice([*ids, *spared], _TOLD)
    run.videos = [ListedVideo(video_id, found[video_id]) for video_id in named]
    return Listing(run, [], 0)


def _distrust(view: View, found: Mapping[int, Reason], criteria: Criteria) -> Distrust | None:
    """Return why silence did not count for some video; None if it did."""
    if not view.look.answered:
        return "redisAway"
    if criteria.mass_silence:
        return "massSilence"
    unknown = [view.seen[id_] for id_, reason in found.items() if reason == Reason.HEARTBEAT_UNKNOWN]
    if not unknown:
        return None
    return "neverHeard" if any(one.sighting for one in unknown) else "neverExpires"


def _beats(video: Video, view: View) -> bool:
    return video.at_work and view.of(video).known and view.of(video).heartbeat_there


def _longest_wait_s(videos: Iterable[Video], view: View) -> float:
    return max((view.of(video).unchanged_s for video in videos if video.waits), default=0.0)


def _confirm_after_s(found: Mapping[int, Reason], view: View, criteria: Criteria) -> int:
    """Return when a look can tell more of all suspects."""
    suspects = (view.seen[id_] for id_, reason in found.items() if reason == Reason.SUSPECT)
    left_s = max((one.told_in_s(criteria.silent_after_s) for one in suspects), default=0.0)
    return ceil(left_s) + _WAIT_MARGIN_S if left_s > 0 and not criteria.mass_silence else 0


def findings(
    videos: Iterable[Video], view: View, found: Mapping[int, Reason]
) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each stale video, and each that is left alone though something is wrong, with the evidence."""
    left = 0
    for video in videos:
        reason = found.get(video.id)
        if reason is None or reason == Reason.BEATING:
            continue
        left += not reason.stale
        if reason.stale or left <= _TOLD:
            details = {"video": video.id, "reason": reason, **evidence(video, view.of(video))}
            if reason == Reason.MESSAGE_LOST and view.look.queue_clear_since_s is not None:
                details["queue_clear_since"] = iso(view.look.queue_clear_since_s)
            yield "stale" if reason.stale else "left alone", details


def evidence(video: Video, seen: Seen) -> dict[str, object]:
    """Return what a decision about a video rests on, as fields of a log line."""
    since = "waiting_since" if video.waits else "silent_since"
    return {
        "holder": video.leased_by,
        "lease": video.lease,
        **({since: iso(video.now_s - seen.unchanged_s)} if seen.sighting and seen.unchanged_s else {}),
    }
