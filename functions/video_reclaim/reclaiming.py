"""What to do with the videos of one batch: take, quarantine or leave alone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from video_reclaim.staleness import HANDOFF_PREFIX, UNKNOWN_PULSE, Pulse, Verdict, Video, judge


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A video that has been reclaimed too often.

    Attributes:
        video: the row as seen.
        reason: for ``error_reason``: why, by whom last leased, how often.
    """

    video: Video
    reason: str


@dataclass(slots=True)
class Plan:
    """What one batch comes to.

    Attributes:
        take: rows to reclaim, as seen.
        attempts: for each of them, by id, the message's ``attempt``: the reclaims within seven days and one.
        quarantine: rows that are not sent again.
        skipped: how many were left alone, by verdict.
    """

    take: list[Video] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    quarantine: list[Quarantine] = field(default_factory=list)
    skipped: Counter[Verdict] = field(default_factory=Counter)


def to_count(videos: Iterable[Video]) -> dict[int, str]:
    """Name the claims that these reclaims would end, by video id: a claim that got stuck counts once.

    However often its reclaim is tried, and by however many executions at a time, it is the same claim.

    A video between database and queue was counted when it was taken from its worker. Taking it over says
    nothing against it: a queue that is away for hours would quarantine every video that waits for it.
    """
    return {video.id: video.lease for video in videos if video.handoff_token is None}


def plan(
    videos: Iterable[Video],
    pulses: Mapping[int, Pulse],
    earlier_reclaims: Mapping[int, int],
    *,
    token: str,
    confirm_silence_s: int,
    max_reclaims: int,
) -> Plan:
    """Decide on each video of a batch.

    Args:
        videos: the rows as just read.
        pulses: what Redis said, by id; absent is unknown.
        earlier_reclaims: reclaims within seven days before this one, by id; absent is unknown and counts 0,
            since a lost count must never be the reason to lose a video.
        token: the execution's token.
        confirm_silence_s: see `staleness.judge`.
        max_reclaims: a video reclaimed more often than this is quarantined; 0 for no limit.
    """
    result = Plan()
    for video in videos:
        verdict = judge(
            video,
            pulses.get(video.id, UNKNOWN_PULSE),
            confirm_silence_s=confirm_silence_s,
            own_token=token,
        )
        if not verdict.stale:
            result.skipped[verdict] += 1
            continue
        reclaims = earlier_reclaims.get(video.id, 0) + 1
        if 0 < max_reclaims < reclaims:
            result.quarantine.append(Quarantine(video, _why(video, verdict, reclaims, max_reclaims)))
        else:
            result.take.append(video)
            result.attempts[video.id] = reclaims + 1
    return result


def _why(video: Video, verdict: Verdict, reclaims: int, max_reclaims: int) -> str:
    cause = {
        Verdict.LEASE_EXPIRED: "its lease expired",
        Verdict.SILENT_TWICE: "its worker fell silent",
    }.get(verdict, "it was left between database and queue")
    named = video.leased_by and not video.leased_by.startswith(HANDOFF_PREFIX)
    holder = video.leased_by if named else "nobody on record"
    return (
        f"Quarantined by video-reclaim: stuck {reclaims} times within 7 days (limit {max_reclaims}); "
        f"last time {cause}; last leased by {holder}."
    )


def candidates(videos: Iterable[Video], token: str) -> list[Video]:
    """The videos that would be stale if their workers were silent: those worth asking Redis about."""
    return [
        video
        for video in videos
        if judge(video, Pulse(beating=False), confirm_silence_s=0, own_token=token).stale
    ]
