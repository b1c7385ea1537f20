"""What is seen of a video, and since when it has not changed.

Of each video the functions remember, in Redis, its claim, its file and when its heartbeat expires, with the time
from which on all of this has been the same. A living worker's heartbeat moves its expiry every 20 s, whatever its
time to live. A dead worker's never moves again. A record that is lost, or void because nobody looked for too long,
begins anew: that only delays.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

_SAME_MS = 2_000
"""Two expiries that differ by less are one: Redis's clock and the rest of the time to live are two commands."""

_BEATS = 3
"""So many heartbeats fit into the time after which a worker counts as silent (docs/worker-contract.md)."""

_MASS = 3
"""Fewer silent videos than this are no mass silence."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What Redis says about a heartbeat.

    Attributes:
        known: False when Redis could not answer, or when the key never expires and so tells nothing.
        expires_ms: when it expires by Redis's own clock, milliseconds since the epoch; None if there is no key.
    """

    known: bool
    expires_ms: int | None = None


UNKNOWN_HEARTBEAT = Heartbeat(known=False)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of a video.

    Attributes:
        since_s: the database's clock when it was first seen like this, seconds since the epoch.
        expires_ms: when its heartbeat expires or expired; None if there was none.
        identity: digest of its row and file.
        lost: the last look found that the message of this waiting video is lost.
    """

    since_s: float
    expires_ms: int | None
    identity: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What Redis says about some videos, and what it remembers of them.

    Attributes:
        answered: Redis answered; if not, all of this is unknown.
        redis_ms: Redis's clock, milliseconds since the epoch.
        heartbeats: by video id.
        recorded: sightings by video id.
        looked_at_s: the database's clock at the last look; None for never.
        queue_clear_since_s: since when every look has found that the queue can't hold a waiting video's message.
        mass_silence_since_s: since when every look has found most workers silent; None if the last one did not.
        heard_ttl_s: for how long Redis remembers that a heartbeat of this stage moved in it; negative for never.
        retried: ids of waiting videos that a user has just retried: a message was sent for them.
    """

    answered: bool = False
    redis_ms: int = 0
    heartbeats: Mapping[int, Heartbeat] = field(default_factory=dict)
    recorded: Mapping[int, Sighting] = field(default_factory=dict)
    looked_at_s: float | None = None
    queue_clear_since_s: float | None = None
    mass_silence_since_s: float | None = None
    heard_ttl_s: int = -2
    retried: frozenset[int] = frozenset()

    def void_after(self, memory_s: float, *, now_s: float) -> "Look":
        """Return the look without what is remembered, if there was no look for more than ``memory_s`` seconds."""
        if self.looked_at_s is not None and now_s - self.looked_at_s <= memory_s:
            return self
        return replace(self, recorded={}, queue_clear_since_s=None, mass_silence_since_s=None)


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at one video.

    Attributes:
        known: it is known whether it has a heartbeat, and silence would count.
        heartbeat_there: it has a heartbeat that has not expired.
        unchanged_s: for how long nothing has changed, seconds; 0 when something did since the last look.
        moved: its heartbeat was renewed since the last look.
        sighting: what to remember; None if its heartbeat is unknown.
    """

    known: bool = False
    heartbeat_there: bool = False
    unchanged_s: float = 0.0
    moved: bool = False
    sighting: Sighting | None = None

    def is_quiet(self, silent_after_s: float) -> bool:
        """Tell whether a living worker would have sent a heartbeat since the last change."""
        return self.unchanged_s >= silent_after_s / _BEATS


NOT_SEEN = Seen()


def memory_s(rate_minutes: int) -> int:
    """Return after how many seconds without a look all sightings are void: three rounds and a minute of jitter."""
    return 60 * (3 * rate_minutes + 1)


def see(row: str, heartbeat: Heartbeat, earlier: Sighting | None, *, now_s: float, redis_ms: int) -> Seen:
    """Compare a video with what was seen earlier.

    Args:
        row: what must not change: status, claim and file, as just read.
        heartbeat: read after the row.
        earlier: None if nothing is remembered.
        now_s: the database's clock when the row was read, seconds since the epoch.
        redis_ms: Redis's clock, milliseconds since the epoch.
    """
    if not heartbeat.known:
        return NOT_SEEN
    there = heartbeat.expires_ms is not None
    identity = hashlib.blake2b(row.encode(), digest_size=8).hexdigest()
    new = Sighting(now_s, heartbeat.expires_ms, identity)
    if earlier is None or earlier.identity != identity:
        return Seen(True, there, sighting=new)
    if _has_changed(earlier.expires_ms, heartbeat.expires_ms, redis_ms):
        return Seen(True, there, moved=there and earlier.expires_ms is not None, sighting=new)
    return Seen(True, there, max(0.0, now_s - earlier.since_s), sighting=earlier)


def _has_changed(before_ms: int | None, now_ms: int | None, redis_ms: int) -> bool:
    """Tell whether a heartbeat was set or deleted. One that has expired by its own time has not changed."""
    if now_ms is None:
        return before_ms is not None and before_ms > redis_ms + _SAME_MS
    return before_ms is None or abs(now_ms - before_ms) > _SAME_MS


def is_mass_silence(watched: Iterable[Seen], silent_after_s: float) -> bool:
    """Tell whether at least 3 videos are silent, and more are silent than heard.

    It is then more likely that workers can't reach this Redis than that most of them died. A worker that would
    have been heard by now counts as silent, even if its video is not stale yet.

    Args:
        watched: the videos at work whose heartbeats decide.
        silent_after_s: how long a heartbeat must not have been renewed, seconds.
    """
    known = [seen for seen in watched if seen.known]
    silent = sum(seen.is_quiet(silent_after_s) for seen in known)
    heard = sum(seen.heartbeat_there and not seen.is_quiet(silent_after_s) for seen in known)
    return silent >= _MASS and silent > heard
