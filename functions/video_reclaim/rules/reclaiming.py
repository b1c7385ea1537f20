"""What to do with each video of a batch: lease it for the handoff, quarantine it, or leave it alone."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from video_reclaim.rules.counts import Cause, Counts
from video_reclaim.rules.listing import evidence
from video_reclaim.rules.platform import QUARANTINE_PREFIX
from video_reclaim.rules.staleness import Criteria, Reason, Video, judge
from video_reclaim.rules.view import View
from video_reclaim.rules.waiting import still_lost

MAX_QUARANTINES_AN_HOUR = 3
"""More videos than this in an hour are no poison, but a bad release of the workers."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What Redis says when the claims of dead workers are counted.

    ``reclaims`` is the number of claims of the same upload that were found dead in the last 7 days, by video id,
    the one counted now included; absent if it is unknown. ``taken`` are the waiting videos whose sighting this
    execution, and no other, took from the record.
    """

    reclaims: dict[int, int] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    answered: bool = False


@dataclass(slots=True)
class Plan:
    """What is to be done with one batch: rows as they were read, and the reason for each by id."""

    reasons: dict[int, Reason]
    lease: list[Video]
    quarantine: list[Video]
    over_limit: set[int]  # to lease, and to be quarantined if the hour had not had its quarantines
    reclaims: Mapping[int, int]  # see `Tally`

    def attempt(self, video_id: int) -> int:
        """Return the ``attempt`` of a video's message: the number of reclaims in the last 7 days, plus 1."""
        reclaims = self.reclaims.get(video_id, int(self.reasons[video_id] in FOUND_DEAD))
        return reclaims + 1

    def error_reasons(self) -> dict[int, str]:
        """Return what the users of quarantined videos read, by video id."""
        return {
            video.id: f"{QUARANTINE_PREFIX}: {self.reclaims[video.id]} times within 7 days. "
            "Please upload the file again, and ask for help if that does not work."
            for video in self.quarantine
        }


@dataclass(frozen=True, slots=True)
class Written:
    """The rows that were written, and those that PostgreSQL refused, with its reason.

    The others were no longer as read, or somebody else had them locked.
    """

    ids: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)

    def __add__(self, other: "Written") -> "Written":
        """Return what two writes of other rows come to."""
        return Written(self.ids + other.ids, self.refused | other.refused)


FOUND_DEAD = (Reason.LEASE_EXPIRED, Reason.SILENT, Reason.WORKER_GONE)
"""Only these end a claim, and only a claim counts: a lost message, an adoption and a release count nothing."""


def judge_batch(videos: Sequence[Video], view: View, criteria: Criteria) -> dict[int, Reason]:
    """Judge every video of a batch by the rule of the listing."""
    lost = still_lost(videos, view, lost_after_s=criteria.lost_after_s)
    return {video.id: judge(video, view.of(video), criteria, lost=lost) for video in videos}


def claims_found_dead(videos: Iterable[Video], reasons: Mapping[int, Reason]) -> dict[int, str]:
    """Return the claims to count, by video id. A claim counts once, however often its reclaim is tried."""
    return {v.id: f"{v.upload} {v.lease}" for v in videos if reasons[v.id] in FOUND_DEAD}


def quarantines_due(reasons: Mapping[int, Reason], tally: Tally, *, max_reclaims: int) -> list[int]:
    """Return the ids of the videos that were reclaimed more often than ``max_reclaims``; 0 is no limit.

    An unknown number is never the reason to give up a video.
    """
    dead = (video_id for video_id, reason in reasons.items() if reason in FOUND_DEAD)
    return [video_id for video_id in dead if 0 < max_reclaims < tally.reclaims.get(video_id, 0)]


def plan(
    videos: Iterable[Video],
    reasons: Mapping[int, Reason],
    tally: Tally,
    *,
    due: Container[int],
    granted: Container[int],
) -> Plan:
    """Decide on each video of a batch, of which some are due for quarantine, and some may be quarantined now.

    A lost message that another execution has taken is left to that one. A Redis that takes no count takes no
    heartbeats either, so silence is unknown.
    """
    kept = dict(reasons)
    for video_id, reason in reasons.items():
        if reason == Reason.MESSAGE_LOST and video_id not in tally.taken:
            kept[video_id] = Reason.MOVED_ON
        elif reason == Reason.SILENT and not tally.answered:
            kept[video_id] = Reason.HEARTBEAT_UNKNOWN
    stale = [video for video in videos if kept[video.id].stale]
    return Plan(
        reasons=kept,
        lease=[video for video in stale if video.id not in granted],
        quarantine=[video for video in stale if video.id in granted],
        over_limit={video.id for video in stale if video.id in due and video.id not in granted},
        reclaims=tally.reclaims,
    )


def counts(
    todo: Plan, asked: int, leased: Written, quarantined: Written, *, unsent: str | None, answered: bool
) -> Counts:
    """Return what was done with a batch of ``asked`` videos, before its messages are sent.

    Videos that were deleted, and those that could not be written because they had changed, moved on. ``unsent`` is
    the token whose holder has sent no message yet: the execution's own, in the first pass.
    """
    refused = len(leased.refused) + len(quarantined.refused)
    skipped = Counter(str(reason) for reason in todo.reasons.values() if not reason.stale)
    moved_on = asked - len(leased.ids) - len(quarantined.ids) - refused - skipped.total()
    if moved_on:
        skipped[Reason.MOVED_ON] += moved_on
    written = set(leased.ids)
    done = [video for video in todo.lease if video.id in written]
    adopted = sum(video.handoff_token not in (None, unsent) for video in done)
    return Counts(
        quarantined=len(quarantined.ids),
        over_limit=len(todo.over_limit & written),
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
    view: View,
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
            details |= evidence(video, view.of(video))
        if video_id in leased.ids:
            details["attempt"] = todo.attempt(video_id)
            if video_id in todo.over_limit:
                details["over_limit"] = True
            yield "released" if reason == Reason.RELEASED else "reclaimed", details
        elif video_id in quarantined.ids:
            yield "quarantined", details
        elif video_id in refused:
            yield "refused", details | {"error": refused[video_id]}
        else:
            yield "skipped", details | ({"reason": Reason.MOVED_ON} if reason.stale else {})
