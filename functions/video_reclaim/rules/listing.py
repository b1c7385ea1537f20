"""What a listing found, and the record of the execution so far."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import UNSET, structs

from video_reclaim.rules.execution_input import MAX_VIDEOS_PER_RUN, ExecutionInput
from video_reclaim.rules.run_record import ListedVideo, RunRecord
from video_reclaim.rules.staleness import (
    UNKNOWN_HEARTBEAT,
    Criteria,
    Heartbeat,
    Reason,
    Strike,
    Video,
    depends_on_heartbeat,
    iso,
    judge,
)
from video_reclaim.rules.waiting import QueueLook, Wait, Waits

_REPORTED_IDS = 100
_DRY_RUN_IDS = 1_000


@dataclass(frozen=True, slots=True)
class RedisLook:
    """What a listing reads from Redis.

    Attributes:
        heartbeats: by video id.
        seen_ttl_s: for how long Redis remembers that a heartbeat was once seen in it, seconds; negative if not.
        counted: tenant ids of the videos that have a count of reclaims, by video id.
        waits: since when videos wait, by video id.
        waits_looked_at_s: time of the last look at the waiting videos; None for never.
        queue_empty_since_s: since when the video queue was found empty; None for never.
        just_retried: ids of the waiting videos that a user has retried in the last 300 s.
        answered: Redis answered; if not, all of this is unknown.
    """

    heartbeats: dict[int, Heartbeat] = field(default_factory=dict)
    seen_ttl_s: int = -2
    counted: dict[int, int] = field(default_factory=dict)
    waits: dict[int, Wait] = field(default_factory=dict)
    waits_looked_at_s: float | None = None
    queue_empty_since_s: float | None = None
    just_retried: set[int] = field(default_factory=set)
    answered: bool = True

    @property
    def seen_before(self) -> bool:
        """Whether a heartbeat was once seen in this Redis."""
        return self.seen_ttl_s >= 0


def silent_instances(videos: Iterable[Video], heartbeats: Mapping[int, Heartbeat]) -> set[str]:
    """Return the EC2 instances of the workers whose heartbeats are missing."""
    silent = (video for video in videos if heartbeats.get(video.id, UNKNOWN_HEARTBEAT).present is False)
    return {video.instance for video in silent if video.instance}


def with_strikes(
    heartbeats: Mapping[int, Heartbeat], strikes: Mapping[int, Strike | None]
) -> dict[int, Heartbeat]:
    """Return the heartbeats with the strikes as they are written now."""
    return {
        video_id: Heartbeat(heartbeat.present, strikes.get(video_id, heartbeat.strike))
        for video_id, heartbeat in heartbeats.items()
    }


def judge_all(
    videos: Iterable[Video], heartbeats: Mapping[int, Heartbeat], criteria: Criteria
) -> dict[int, Reason]:
    """Judge every video, in order, but for those that merely wait; an absent heartbeat is unknown.

    A waiting video without a tenant is told too: no message can be written for it.
    """
    return {
        video.id: judge(video, heartbeats.get(video.id, UNKNOWN_HEARTBEAT), criteria)
        for video in videos
        if not video.waits or video.id in criteria.lost or video.tenant_id is None
    }


@dataclass(slots=True)
class Tally:
    """Reasons page by page: all are counted, the ids of the first videos are kept.

    Attributes:
        counts: number of videos, by reason.
        stale: up to 10,000 videos to reclaim, in order.
        spared: up to 1,000 others, in order.
        tenant_unknown: ids of up to 100 videos without a tenant.
    """

    counts: Counter[Reason] = field(default_factory=Counter)
    stale: dict[int, Reason] = field(default_factory=dict)
    spared: dict[int, Reason] = field(default_factory=dict)
    tenant_unknown: list[int] = field(default_factory=list)

    def add(self, found: Mapping[int, Reason]) -> None:
        """Add the videos of a page, in order, with their reasons."""
        self.counts.update(found.values())
        for video_id, reason in found.items():
            first, most = (self.stale, MAX_VIDEOS_PER_RUN) if reason.stale else (self.spared, _DRY_RUN_IDS)
            if len(first) < most:
                first[video_id] = reason
            if reason == Reason.TENANT_UNKNOWN and len(self.tenant_unknown) < _REPORTED_IDS:
                self.tenant_unknown.append(video_id)


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
    found: Tally,
    request: ExecutionInput,
    *,
    heartbeats_trusted: bool,
    can_confirm: bool,
    earlier: RunRecord | None,
) -> Listing:
    """Return what is to be reclaimed, and the record of the execution so far.

    Args:
        found: the reasons of all videos that were looked at.
        request: the input of the execution. Its limit holds over both looks together.
        heartbeats_trusted: Redis could be read and written, and heartbeats were once seen in it.
        can_confirm: a second look in this run can confirm a first miss.
        earlier: for the second look, the record so far. Its stale videos are added to; of the videos that were
            spared, only the second look counts.
    """
    taken = sum(earlier.stale.values()) - earlier.left_to_next_run if earlier else 0
    ids = list(found.stale)[: max(0, request.limit - taken)]
    counts = found.counts
    run = structs.replace(
        earlier or RunRecord(dry_run=request.dry_run),
        stale={str(reason): n for reason, n in counts.items() if reason.stale},
        spared={str(reason): n for reason, n in counts.items() if not reason.stale},
        heartbeats_trusted=heartbeats_trusted
        and (earlier is None or earlier.heartbeats_trusted is not False),
        left_to_next_run=sum(n for reason, n in counts.items() if reason.stale) - len(ids),
        tenant_unknown=found.tenant_unknown or UNSET,
    )
    if earlier:
        # Videos that the limit left over were counted by the first look.
        run.stale = dict(Counter(earlier.stale) + Counter({} if earlier.left_to_next_run else run.stale))
    if not request.dry_run:
        first_misses = counts[Reason.SILENT_ONCE] if can_confirm and earlier is None else 0
        return Listing(run, ids, first_misses)
    named = {video_id: found.stale[video_id] for video_id in ids} | found.spared
    run.videos = [ListedVideo(*video) for video in itertools.islice(named.items(), _DRY_RUN_IDS)]
    return Listing(run, [], 0)


def is_trusted(videos: Iterable[Video], heartbeats: Mapping[int, Heartbeat], criteria: Criteria) -> bool:
    """Tell whether the heartbeat of every video that depends on one is known."""
    return all(
        heartbeats.get(video.id, UNKNOWN_HEARTBEAT).present is not None
        for video in videos
        if depends_on_heartbeat(video, spare_beating=criteria.spare_beating)
    )


def count_expired_but_beating(videos: Iterable[Video], heartbeats: Mapping[int, Heartbeat]) -> int:
    """Return the number of videos with an expired lease and a heartbeat."""
    return sum(
        video.lease_expired and bool(heartbeats.get(video.id, UNKNOWN_HEARTBEAT).present) for video in videos
    )


def add_counts(run: RunRecord, expired_but_beating: int, waits: Waits, *, answered: bool) -> None:
    """Add to a record what was found besides stale videos; of two looks, the one that found more counts."""
    run.expired_but_beating = max(run.expired_but_beating, expired_but_beating)
    run.messages_lost = max(run.messages_lost, len(waits.lost))
    run.longest_wait_s = waits.longest_s() if answered else UNSET


def findings(
    videos: Iterable[Video], heartbeats: Mapping[int, Heartbeat], waits: Waits, found: Mapping[int, Reason]
) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield first misses and lost messages, each as a log message with its evidence."""
    for video in videos:
        details = {"video": video.id, "holder": video.leased_by, "lease": video.lease}
        strike = heartbeats.get(video.id, UNKNOWN_HEARTBEAT).strike
        if found.get(video.id) == Reason.SILENT_ONCE and strike and strike.at_s == video.now_s:
            since = {"silent_since": iso(strike.at_s)}
            yield "first miss", details | {"reason": Reason.SILENT_ONCE} | since
        elif found.get(video.id) == Reason.MESSAGE_LOST:
            since = {"waiting_since": iso(waits.by_id[video.id].since_s)}
            yield "message lost", details | {"reason": Reason.MESSAGE_LOST} | since | _evidence(waits.queue)


def _evidence(queue: QueueLook | None) -> dict[str, object]:
    """Return what a look at the queue found, of the two proofs that a message is lost."""
    if queue is None:
        return {}
    if queue.empty_since_s is not None:
        return {"queue_empty_since": iso(queue.empty_since_s)}
    return {} if queue.oldest_s is None else {"queue_oldest_s": queue.oldest_s}
