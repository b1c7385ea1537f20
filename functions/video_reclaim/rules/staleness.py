"""Which videos are stuck, and why.

A video is stale when what is seen of it has not changed for long enough (`rules.sightings`). Two reasons need no
look at a heartbeat: an expired lease, by the platform's own rule, and a terminated instance. A claim is identified by
the text of ``leased_by``, ``leased_until`` and ``processing_started_at``; without a lease the last alone tells.
"""

from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from video_reclaim.rules.platform import HANDOFF_PREFIX, Status, instance_of
from video_reclaim.rules.sightings import Seen


class Reason(StrEnum):
    """What was found about a video: its name in outputs, whether it is stale, and its meaning for people.

    This is the only list of reasons: rules, records, the demo and the documents take them from here.
    """

    stale: bool
    meaning: str

    LEASE_EXPIRED = "leaseExpired", True, "its lease expired"
    SILENT = "silent", True, "its heartbeat was not renewed for too long under the same lease"
    WORKER_GONE = "workerGone", True, "the instance that claimed it was terminated"
    ORPHANED = "orphaned", True, "a failed attempt left it between database and queue"
    MESSAGE_LOST = "messageLost", True, "it waits for a worker and the queue holds no message for it"
    RELEASED = "released", True, "an operator released it from quarantine"
    BEATING = "beating", False, "its worker sends heartbeats"
    EXPIRED_BUT_BEATING = "expiredButBeating", False, "its lease expired, but its worker sends heartbeats"
    SUSPECT = "suspect", False, "it may be stuck, but has not looked so for long enough yet"
    MASS_SILENCE = (
        "massSilence",
        False,
        "it is silent, but so are most others: Redis may be out of their reach",
    )
    HEARTBEAT_UNKNOWN = "heartbeatUnknown", False, "Redis could not tell whether its worker is alive"
    TENANT_UNKNOWN = "tenantUnknown", False, "it has no tenant, so it has no heartbeat key and no message"
    MOVED_ON = "movedOn", False, "it changed after it was listed"

    def __new__(cls, value: str, stale: bool, meaning: str) -> "Reason":
        """Make a member whose value is the name alone."""
        member = str.__new__(cls, value)
        member._value_, member.stale, member.meaning = value, stale, meaning
        return member


class Video(msgspec.Struct, frozen=True):
    """A row, as the database read it at ``now_s``.

    Attributes:
        lease_expired: ``leased_until`` is before the database's clock. False for null, and for the term of a
            handoff lease that a worker on the older path has left in a row in PROCESSING. True for a handoff
            lease without a term.
        leased_by_claim: ``leased_by`` is of this claim. The older path may leave that of an earlier one.
    """

    id: int
    status: str
    tenant_id: int | None  # None when the joins to the tenant find nothing
    leased_by: str  # '' for nobody
    lease: str  # identity of the claim
    upload: str  # identity of the uploaded file
    lease_expired: bool
    quarantined: bool  # FAILED by this product, and not changed since
    now_s: float  # the database's clock, seconds since the epoch
    started_s: float | None  # ``processing_started_at``, seconds since the epoch
    leased_by_claim: bool

    @property
    def instance(self) -> str | None:
        """The EC2 instance of the worker that claimed the video; None if it is unknown."""
        return instance_of(self.leased_by) if self.leased_by_claim else None

    @property
    def row(self) -> str:
        """Status and claim as read: what a write compares with before it changes the row."""
        return f"{self.status} {self.lease}"

    @property
    def at_work(self) -> bool:
        """Whether a worker has claimed the video."""
        return self.status == Status.PROCESSING

    @property
    def waits(self) -> bool:
        """Whether the video waits for a worker and nobody is handing it over to the queue."""
        return self.status == Status.UPLOADED and self.handoff_token is None

    @property
    def handoff_token(self) -> str | None:
        """The token of the execution that is handing this video over to the queue; None if none is."""
        if self.status == Status.UPLOADED and self.leased_by.startswith(HANDOFF_PREFIX):
            return self.leased_by.removeprefix(HANDOFF_PREFIX)
        return None


@dataclass(frozen=True, slots=True)
class Criteria:
    """How strictly videos are judged: the settings and the input of the execution. Times are in seconds.

    A release frees no video that was claimed, and so quarantined again, since the execution ``started_s``. A
    handoff with the ``own_token`` that has not expired is of an earlier attempt whose answer was lost.
    """

    silent_after_s: float
    mass_silence_s: float  # instead, while most workers are silent
    lost_after_s: float
    spare_beating: bool  # spare a video whose lease expired while its worker sends heartbeats
    mass_silence: bool = False
    terminated: Container[str] = ()
    released: Container[int] = ()
    started_s: float = float("inf")
    own_token: str | None = None


def judge(video: Video, seen: Seen, criteria: Criteria, *, lost: Container[int]) -> Reason:
    """Tell whether one video is stuck, and why.

    Heartbeats are read after the row: a race can then only make the video look alive. ``lost`` are the waiting
    videos whose message is lost.
    """
    if not _may_be_stuck(video, criteria, lost):
        return Reason.MOVED_ON
    if video.tenant_id is None:
        return Reason.TENANT_UNKNOWN
    if video.at_work:
        return _judge_worker(video, seen, criteria)
    if _is_own(video, criteria) and not video.lease_expired:
        return Reason.ORPHANED
    if not seen.known:
        return Reason.HEARTBEAT_UNKNOWN
    if seen.heartbeat_there:
        return Reason.BEATING
    if video.status == Status.FAILED:
        return Reason.RELEASED
    if video.waits:
        return Reason.MESSAGE_LOST
    return Reason.ORPHANED if seen.unchanged_s >= criteria.silent_after_s else Reason.SUSPECT


def _may_be_stuck(video: Video, criteria: Criteria, lost: Container[int]) -> bool:
    if video.status == Status.FAILED:
        again = video.started_s is not None and video.started_s >= criteria.started_s
        return video.quarantined and video.id in criteria.released and not again
    if video.waits:
        return video.id in lost or video.tenant_id is None
    if video.status == Status.UPLOADED:
        return video.lease_expired or _is_own(video, criteria)
    return video.at_work


def _is_own(video: Video, criteria: Criteria) -> bool:
    return criteria.own_token is not None and video.handoff_token == criteria.own_token


def _judge_worker(video: Video, seen: Seen, criteria: Criteria) -> Reason:
    if video.instance is not None and video.instance in criteria.terminated:
        return Reason.WORKER_GONE
    if video.lease_expired and not criteria.spare_beating:
        return Reason.LEASE_EXPIRED
    if not seen.known:
        return Reason.HEARTBEAT_UNKNOWN
    if seen.unchanged_s >= criteria.silent_after_s:
        if criteria.mass_silence and seen.unchanged_s < criteria.mass_silence_s:
            return Reason.MASS_SILENCE
        return Reason.LEASE_EXPIRED if video.lease_expired else Reason.SILENT
    if not seen.heartbeat_there or seen.is_quiet(criteria.silent_after_s):
        return Reason.SUSPECT
    return Reason.EXPIRED_BUT_BEATING if video.lease_expired else Reason.BEATING


def iso(at_s: float) -> str:
    """Write seconds since the epoch as an ISO 8601 time in UTC."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
