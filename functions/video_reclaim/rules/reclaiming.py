"""What to do with each video of a batch: lease it for the handoff, quarantine it, or leave it alone."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from video_reclaim.rules.counts import Cause, Counts
from video_reclaim.rules.platform import QUARANTINE_PREFIX, Status
from video_reclaim.rules.staleness import (
    UNKNOWN_HEARTBEAT,
    Criteria,
    Heartbeat,
    Reason,
    Video,
    credible,
    iso,
    judge,
)
from video_reclaim.rules.waiting import Wait, identity


@dataclass(frozen=True, slots=True)
class History:
    """What Redis knows about the videos of a batch. A video that is absent is unknown.

    Attributes:
        heartbeats: by video id.
        waits: since when videos wait unchanged, by video id.
        earlier_reclaims: number of reclaims of the same upload in the last 7 days before this one, by video id.
        newly_counted: ids of the videos whose claim had not been counted before.
        seen_before: heartbeats were once seen in this Redis.
        answered: Redis answered; if not, it is unknown which claims it has counted.
    """

    heartbeats: dict[int, Heartbeat] = field(default_factory=dict)
    waits: dict[int, Wait] = field(default_factory=dict)
    earlier_reclaims: dict[int, int] = field(default_factory=dict)
    newly_counted: set[int] = field(default_factory=set)
    seen_before: bool = False
    answered: bool = True


@dataclass(slots=True)
class Plan:
    """What is to be done with one batch.

    Attributes:
        reasons: why each video that was read is to be reclaimed or skipped, by id.
        lease: rows to reclaim, as read.
        attempts: for each of them, by id, the ``attempt`` of its message: the number of reclaims in the last
            7 days, plus 1.
        quarantine: rows that are not sent again, as read.
        quarantine_reasons: for each of them, by id, the text for ``error_reason``.
    """

    reasons: dict[int, Reason] = field(default_factory=dict)
    lease: list[Video] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    quarantine: list[Video] = field(default_factory=list)
    quarantine_reasons: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write to several rows.

    Attributes:
        ids: rows that were written. The others were no longer as read, or somebody else had them locked.
        refused: rows that PostgreSQL refused to write, with its reason, by id.
    """

    ids: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def candidates(videos: Iterable[Video], criteria: Criteria) -> list[Video]:
    """Return the videos that would be stale if their workers were silent: those worth asking Redis about."""
    strict = replace(criteria, confirm_silence_s=0, lost=_Everything())
    missing = Heartbeat(present=False)
    return [video for video in videos if judge(video, missing, strict).stale]


class _Everything(Container[int]):
    def __contains__(self, _: object) -> bool:
        return True


def claims_to_count(videos: Iterable[Video], token: str) -> dict[int, str]:
    """Return the claim that each reclaim would end, by video id.

    A claim counts once, however often its reclaim is tried and by however many executions at a time. A lost
    message has no claim; each execution that sends one again counts once. A video between database and queue
    was counted when it was taken from its worker; adopting it counts nothing, or a queue that is away for
    hours would quarantine every video that waits for it. Neither does a release count.
    """
    return {
        video.id: f"{video.upload} {token if video.waits else video.lease}"
        for video in videos
        if video.handoff_token is None and video.status != Status.FAILED
    }


def still_lost(videos: Iterable[Video], waits: Mapping[int, Wait], *, lost_after_s: int) -> set[int]:
    """Return the ids of the videos whose wait is still as recorded and long enough.

    A listing must have found the message lost during this very wait. A redrive of an old execution proves nothing
    about a later wait.
    """
    return {
        video.id
        for video in videos
        if video.waits
        and (wait := waits.get(video.id))
        and wait.lost
        and wait.identity == identity(video)
        and video.now_s - wait.since_s >= lost_after_s
    }


def plan(videos: Iterable[Video], history: History, criteria: Criteria, *, max_reclaims: int) -> Plan:
    """Decide on each video of a batch.

    Args:
        videos: the rows as just read.
        history: what Redis said. An unknown number of reclaims counts as 0: a lost count must never be the
            reason to give up a video.
        criteria: see `staleness.judge`.
        max_reclaims: a video reclaimed more often than this is quarantined; 0 for no limit.
    """
    result = Plan()
    heartbeats = credible(history.heartbeats, seen_before=history.seen_before)
    for video in videos:
        reason = judge(video, heartbeats.get(video.id, UNKNOWN_HEARTBEAT), criteria)
        result.reasons[video.id] = reason
        if not reason.stale:
            continue
        reclaims = history.earlier_reclaims.get(video.id, 0) + (reason != Reason.RELEASED)
        if 0 < max_reclaims < reclaims and reason != Reason.RELEASED:
            result.quarantine.append(video)
            result.quarantine_reasons[video.id] = (
                f"{QUARANTINE_PREFIX}: {reclaims} times within 7 days. "
                "It is not tried again until an operator releases it."
            )
        else:
            result.lease.append(video)
            result.attempts[video.id] = reclaims + 1
    return result


def counts(
    todo: Plan, asked: int, leased: Written, quarantined: Written, *, unsent: str | None, answered: bool
) -> Counts:
    """Return what was done with a batch, before its messages are sent.

    Args:
        todo: the plan.
        asked: number of videos in the batch. Those that were deleted, and those that could not be written
            because they had changed, moved on.
        leased: the result of leasing.
        quarantined: the result of quarantining.
        unsent: the token whose holder has sent no message yet: the execution's own, in the first pass.
        answered: Redis answered.
    """
    refused = len(leased.refused) + len(quarantined.refused)
    skipped = Counter(str(reason) for reason in todo.reasons.values() if not reason.stale)
    moved_on = asked - len(leased.ids) - len(quarantined.ids) - refused - skipped.total()
    if moved_on:
        skipped[Reason.MOVED_ON] += moved_on
    done = [video for video in todo.lease if video.id in leased.ids]
    adopted = sum(video.handoff_token not in (None, unsent) for video in done)
    return Counts(
        quarantined=len(quarantined.ids),
        refused=refused,
        resent=sum(video.waits for video in done),
        duplicates={Cause.ADOPTED.value: adopted} if adopted else {},
        skipped={str(reason): n for reason, n in skipped.items()},
        redis_away=0 if answered else 1,
    )


def outcomes(
    asked: Iterable[int],
    videos: Iterable[Video],
    todo: Plan,
    history: History,
    leased: Written,
    quarantined: Written,
) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield what was done with each video of a batch, as a log message with its evidence."""
    read = {video.id: video for video in videos}
    refused = leased.refused | quarantined.refused
    for video_id in asked:
        reason, video = todo.reasons.get(video_id, Reason.MOVED_ON), read.get(video_id)
        details: dict[str, object] = {"video": video_id, "reason": reason}
        if video is not None:
            details |= _evidence(video, history)
        if video_id in leased.ids:
            details["attempt"] = todo.attempts[video_id]
            yield "released" if reason == Reason.RELEASED else "reclaimed", details
        elif video_id in quarantined.ids:
            yield "quarantined", details
        elif video_id in refused:
            yield "refused", details | {"error": refused[video_id]}
        else:
            yield "skipped", details | ({"reason": Reason.MOVED_ON} if reason.stale else {})


def _evidence(video: Video, history: History) -> dict[str, object]:
    strike = history.heartbeats.get(video.id, UNKNOWN_HEARTBEAT).strike
    wait = history.waits.get(video.id)
    return {
        "holder": video.leased_by,
        "lease": video.lease,
        **({"silent_since": iso(strike.at_s)} if strike and strike.lease == video.lease else {}),
        **({"waiting_since": iso(wait.since_s)} if wait else {}),
    }
