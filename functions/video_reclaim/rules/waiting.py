"""Since when videos wait for a worker, and which of their messages cannot exist any more.

The database does not tell how long a video has been UPLOADED, so the first time that it is seen waiting is
recorded in Redis, under an identity of lease and upload. A lost record only delays: the wait starts again.

A message exists at most for three receives of 300 s each after a worker first received it. The message of a
video that has waited longer cannot exist when the queue was empty in two looks, or when even the oldest
message of the queue is younger than the wait by that time.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from video_reclaim.rules.platform import WORKER_RECEIVE_LIMIT_S
from video_reclaim.rules.staleness import Video

MAX_TRACKED = 10_000
"""At most this many waiting videos are recorded, those with the lowest ids."""

MAX_RESENT = 100
"""At most this many messages are sent again in one run."""

_EMPTY_LOOKS_APART_S = 60
RETRY_SEEN_S = 300
"""For how long the platform's ``cancel_requested`` key tells that a user has retried a video."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Since when a video waits unchanged.

    Attributes:
        since_s: the database's clock when it was first seen waiting, seconds since the epoch.
        identity: lease and upload at that time, opaque.
        lost: a listing found during this wait that the message cannot exist any more.
    """

    since_s: float
    identity: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class QueueLook:
    """One look at the video queue.

    Attributes:
        empty_since_s: when a look first found the queue empty (visible, in flight and delayed are 0), if every
            look since then did, this one included; None if the queue is not empty.
        oldest_s: age of the oldest message in seconds; None if unknown or empty.
    """

    empty_since_s: float | None
    oldest_s: float | None


@dataclass(slots=True)
class Waits:
    """The waiting videos of one listing.

    Attributes:
        now_s: the database's clock, seconds since the epoch; 0 when nothing waits.
        by_id: since when each waits.
        started: ids whose wait starts with this listing: they are to be written.
        ended: ids of earlier waits that are to be deleted.
        lost: ids of the videos whose messages cannot exist any more, the longest wait first.
        queue: the look at the queue that this rests on.
    """

    now_s: float = 0.0
    by_id: dict[int, Wait] = field(default_factory=dict)
    started: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    queue: QueueLook | None = None

    def longest_s(self) -> float:
        """Return the longest wait so far in seconds; 0 when nothing waits."""
        return max(map(self.wait_s, self.by_id), default=0.0)

    def wait_s(self, video_id: int) -> float:
        """Return for how many seconds a video has been seen waiting."""
        return self.now_s - self.by_id[video_id].since_s


def identity(video: Video) -> str:
    """Return what must not change while a video waits."""
    return f"{video.lease} {video.upload}"


def gap_limit_s(rate_minutes: int) -> int:
    """Return how many seconds may pass between two looks before waits start again.

    A retry by a user can be seen for `RETRY_SEEN_S` seconds. Two rounds of a schedule of up to 4 minutes are never
    further apart, so a retry is always seen; on a slower schedule the age of the oldest message proves nothing.
    """
    return RETRY_SEEN_S if rate_minutes <= 4 else 60 * (3 * rate_minutes + 1)


def still_valid(
    recorded: Mapping[int, Wait], looked_at_s: float | None, *, now_s: float, gap_limit_s: int
) -> dict[int, Wait]:
    """Return the recorded waits, or none when there was no look for too long.

    A retry by a user can be seen for 300 s only, so after a longer gap a message may have been sent unseen.
    """
    seen = looked_at_s is not None and now_s - looked_at_s <= gap_limit_s
    return dict(recorded) if seen else {}


def track(videos: Iterable[Video], recorded: Mapping[int, Wait], just_retried: Container[int]) -> Waits:
    """Compare the videos that wait now with the record.

    Args:
        videos: the rows as read; those that do not wait are ignored, and those without a tenant, for which no
            message can be written.
        recorded: the record so far, by video id.
        just_retried: ids of videos with the platform's ``cancel_requested`` key: a user has just sent a message
            for them, so their wait starts again.
    """
    waits = Waits()
    for video in videos:
        if not video.waits or video.tenant_id is None:
            continue
        known = recorded.get(video.id)
        if known is None or known.identity != identity(video) or video.id in just_retried:
            waits.started.append(video.id)
            known = Wait(video.now_s, identity(video))
        waits.by_id[video.id] = known
        waits.now_s = max(waits.now_s, video.now_s)
    waits.ended = [video_id for video_id in recorded if video_id not in waits.by_id]
    return waits


def overdue(waits: Waits, *, lost_after_s: int) -> list[int]:
    """Return the ids of the videos that have waited for at least ``lost_after_s`` seconds, longest first."""
    due = [video_id for video_id in waits.by_id if waits.wait_s(video_id) >= lost_after_s]
    return sorted(due, key=waits.wait_s, reverse=True)


def lost(due: Iterable[int], waits: Waits, queue: QueueLook | None) -> list[int]:
    """Return the ids of the videos whose messages cannot exist any more.

    Args:
        due: from `overdue`.
        waits: from `track`.
        queue: the look at the queue; None if it is unknown, and then nothing is lost.
    """
    if queue is None:
        return []
    if queue.empty_since_s is not None:
        return list(due) if waits.now_s - queue.empty_since_s >= _EMPTY_LOOKS_APART_S else []
    if queue.oldest_s is None:
        return []
    longest_s = queue.oldest_s + WORKER_RECEIVE_LIMIT_S
    return [video_id for video_id in due if waits.wait_s(video_id) > longest_s]
