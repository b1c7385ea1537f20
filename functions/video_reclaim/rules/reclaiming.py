"""What to do with each video of a batch: lease it for the handoff, quarantine it, or leave it alone."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from video_reclaim.rules.counts import Counts
from video_reclaim.rules.platform import HANDOFF_PREFIX
from video_reclaim.rules.staleness import UNKNOWN_HEARTBEAT, Heartbeat, Reason, Video, judge


@dataclass(frozen=True, slots=True)
class History:
    """What Redis knows about the videos of a batch. A video that is absent is unknown.

    Attributes:
        heartbeats: by video id.
        earlier_reclaims: number of reclaims in the last 7 days before this one, by video id.
        newly_counted: ids of the videos whose claim had not been counted before.
    """

    heartbeats: dict[int, Heartbeat] = field(default_factory=dict)
    earlier_reclaims: dict[int, int] = field(default_factory=dict)
    newly_counted: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Plan:
    """What is to be done with one batch.

    Attributes:
        lease: rows to reclaim, as read.
        attempts: for each of them, by id, the ``attempt`` of its message: the number of reclaims in the last
            7 days, plus 1.
        quarantine: rows that are not sent again, as read.
        quarantine_reasons: for each of them, by id, the text for ``error_reason``.
        skipped: number of videos that are left alone, by reason.
    """

    lease: list[Video] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    quarantine: list[Video] = field(default_factory=list)
    quarantine_reasons: dict[int, str] = field(default_factory=dict)
    skipped: Counter[Reason] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write to several rows.

    Attributes:
        ids: rows that were written. The others were no longer as read, or somebody else had them locked.
        refused: rows that PostgreSQL refused to write, with its reason, by id.
    """

    ids: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def candidates(videos: Iterable[Video], token: str) -> list[Video]:
    """Return the videos that would be stale if their workers were silent: those worth asking Redis about."""
    missing = Heartbeat(present=False)
    return [video for video in videos if judge(video, missing, confirm_silence_s=0, own_token=token).stale]


def claims_to_count(videos: Iterable[Video]) -> dict[int, str]:
    """Return the claim that each reclaim would end, by video id.

    A claim counts once, however often its reclaim is tried and by however many executions at a time. A video
    between database and queue was counted when it was taken from its worker; adopting it counts nothing, or a
    queue that is away for hours would quarantine every video that waits for it.
    """
    return {video.id: video.lease for video in videos if video.handoff_token is None}


def plan(
    videos: Iterable[Video], history: History, *, token: str, confirm_silence_s: int, max_reclaims: int
) -> Plan:
    """Decide on each video of a batch.

    Args:
        videos: the rows as just read.
        history: what Redis said. An unknown number of reclaims counts as 0: a lost count must never be the
            reason to give up a video.
        token: the execution's token.
        confirm_silence_s: see `staleness.judge`.
        max_reclaims: a video reclaimed more often than this is quarantined; 0 for no limit.
    """
    result = Plan()
    for video in videos:
        heartbeat = history.heartbeats.get(video.id, UNKNOWN_HEARTBEAT)
        reason = judge(video, heartbeat, confirm_silence_s=confirm_silence_s, own_token=token)
        if not reason.stale:
            result.skipped[reason] += 1
            continue
        reclaims = history.earlier_reclaims.get(video.id, 0) + 1
        if 0 < max_reclaims < reclaims:
            result.quarantine.append(video)
            result.quarantine_reasons[video.id] = _error_reason(video, reason, reclaims, max_reclaims)
        else:
            result.lease.append(video)
            result.attempts[video.id] = reclaims + 1
    return result


def counts(todo: Plan, asked: int, leased: Written, quarantined: Written) -> Counts:
    """Return what was done with a batch, before its messages are sent.

    Args:
        todo: the plan.
        asked: number of videos in the batch. Those that were deleted, and those that could not be written
            because they had changed, moved on.
        leased: the result of leasing.
        quarantined: the result of quarantining.
    """
    refused = len(leased.refused) + len(quarantined.refused)
    skipped = {str(reason): n for reason, n in todo.skipped.items()}
    done = len(leased.ids) + len(quarantined.ids) + refused + sum(skipped.values())
    if moved_on := asked - done + skipped.get(Reason.MOVED_ON, 0):
        skipped[str(Reason.MOVED_ON)] = moved_on
    return Counts(quarantined=len(quarantined.ids), refused=refused, skipped=skipped)


def _error_reason(video: Video, reason: Reason, reclaims: int, max_reclaims: int) -> str:
    named = video.leased_by and not video.leased_by.startswith(HANDOFF_PREFIX)
    holder = video.leased_by if named else "nobody on record"
    return (
        f"Quarantined by video-reclaim: stuck {reclaims} times within 7 days (limit {max_reclaims}); "
        f"last time {reason.meaning}; last leased by {holder}."
    )
