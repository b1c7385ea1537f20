"""What is seen of a video, its claim, its file and when its heartbeat expires, and since when it has not changed.

A living worker's heartbeat moves its expiry every 20 s, whatever its time to live. A dead worker's never moves again.
All times here are by Redis's own clock, in seconds since the epoch. A record in Redis that is lost begins anew: that
only delays.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

Time = Annotated[float, Meta(ge=0)]

_SAME_S = 2.0
"""Two expiries that differ by less are one: Redis's clock and the rest of the time to live are two commands."""

_LATE_S = 2.0
"""A living worker sends a heartbeat at most so late."""

_LIVES_S = 60.0
"""A heartbeat lives at least so long (docs/worker-contract.md), so one that expires sooner was set earlier."""

_BEATS = 3
"""So many heartbeats fit into the time after which a worker counts as silent (docs/worker-contract.md)."""

_ONE_EXPIRY_TWO_BEATS_S = 200.0
"""A progress record sets 300 s, and a beat 240 s later sets 60 s: both end at once. Looks that are about as far apart
can't tell them from one heartbeat that has not moved. Beats are 20 s apart, so looks less than 220 s apart can."""


class Sighting(Struct, frozen=True, array_like=True):
    """What was seen of a video."""

    since_s: Time  # when it was first seen like this, or when its heartbeat was set, at the latest
    expires_s: Time | None  # when its heartbeat expires; None if there was none
    identity: str  # digest of its row and file


@dataclass(frozen=True, slots=True)
class Look:
    """What Redis says about some videos, and what it remembers of them."""

    answered: bool = False  # if not, all of this is unknown
    now_s: float = 0.0
    expires_s: Mapping[int, float | None] = field(default_factory=dict)  # as in `Sighting`; absent is unknown
    recorded: Mapping[int, Sighting] = field(default_factory=dict)
    looked_at_s: float = 0.0  # the last look whose sightings were recorded
    queue_clear_since_s: float | None = None  # since then the queue could hold no waiting video's message
    mass_silence_since_s: float | None = None  # since then every look found most workers silent
    heard_ttl_s: int = -2  # how long Redis remembers that a heartbeat of this stage moved; negative for never
    retried: frozenset[int] = frozenset()  # waiting videos for which a user has just sent a message
    lost: frozenset[int] = frozenset()  # waiting videos whose messages the last look found lost


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at one video."""

    known: bool = False  # whether it has a heartbeat, and silence would count
    heartbeat_there: bool = False
    unchanged_s: float = 0.0  # at least so long; 0 when its row or file has changed
    moved: bool = False  # its heartbeat was renewed since the last look
    sighting: Sighting | None = None  # what to remember; None if its heartbeat is unknown

    def is_quiet(self, silent_after_s: float) -> bool:
        """Tell whether a living worker would have sent a heartbeat since the last change."""
        return self.unchanged_s >= _beat_s(silent_after_s)

    def told_in_s(self, silent_after_s: float) -> float:
        """Return in how many seconds a look can tell more of a worker that may be dead; 0 if the next run's will do.

        A heartbeat that is missing may have been deleted by another worker: a living one renews it within a beat.
        """
        if self.is_quiet(silent_after_s):
            return silent_after_s - self.unchanged_s
        return 0.0 if self.heartbeat_there else _beat_s(silent_after_s)

    def is_heard(self, silent_after_s: float) -> bool:
        """Tell whether its heartbeat moved, now or before the last look, less than a beat ago."""
        moved = self.moved or self.unchanged_s > 0
        return self.heartbeat_there and moved and not self.is_quiet(silent_after_s)


NOT_SEEN = Seen()


def memory_s(rate_minutes: int) -> int:
    """Return after how many seconds without a look all sightings are void: three rounds and a minute of jitter."""
    return 60 * (3 * rate_minutes + 1)


def see(video_id: int, row: str, look: Look, silent_after_s: float) -> Seen:
    """Compare a video with what is remembered of it. Its ``row``, status, claim and file, is read before the look.

    Another worker, one that was refused or that outlived its lease, may delete the heartbeat of a living one, which
    renews it within a beat. After its own time that can't be told from the heartbeat of a dead worker. So one look
    tells all but a beat of the silence at most, unless an earlier one saw that the heartbeat stood still for a beat.
    """
    if video_id not in look.expires_s:
        return NOT_SEEN
    expires_s, earlier = look.expires_s[video_id], look.recorded.get(video_id)
    there = expires_s is not None
    new = Sighting(look.now_s, expires_s, hashlib.blake2b(row.encode(), digest_size=8).hexdigest())
    beat_s = _beat_s(silent_after_s)
    earliest_s = look.now_s - (silent_after_s - beat_s)
    if earlier is None or earlier.identity != new.identity:
        return Seen(True, there, sighting=new)
    if _has_changed(earlier.expires_s, expires_s, look.now_s):
        if expires_s is None or earlier.expires_s is None:
            return Seen(True, there, sighting=new)
        since_s = max(earliest_s, min(look.now_s, expires_s - _LIVES_S))
        return Seen(True, True, look.now_s - since_s, moved=True, sighting=replace(new, since_s=since_s))
    if there and look.now_s - look.looked_at_s > _ONE_EXPIRY_TWO_BEATS_S:
        return Seen(True, there, sighting=new)
    since_s = earlier.since_s
    if there or earlier.expires_s is None:
        return Seen(True, there, max(0.0, look.now_s - since_s), sighting=earlier)
    if look.looked_at_s < since_s + beat_s:
        since_s = max(since_s, earliest_s)
    return Seen(True, there, max(0.0, look.now_s - since_s), sighting=replace(new, since_s=since_s))


def _beat_s(silent_after_s: float) -> float:
    """Return the longest time between two heartbeats of a living worker."""
    return silent_after_s / _BEATS + _LATE_S


def _has_changed(before_s: float | None, expires_s: float | None, now_s: float) -> bool:
    """Tell whether a heartbeat was set or deleted. One that has expired by its own time has not changed."""
    if expires_s is None:
        return before_s is not None and before_s > now_s + _SAME_S
    return before_s is None or abs(expires_s - before_s) > _SAME_S
