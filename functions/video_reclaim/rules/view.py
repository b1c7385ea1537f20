"""One look at several videos: what Redis says of them, compared with what it remembers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from video_reclaim.rules.sightings import NOT_SEEN, Look, Seen, Sighting, see
from video_reclaim.rules.staleness import Criteria, Video

_MASS = 3  # fewer silent videos are no mass silence


@dataclass(frozen=True, slots=True)
class View:
    """What is known of several videos."""

    look: Look = field(default_factory=Look)
    seen: Mapping[int, Seen] = field(default_factory=dict)  # by id; a video that is absent is unknown

    def of(self, video: Video) -> Seen:
        """Return what is known of one video."""
        return self.seen.get(video.id, NOT_SEEN)


BLIND = View()
"""Redis could not be read or written: nothing is known."""


def compare(videos: Sequence[Video], look: Look | None, criteria: Criteria) -> View:
    """Compare every video with what is remembered of it.

    Silence is unknown in a Redis in which no heartbeat of this stage ever moved: it may be the wrong one, or one
    that workers can't reach.
    """
    if look is None:
        return BLIND
    after_s = criteria.silent_after_s
    seen = {video.id: see(video.id, f"{video.row} {video.upload}", look, after_s) for video in videos}
    if look.heard_ttl_s < 0 and not any(one.moved for one in seen.values()):
        for video in videos:
            one = seen[video.id]
            if video.at_work and (one.is_quiet(after_s) or not one.heartbeat_there):
                seen[video.id] = replace(one, known=False)
    return View(look, seen)


def most_are_silent(videos: Iterable[Video], view: View, criteria: Criteria) -> bool:
    """Tell whether of the videos whose heartbeats decide at least 3 are silent, and more than are heard.

    It is then more likely that workers can't reach this Redis than that most of them died. A worker that would
    have been heard by now counts as silent, even if its video is not stale yet. A heartbeat that is seen for the
    first time may be a dead worker's: it is neither.
    """
    watched = [
        video
        for video in videos
        if video.at_work
        and video.tenant_id is not None
        and (criteria.spare_beating or not video.lease_expired)
    ]
    known = [seen for seen in map(view.of, watched) if seen.known]
    silent = sum(seen.is_quiet(criteria.silent_after_s) for seen in known)
    heard = sum(seen.is_heard(criteria.silent_after_s) for seen in known)
    return silent >= _MASS and silent > heard


@dataclass(frozen=True, slots=True)
class Notes:
    """What a listing writes to Redis: only what is new or has changed since ``look``.

    What another execution took from the record meanwhile is not written back.
    """

    look: Look
    changed: Mapping[int, Sighting]  # by video id
    ended: Sequence[int]  # ids of the videos whose sightings are to be deleted
    heard: bool  # a heartbeat of this stage moved
    mass_silence_since_s: float | None  # as in `Look`
    queue_clear_since_s: float | None
    lost: Sequence[int]  # ids of waiting videos whose messages are lost


def notes(view: View, *, lost: Iterable[int], queue_clear_since_s: float | None, mass_silence: bool) -> Notes:
    """Return what is to be remembered after a look.

    That messages are lost is no part of their sightings: to write one of these would bring back what another
    execution took, to send the message again.
    """
    now = {video_id: one.sighting for video_id, one in view.seen.items() if one.sighting is not None}
    return Notes(
        look=view.look,
        changed={id_: sighting for id_, sighting in now.items() if view.look.recorded.get(id_) != sighting},
        ended=[video_id for video_id in view.look.recorded if video_id not in view.seen],
        heard=any(one.moved for one in view.seen.values()),
        mass_silence_since_s=(view.look.mass_silence_since_s or view.look.now_s) if mass_silence else None,
        queue_clear_since_s=queue_clear_since_s,
        lost=list(lost),
    )
