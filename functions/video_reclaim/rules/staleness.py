"""Which videos are stuck, and why.

The platform's rule: a video in PROCESSING is stale when its lease has expired, or when its heartbeat is
missing and its tenant is known. The product adds two conditions. Under a live lease a heartbeat must be
missing twice, some time apart, so that a Redis that lost its data does not make every worker look dead. And a
heartbeat that could not be read is unknown, never missing.

A lease is identified by ``leased_by``, ``leased_until`` and ``processing_started_at`` together, written as one
text in which nulls are distinct. On the platform's older path, which sets no lease, only the last of them
tells two claims apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from video_reclaim.rules.platform import HANDOFF_PREFIX, Status


class Reason(StrEnum):
    """What was found about a video. The value is the name in outputs; ``meaning`` explains it to people.

    This is the only list of reasons: rules, records, the demo and the documents take them from here.

    Attributes:
        stale: the video is to be reclaimed.
        meaning: one clause for people.
    """

    stale: bool
    meaning: str

    LEASE_EXPIRED = "leaseExpired", True, "its lease expired"
    SILENT_TWICE = "silentTwice", True, "its heartbeat was missing twice under the same lease"
    ORPHANED = "orphaned", True, "a run that crashed left it between database and queue"
    BEATING = "beating", False, "its worker sends heartbeats"
    SILENT_ONCE = "silentOnce", False, "its heartbeat is missing for the first time"
    HEARTBEAT_UNKNOWN = "heartbeatUnknown", False, "Redis could not tell whether its worker is alive"
    TENANT_UNKNOWN = "tenantUnknown", False, "it has no tenant, so it has no heartbeat key and no message"
    MOVED_ON = "movedOn", False, "it changed after it was listed"

    def __new__(cls, value: str, stale: bool, meaning: str) -> "Reason":
        """Make a member whose value is the name alone."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.stale = stale
        member.meaning = meaning
        return member


@dataclass(frozen=True, slots=True)
class Video:
    """A row, as the database read it at ``now_s``.

    Attributes:
        id: primary key.
        status: PENDING, UPLOADED, PROCESSING, READY or FAILED.
        tenant_id: None when the joins to the tenant find nothing.
        leased_by: '' for nobody.
        lease: identity of the lease, opaque.
        lease_expired: ``leased_until`` is before the database's clock. False for null, and for the term of a
            handoff lease that a worker on the older path has left in a row in PROCESSING.
        now_s: the database's clock at the time of reading, seconds since the epoch.
    """

    id: int
    status: str
    tenant_id: int | None
    leased_by: str
    lease: str
    lease_expired: bool
    now_s: float

    @property
    def handoff_token(self) -> str | None:
        """The token of the execution that is handing this video over to the queue; None if none is."""
        if self.status == Status.UPLOADED and self.leased_by.startswith(HANDOFF_PREFIX):
            return self.leased_by.removeprefix(HANDOFF_PREFIX)
        return None

    @property
    def needs_heartbeat(self) -> bool:
        """Whether only the heartbeat can tell if this video is stuck."""
        return self.status == Status.PROCESSING and not self.lease_expired and self.tenant_id is not None


@dataclass(frozen=True, slots=True)
class Strike:
    """The first time that a heartbeat was found missing under a lease.

    Attributes:
        at_s: the database's clock at that time, seconds since the epoch.
        lease: identity of the lease.
    """

    at_s: float
    lease: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What Redis says about the worker of one video.

    Attributes:
        present: None when Redis could not answer, which never counts as missing.
        strike: the strike on record, if any.
    """

    present: bool | None
    strike: Strike | None = None


UNKNOWN_HEARTBEAT = Heartbeat(present=None)


def silence_confirmed(strike: Strike | None, lease: str, *, now_s: float, after_s: int) -> bool:
    """Tell whether a missing heartbeat counts against this lease.

    A strike under another lease says nothing about this one. Silence of exactly ``after_s`` seconds counts.
    With 0 the first miss counts, which is the platform's rule.
    """
    if after_s == 0:
        return True
    return strike is not None and strike.lease == lease and now_s - strike.at_s >= after_s


def judge(
    video: Video, heartbeat: Heartbeat, *, confirm_silence_s: int, own_token: str | None = None
) -> Reason:
    """Tell whether one video is stuck, and why.

    Args:
        video: the row as just read.
        heartbeat: what Redis said after the row was read; a race can then only make the video look alive.
        confirm_silence_s: how long a heartbeat must have been missing, seconds; 0 lets the first miss count.
        own_token: token of the execution that reclaims. A video that carries it was leased by an earlier
            attempt of the same step whose answer was lost, and counts as orphaned even before it expires.
    """
    if not _may_be_stuck(video, own_token):
        return Reason.MOVED_ON
    if video.tenant_id is None:
        return Reason.TENANT_UNKNOWN
    if video.status == Status.UPLOADED:
        return Reason.ORPHANED
    if video.lease_expired:
        return Reason.LEASE_EXPIRED
    if heartbeat.present is None:
        return Reason.HEARTBEAT_UNKNOWN
    if heartbeat.present:
        return Reason.BEATING
    if silence_confirmed(heartbeat.strike, video.lease, now_s=video.now_s, after_s=confirm_silence_s):
        return Reason.SILENT_TWICE
    return Reason.SILENT_ONCE


def _may_be_stuck(video: Video, own_token: str | None) -> bool:
    if video.status != Status.UPLOADED:
        return video.status == Status.PROCESSING
    token = video.handoff_token
    return token is not None and (video.lease_expired or token == own_token)


def strikes_to_keep(videos: Iterable[Video], heartbeats: Mapping[int, Heartbeat]) -> dict[int, Strike | None]:
    """Return the changes to the strikes on record, by video id: a new strike, or None to delete one.

    A first miss is recorded under the lease that missed it and replaces the strike of an earlier lease. A
    heartbeat deletes the strike. A video that needs no change, or whose heartbeat is unknown, is left out.
    """
    changes: dict[int, Strike | None] = {}
    for video in videos:
        heartbeat = heartbeats.get(video.id, UNKNOWN_HEARTBEAT)
        if not video.needs_heartbeat or heartbeat.present is None:
            continue
        if heartbeat.present:
            if heartbeat.strike is not None:
                changes[video.id] = None
        elif heartbeat.strike is None or heartbeat.strike.lease != video.lease:
            changes[video.id] = Strike(at_s=video.now_s, lease=video.lease)
    return changes


def strike_memory_s(confirm_silence_s: int, rate_minutes: int) -> int:
    """Return for how long a strike is remembered: long enough that the next three runs can confirm it."""
    return max(900, confirm_silence_s + 3 * 60 * rate_minutes)
