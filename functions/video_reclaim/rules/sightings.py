"""What is seen of a video, its claim, its file and when its heartbeat expires, and since when it has not changed.

A living worker's heartbeat moves its expiry every 20 s, whatever its time to live. A dead worker's never moves again.
A record in Redis that is lost, or void because nobody looked for too long, begins anew: that only delays.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

_SAME_MS = 2_000
"""Two expiries that differ by less are one: Redis's clock and the rest of the time to live are two commands."""

_BEATS = 3
"""So many heartbeats fit into the time after which a worker counts as silent (docs/worker-contract.md)."""

_ONE_EXPIRY_TWO_BEATS_S = 200
"""A progress record sets 300 s, and a beat 240 s later sets 60 s: both end at once. Looks that are about as far apart
can't tell them from one heartbeat that has not moved. Beats are 20 s apart, so looks less than 220 s apart can."""

_MASS = 3
"""Fewer silent videos than this are no mass silence."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of a video."""

    since_s: float  # the database's clock when it was first seen like this, seconds since the epoch
    expires_ms: int | None  # of its heartbeat, which may be over; None if there was none
    identity: str  # digest of its row and file
    missing_since_s: float | None = None  # the first look without its heartbeat, if that matters: see `see`


@dataclass(frozen=True, slots=True)
class Look:
    """What Redis says about some videos, and what it remembers of them. Times are the database's, in seconds."""

    answered: bool = False  # if not, all of this is unknown
    redis_ms: int = 0  # Redis's own clock, milliseconds since the epoch
    expires_ms: Mapping[int, int | None] = field(default_factory=dict)  # see `see`; absent is unknown
    recorded: Mapping[int, Sighting] = field(default_factory=dict)
    looked_at_s: float | None = None  # the last look
    void: bool = False  # what was remembered is to be forgotten
    queue_clear_since_s: float | None = None  # since then the queue could hold no waiting video's message
    mass_silence_since_s: float | None = None  # since then every look found most workers silent
    heard_ttl_s: int = -2  # how long Redis remembers that a heartbeat of this stage moved; negative for never
    retried: frozenset[int] = frozenset()  # waiting videos for which a user has just sent a message
    lost: frozenset[int] = frozenset()  # waiting videos whose messages the last look found lost

    def void_after(self, memory_s: float, *, now_s: float) -> "Look":
        """Return the look without what is remembered, if there was no look for more than ``memory_s`` seconds."""
        if self.looked_at_s is not None and now_s - self.looked_at_s <= memory_s:
            return self
        return Look(
            answered=self.answered,
            redis_ms=self.redis_ms,
            expires_ms=self.expires_ms,
            looked_at_s=self.looked_at_s,
            void=True,
            heard_ttl_s=self.heard_ttl_s,
            retried=self.retried,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at one video."""

    known: bool = False  # whether it has a heartbeat, and silence would count
    heartbeat_there: bool = False
    unchanged_s: float = 0.0  # 0 when something has changed since the last look
    missing_s: float | None = None  # for how long each look has found no heartbeat, if that matters
    moved: bool = False  # its heartbeat was renewed since the last look
    sighting: Sighting | None = None  # what to remember; None if its heartbeat is unknown

    def is_quiet(self, silent_after_s: float) -> bool:
        """Tell whether a living worker would have sent a heartbeat since the last change."""
        return self.unchanged_s >= silent_after_s / _BEATS

    def is_heard(self, silent_after_s: float) -> bool:
        """Tell whether its heartbeat moved, now or less than a beat ago."""
        lately = 0 < self.unchanged_s < silent_after_s / _BEATS
        return self.moved or (self.heartbeat_there and lately)

    def may_be_deleted(self, silent_after_s: float) -> bool:
        """Tell whether another worker may have deleted a heartbeat that a living one has not renewed yet."""
        return self.missing_s is not None and self.missing_s < silent_after_s / _BEATS

    def confirmed_in_s(self, silent_after_s: float) -> float:
        """Return in how many seconds a look can tell more; 0 if none is needed before the next run's."""
        beat_s = silent_after_s / _BEATS
        missing_s = beat_s - self.missing_s if self.missing_s is not None else 0.0
        return max(missing_s, silent_after_s - self.unchanged_s if self.is_quiet(silent_after_s) else 0.0)


NOT_SEEN = Seen()


def memory_s(rate_minutes: int) -> int:
    """Return after how many seconds without a look all sightings are void: three rounds and a minute of jitter."""
    return 60 * (3 * rate_minutes + 1)


def see(
    row: str,
    expires_ms: int | None,
    earlier: Sighting | None,
    *,
    now_s: float,
    redis_ms: int,
    looked_at_s: float | None = None,
    deletable: bool = False,
) -> Seen:
    """Compare a video with what was seen earlier, if anything is remembered.

    Args:
        row: what must not change: status, claim and file, as just read.
        expires_ms: when its heartbeat, read after the row, expires by Redis's own clock; None if there is none.
        earlier: what is remembered, if anything.
        now_s: the database's clock when the row was read, seconds since the epoch.
        redis_ms: Redis's clock, milliseconds since the epoch.
        looked_at_s: time of the last look, the database's clock.
        deletable: refused workers of the platform's older path may delete the heartbeat. After its own time that
            can't be told from the heartbeat of a dead worker; a living one renews it within 20 s.
    """
    seen = _see(row, expires_ms, earlier, now_s=now_s, redis_ms=redis_ms, looked_at_s=looked_at_s)
    if not deletable or seen.heartbeat_there or seen.sighting is None:
        return seen
    since_s = seen.sighting.missing_since_s
    since_s = now_s if since_s is None else since_s
    sighting = replace(seen.sighting, missing_since_s=since_s)
    return replace(seen, missing_s=max(0.0, now_s - since_s), sighting=sighting)


def _see(
    row: str,
    expires_ms: int | None,
    earlier: Sighting | None,
    *,
    now_s: float,
    redis_ms: int,
    looked_at_s: float | None,
) -> Seen:
    there = expires_ms is not None
    new = Sighting(now_s, expires_ms, hashlib.blake2b(row.encode(), digest_size=8).hexdigest())
    if earlier is None or earlier.identity != new.identity:
        return Seen(True, there, sighting=new)
    if _has_changed(earlier.expires_ms, expires_ms, redis_ms):
        return Seen(True, there, moved=there and earlier.expires_ms is not None, sighting=new)
    if there and looked_at_s is not None and now_s - looked_at_s > _ONE_EXPIRY_TWO_BEATS_S:
        return Seen(True, there, sighting=new)
    return Seen(True, there, max(0.0, now_s - earlier.since_s), sighting=earlier)


def _has_changed(before_ms: int | None, now_ms: int | None, redis_ms: int) -> bool:
    """Tell whether a heartbeat was set or deleted. One that has expired by its own time has not changed."""
    if now_ms is None:
        return before_ms is not None and before_ms > redis_ms + _SAME_MS
    return before_ms is None or abs(now_ms - before_ms) > _SAME_MS


def is_mass_silence(watched: Iterable[Seen], silent_after_s: float) -> bool:
    """Tell whether at least 3 of the videos whose heartbeats decide are silent, and more are silent than heard.

    It is then more likely that workers can't reach this Redis than that most of them died. A worker that would
    have been heard by now counts as silent, even if its video is not stale yet. A heartbeat that is seen for the
    first time may be a dead worker's: it is neither.
    """
    known = [seen for seen in watched if seen.known]
    silent = sum(seen.is_quiet(silent_after_s) for seen in known)
    heard = sum(seen.is_heard(silent_after_s) for seen in known)
    return silent >= _MASS and silent > heard
