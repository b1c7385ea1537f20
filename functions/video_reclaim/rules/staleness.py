"""Which videos are stuck, and why.

The platform's rule: a video in PROCESSING is stale when its lease has expired, or when its heartbeat is
missing and its tenant is known. The product adds conditions. Under a live lease a heartbeat must be missing
twice, some time apart, unless the worker's EC2 instance is gone. A heartbeat that could not be read is
unknown, never missing, and silence counts only where it is credible (`credible`, `Hearing`).

Two more kinds of video are stale: one that waits in UPLOADED and whose message cannot exist any more
(`rules.waiting`), and one that was quarantined and that an operator releases.

A lease is identified by the text of ``leased_by``, ``leased_until`` and ``processing_started_at``. On the
platform's older path, which sets no lease, only the last of them tells two claims apart.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from video_reclaim.rules.platform import HANDOFF_PREFIX, Status, instance_of

_MASS = 5


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
    WORKER_GONE = "workerGone", True, "its heartbeat is missing and its instance is not in the group any more"
    ORPHANED = "orphaned", True, "a failed attempt left it between database and queue"
    MESSAGE_LOST = "messageLost", True, "it waited for a worker and its message cannot exist any more"
    RELEASED = "released", True, "an operator released it from quarantine"
    BEATING = "beating", False, "its worker sends heartbeats"
    EXPIRED_BUT_BEATING = "expiredButBeating", False, "its lease expired, but its worker sends heartbeats"
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
        upload: identity of the uploaded file, opaque.
        lease_expired: ``leased_until`` is before the database's clock. False for null, and for the term of a
            handoff lease that a worker on the older path has left in a row in PROCESSING.
        quarantined: FAILED by this product, and not changed since.
        now_s: the database's clock at the time of reading, seconds since the epoch.
        leased_by_claim: ``leased_by`` is of this claim. The older path may leave that of an earlier one.
    """

    id: int
    status: str
    tenant_id: int | None
    leased_by: str
    lease: str
    upload: str
    lease_expired: bool
    quarantined: bool
    now_s: float
    leased_by_claim: bool

    @property
    def instance(self) -> str | None:
        """The EC2 instance of the worker that claimed the video; None if it is unknown."""
        return instance_of(self.leased_by) if self.leased_by_claim else None

    @property
    def row(self) -> str:
        """Status and lease as read: what a write compares with before it changes the row."""
        return f"{self.status} {self.lease}"

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

    @property
    def has_heartbeat(self) -> bool:
        """Whether a worker should be sending heartbeats for this video."""
        return self.status == Status.PROCESSING and self.tenant_id is not None


@dataclass(frozen=True, slots=True)
class Strike:
    """The first time that a heartbeat was found missing under a lease.

    Attributes:
        at_s: the database's clock at that time, seconds since the epoch.
        lease: identity of the lease.
        gone: the worker's instance was no longer in the group at that time.
    """

    at_s: float
    lease: str
    gone: bool = False


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


@dataclass(frozen=True, slots=True)
class Criteria:
    """How strictly videos are judged.

    Attributes:
        confirm_silence_s: how long a heartbeat must have been missing, seconds; 0 lets the first miss count,
            which is the platform's rule.
        spare_beating: a video whose lease expired is spared while its worker sends heartbeats.
        own_token: token of the execution that reclaims. A video that carries it was leased by an earlier
            attempt of the same step whose answer was lost, and counts as orphaned even before it expires.
        lost: ids of waiting videos whose messages cannot exist any more.
        released: ids of quarantined videos that an operator releases.
    """

    confirm_silence_s: int
    spare_beating: bool = False
    own_token: str | None = None
    lost: Container[int] = ()
    released: Container[int] = ()


def judge(video: Video, heartbeat: Heartbeat, criteria: Criteria) -> Reason:
    """Tell whether one video is stuck, and why.

    Args:
        video: the row as just read.
        heartbeat: what Redis said after the row was read; a race can then only make the video look alive.
        criteria: how strictly.
    """
    if not _may_be_stuck(video, criteria):
        return Reason.MOVED_ON
    if video.tenant_id is None:
        return Reason.TENANT_UNKNOWN
    if video.status == Status.FAILED:
        return Reason.RELEASED
    if video.status == Status.UPLOADED:
        return Reason.MESSAGE_LOST if video.waits else Reason.ORPHANED
    if video.lease_expired and not criteria.spare_beating:
        return Reason.LEASE_EXPIRED
    if heartbeat.present is None:
        return Reason.HEARTBEAT_UNKNOWN
    if heartbeat.present:
        return Reason.EXPIRED_BUT_BEATING if video.lease_expired else Reason.BEATING
    reason = _judge_silence(video, heartbeat.strike, criteria)
    return Reason.LEASE_EXPIRED if video.lease_expired and reason.stale else reason


def _may_be_stuck(video: Video, criteria: Criteria) -> bool:
    if video.status == Status.FAILED:
        return video.quarantined and video.id in criteria.released
    if video.status != Status.UPLOADED:
        return video.status == Status.PROCESSING
    if video.waits:
        return video.id in criteria.lost or video.tenant_id is None
    return video.lease_expired or video.handoff_token == criteria.own_token


def _judge_silence(video: Video, strike: Strike | None, criteria: Criteria) -> Reason:
    """Tell whether a missing heartbeat counts; a strike under another lease says nothing about this one."""
    if criteria.confirm_silence_s == 0:
        return Reason.SILENT_TWICE
    if strike is None or strike.lease != video.lease:
        return Reason.SILENT_ONCE
    if strike.gone:
        return Reason.WORKER_GONE
    confirmed = video.now_s - strike.at_s >= criteria.confirm_silence_s
    return Reason.SILENT_TWICE if confirmed else Reason.SILENT_ONCE


def depends_on_heartbeat(video: Video, *, spare_beating: bool) -> bool:
    """Tell whether only the heartbeat decides if this video is stuck."""
    return video.has_heartbeat and (spare_beating or not video.lease_expired)


def credible(heartbeats: Mapping[int, Heartbeat], *, seen_before: bool) -> dict[int, Heartbeat]:
    """Turn missing heartbeats into unknown ones, unless heartbeats are or were once seen in this Redis.

    A Redis that is the wrong one, or that lost its data, holds no mark that a heartbeat was seen there.
    """
    if seen_before or any(heartbeat.present for heartbeat in heartbeats.values()):
        return dict(heartbeats)
    return {video_id: replace(heartbeat, present=None) for video_id, heartbeat in heartbeats.items()}


@dataclass(slots=True)
class Hearing:
    """Which workers are heard, over all videos of a listing.

    Attributes:
        anybody: a heartbeat was found.
        silent: holders of live leases whose heartbeats are missing; at most 5 are kept.
    """

    anybody: bool = False
    silent: set[str] = field(default_factory=set)

    def add(self, videos: Iterable[Video], heartbeats: Mapping[int, Heartbeat]) -> None:
        """Add videos and their heartbeats by id; an absent one is unknown."""
        self.anybody = self.anybody or any(heartbeat.present for heartbeat in heartbeats.values())
        if self.anybody:
            return
        for video in videos:
            present = heartbeats.get(video.id, UNKNOWN_HEARTBEAT).present
            if present is False and video.leased_by and not video.lease_expired and len(self.silent) < _MASS:
                self.silent.add(video.leased_by)

    @property
    def is_mass_silence(self) -> bool:
        """Whether not one of at least 5 workers with a lease is heard.

        It is then more likely that workers can't reach Redis than that all of them died: silence must last longer.
        """
        return not self.anybody and len(self.silent) >= _MASS


def strikes_to_keep(
    videos: Iterable[Video], heartbeats: Mapping[int, Heartbeat], gone: Container[str | None]
) -> dict[int, Strike | None]:
    """Return the strikes to write, by video id; None deletes one.

    A first miss is recorded under the lease that missed it and replaces the strike of an earlier lease. An
    earlier strike under the same lease is written again, so that it does not expire: a strike expires when
    more than three rounds pass without a look. A heartbeat deletes the strike. A video that has no heartbeat
    and no strike to delete, or whose heartbeat is unknown, is left out.

    Args:
        videos: the rows as read, those that depend on their heartbeats.
        heartbeats: by id; absent is unknown.
        gone: ids of the EC2 instances that are known to have left the worker group.
    """
    changes: dict[int, Strike | None] = {}
    for video in videos:
        heartbeat = heartbeats.get(video.id, UNKNOWN_HEARTBEAT)
        if heartbeat.present is None:
            continue
        known = heartbeat.strike
        if heartbeat.present:
            if known is not None:
                changes[video.id] = None
            continue
        at_s = known.at_s if known and known.lease == video.lease else video.now_s
        changes[video.id] = Strike(at_s, video.lease, video.instance in gone)
    return changes


def strike_memory_s(rate_minutes: int) -> int:
    """Return after how many seconds without a look a strike expires: three rounds and a minute of jitter."""
    return 60 * (3 * rate_minutes + 1)


def iso(at_s: float) -> str:
    """Write seconds since the epoch as an ISO 8601 time in UTC."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
