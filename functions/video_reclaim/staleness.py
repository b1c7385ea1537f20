"""Which videos are stuck, and why: the platform's own rule, with doubt resolved in the worker's favour.

A video in PROCESSING is stale when its lease has expired, or when its tenant is known and its heartbeat is
missing. Two things are added to that. Silence under a live lease needs two strikes, so that a Redis which
lost its data can't make every worker look dead. And a heartbeat that could not be read says nothing.

A lease is known by ``leased_by``, ``leased_until`` and ``processing_started_at`` together, here as one opaque
text in which nulls are distinct: on the path that sets no lease, only the last tells two claims apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

HANDOFF_PREFIX = "reclaim:"
"""``leased_by`` of a video that was reclaimed and is not yet in the queue: this, and a token."""


@dataclass(frozen=True, slots=True)
class Video:
    """A row, as the database saw it at ``now_s``.

    Attributes:
        id: primary key.
        status: PENDING, UPLOADED, PROCESSING, READY or FAILED.
        tenant_id: None when the joins to the tenant find nothing.
        leased_by: '' for nobody.
        lease: the lease's identity, opaque.
        lease_expired: ``leased_until`` lies before the database's clock; false for a null, and for the term
            of a handoff that a worker on the path without leases has left standing.
        now_s: the database's clock when the row was read, seconds since the epoch.
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
        if self.status == "UPLOADED" and self.leased_by.startswith(HANDOFF_PREFIX):
            return self.leased_by.removeprefix(HANDOFF_PREFIX)
        return None

    @property
    def silence_matters(self) -> bool:
        """Whether only the heartbeat can tell if this video is stuck."""
        return self.status == "PROCESSING" and not self.lease_expired and self.tenant_id is not None


@dataclass(frozen=True, slots=True)
class Strike:
    """The first time that a heartbeat was found missing.

    Attributes:
        at_s: the database's clock then, seconds since the epoch.
        lease: the lease that was silent.
    """

    at_s: float
    lease: str


@dataclass(frozen=True, slots=True)
class Pulse:
    """What Redis said of one video.

    Attributes:
        beating: None when Redis could not answer; never taken for missing.
        strike: the strike on record, if any.
    """

    beating: bool | None
    strike: Strike | None = None


UNKNOWN_PULSE = Pulse(beating=None)


class Verdict(StrEnum):
    """What was found out about a video; the value is the name that outputs and reports use."""

    LEASE_EXPIRED = "leaseExpired"
    SILENT_TWICE = "silentTwice"
    ORPHANED = "orphaned"
    BEATING = "beating"
    SILENT_ONCE = "silentOnce"
    HEARTBEAT_UNKNOWN = "heartbeatUnknown"
    TENANT_UNKNOWN = "tenantUnknown"
    MOVED_ON = "movedOn"

    @property
    def stale(self) -> bool:
        """Whether the video is to be reclaimed."""
        return self in _STALE


_STALE = frozenset({Verdict.LEASE_EXPIRED, Verdict.SILENT_TWICE, Verdict.ORPHANED})


def silence_confirmed(strike: Strike | None, lease: str, *, now_s: float, after_s: int) -> bool:
    """Tell whether a missing heartbeat may count against this lease.

    A strike that belongs to another lease says nothing about this one. Silence of exactly ``after_s`` counts;
    0 lets the first miss count, which is the platform's rule without the second strike.
    """
    if after_s == 0:
        return True
    return strike is not None and strike.lease == lease and now_s - strike.at_s >= after_s


def judge(video: Video, pulse: Pulse, *, confirm_silence_s: int, own_token: str | None = None) -> Verdict:
    """Tell what is the matter with one video.

    Args:
        video: the row as just read.
        pulse: what Redis said, after the row was read: a race can only make the video look alive.
        confirm_silence_s: how long a heartbeat must have been missing, seconds; 0 switches the wait off.
        own_token: the reclaiming execution's token. A video that carries it was taken by an earlier attempt
            of the same step whose answer was lost, and counts as orphaned, expired or not.
    """
    if video.status == "UPLOADED":
        token = video.handoff_token
        if token is None or not (video.lease_expired or token == own_token):
            return Verdict.MOVED_ON
    elif video.status != "PROCESSING":
        return Verdict.MOVED_ON
    if video.tenant_id is None:
        return Verdict.TENANT_UNKNOWN
    if video.status == "UPLOADED":
        return Verdict.ORPHANED
    if video.lease_expired:
        return Verdict.LEASE_EXPIRED
    if pulse.beating is None:
        return Verdict.HEARTBEAT_UNKNOWN
    if pulse.beating:
        return Verdict.BEATING
    if silence_confirmed(pulse.strike, video.lease, now_s=video.now_s, after_s=confirm_silence_s):
        return Verdict.SILENT_TWICE
    return Verdict.SILENT_ONCE


def strikes_to_keep(videos: Iterable[Video], pulses: dict[int, Pulse]) -> dict[int, Strike | None]:
    """Say what the record of strikes must become, by video id: a new strike, or None to forget one.

    A first miss is recorded under the lease that missed it; a strike of an earlier lease is replaced; a beat
    wipes the slate. A video that needs no change, or whose pulse is unknown, does not appear.
    """
    changes: dict[int, Strike | None] = {}
    for video in videos:
        pulse = pulses.get(video.id, UNKNOWN_PULSE)
        if not video.silence_matters or pulse.beating is None:
            continue
        if pulse.beating:
            if pulse.strike is not None:
                changes[video.id] = None
        elif pulse.strike is None or pulse.strike.lease != video.lease:
            changes[video.id] = Strike(at_s=video.now_s, lease=video.lease)
    return changes
