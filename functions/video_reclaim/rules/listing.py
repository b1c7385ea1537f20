"""What a listing found, and the record that an execution starts with."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import UNSET, structs

from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.run_record import ListedVideo, RunRecord
from video_reclaim.rules.staleness import UNKNOWN_HEARTBEAT, Heartbeat, Reason, Video, judge

_REPORTED_IDS = 100
_DRY_RUN_IDS = 1_000


def judge_all(
    videos: Iterable[Video], heartbeats: Mapping[int, Heartbeat], *, confirm_silence_s: int
) -> dict[int, Reason]:
    """Judge every video, in order; an absent heartbeat is unknown."""
    return {
        video.id: judge(
            video, heartbeats.get(video.id, UNKNOWN_HEARTBEAT), confirm_silence_s=confirm_silence_s
        )
        for video in videos
    }


class Listing(NamedTuple):
    """What a listing comes to.

    Attributes:
        run: the record of the execution so far.
        ids: the videos to reclaim, in order.
        first_misses: number of videos whose silence a second look can confirm.
    """

    run: RunRecord
    ids: list[int]
    first_misses: int


def listing(
    found: Mapping[int, Reason],
    request: ExecutionInput,
    *,
    heartbeats_trusted: bool,
    earlier: RunRecord | None,
) -> Listing:
    """Return what is to be reclaimed, and the record of the execution so far.

    Args:
        found: the reason of every video that was looked at, in order.
        request: the input of the execution. Its limit holds over both looks together.
        heartbeats_trusted: Redis could be read and written.
        earlier: for the second look, the record so far. Its stale videos are added to; of the videos that were
            spared, only the second look counts.
    """
    taken = sum(earlier.stale.values()) - earlier.left_to_next_run if earlier else 0
    stale = [video_id for video_id, reason in found.items() if reason.stale]
    ids = stale[: max(0, request.limit - taken)]
    counts = Counter(found.values())
    run = structs.replace(
        earlier or RunRecord(dry_run=request.dry_run),
        stale={str(reason): n for reason, n in counts.items() if reason.stale},
        spared={str(reason): n for reason, n in counts.items() if not reason.stale},
        heartbeats_trusted=heartbeats_trusted
        and (earlier is None or earlier.heartbeats_trusted is not False),
        left_to_next_run=len(stale) - len(ids),
        tenant_unknown=_first_ids(found, Reason.TENANT_UNKNOWN) or UNSET,
    )
    if earlier:
        # Videos that the limit left over were counted by the first look.
        run.stale = dict(Counter(earlier.stale) + Counter({} if earlier.left_to_next_run else run.stale))
    if not request.dry_run:
        can_confirm = earlier is None and heartbeats_trusted
        return Listing(run, ids, counts[Reason.SILENT_ONCE] if can_confirm else 0)
    spared = [video_id for video_id, reason in found.items() if not reason.stale]
    run.videos = [ListedVideo(video_id, found[video_id]) for video_id in [*ids, *spared][:_DRY_RUN_IDS]]
    return Listing(run, [], 0)


def _first_ids(found: Mapping[int, Reason], reason: Reason) -> list[int]:
    return [video_id for video_id, other in found.items() if other == reason][:_REPORTED_IDS]
