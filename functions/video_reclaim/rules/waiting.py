"""Which waiting videos have no message any more: a loss is proved by the queue's counts alone (decision 16)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from video_reclaim.rules.staleness import Video
from video_reclaim.rules.view import View

MAX_WAITING = 10_000
"""At most this many waiting videos are looked at, those with the lowest ids."""

MAX_RESENT = 100
"""At most this many messages are sent again in one run."""

LOOKS_APART_S = 60
"""SQS's counts are right about a minute after the last change (AWS, "GetQueueAttributes")."""


@dataclass(frozen=True, slots=True)
class Depth:
    """SQS's approximate counts of one or several queues."""

    visible: int
    in_flight: int  # received, and not yet deleted
    delayed: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What a look at the queue proves."""

    clear_since_s: float | None = None  # since then no look found a message that could be a waiting video's
    lost: tuple[int, ...] = ()  # waiting videos whose message is lost, the longest wait first


def needs_look_at_queue(videos: Iterable[Video], view: View) -> bool:
    """Tell whether a video was waiting at an earlier look already."""
    return any(video.waits and view.of(video).unchanged_s > 0 for video in videos)


def prove(videos: Sequence[Video], view: View, depth: Depth | None, *, lost_after_s: float) -> Proof:
    """Return what a look at the queue proves. A proof is used once: the next one begins anew.

    A worker of the older path holds its message while it encodes, so as many messages may be in flight as there
    are videos at work without a lease of their own. The depth is read after the rows; None is unknown.
    """
    holding = sum(video.at_work and not video.leased_by_claim for video in videos)
    if depth is None or depth.visible + depth.delayed > 0 or depth.in_flight > holding:
        return Proof()
    look = view.look
    since_s = look.now_s if look.queue_clear_since_s is None else look.queue_clear_since_s
    if look.now_s - since_s < LOOKS_APART_S:
        return Proof(since_s)
    waits_s = {v.id: view.of(v).unchanged_s for v in videos if _is_overdue(v, view, lost_after_s)}
    lost = tuple(sorted(waits_s, key=lambda video_id: -waits_s[video_id])[:MAX_RESENT])
    return Proof(None if lost else since_s, lost)


def still_lost(videos: Iterable[Video], view: View, *, lost_after_s: float) -> set[int]:
    """Return the ids of the videos that wait unchanged since the last listing found their message lost.

    A redrive of an old execution proves nothing about a later wait.
    """
    overdue = (video for video in videos if _is_overdue(video, view, lost_after_s))
    return {video.id for video in overdue if video.id in view.look.lost}


def _is_overdue(video: Video, view: View, lost_after_s: float) -> bool:
    """Tell whether a video has waited long enough, no worker beats for it, and no user has just retried it."""
    seen = view.of(video)
    waited = video.waits and video.tenant_id is not None and seen.unchanged_s >= lost_after_s
    return waited and seen.known and not seen.heartbeat_there and video.id not in view.look.retried
