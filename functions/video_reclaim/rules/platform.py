"""Every fact about the platform's statuses, keys and messages, and the product's own keys beside them.

Its tables and columns are named by the SQL statements alone. Tests spell all names themselves (decision 18).
"""

import re
from datetime import datetime
from enum import StrEnum

import msgspec


class Status(StrEnum):
    """The values of ``status`` that concern the product; there are also PENDING and READY."""

    UPLOADED = "UPLOADED"
    PROCESSING = "PROCESSING"
    FAILED = "FAILED"


MAX_HOLDER_CHARACTERS = 64
"""Width of ``leased_by``."""

HANDOFF_PREFIX = "reclaim:"
"""Start of ``leased_by`` while a reclaimed video is not yet in the queue; the execution's token follows."""

QUARANTINE_PREFIX = "Processing was interrupted too often"
"""Start of ``error_reason`` of a video that the product quarantined; the platform shows the text to users."""

INSTANCE_ID = "i-(?:[0-9a-f]{17}|[0-9a-f]{8})"
"""EC2's long and short form, as a regular expression."""


def instance_of(leased_by: str) -> str | None:
    """Return the EC2 instance id that a worker's id begins with; None if it begins with something else."""
    found = re.match(f"{INSTANCE_ID}(?![0-9a-f])", leased_by)
    return found[0] if found else None


class Job(msgspec.Struct, frozen=True):
    """What a message says about a video, and the end of the handoff lease under which it is sent."""

    video_id: int
    file_key: str
    tenant_id: int
    tenant_code: str
    handoff_until: str  # as PostgreSQL writes it


def message(job: Job, *, attempt: int, at: datetime) -> dict[str, object]:
    """Build the body that the platform's workers expect; ``at`` has an offset from UTC.

    The upload's own message is attempt 1; here it is the number of reclaims in the last 7 days, plus 1.
    """
    return {
        "video_id": job.video_id,
        "file_key": job.file_key,
        "tenant_id": job.tenant_id,
        "tenant_code": job.tenant_code,
        "created_at": at.isoformat(),
        "attempt": attempt,
    }


class Key(StrEnum):
    """The Redis keys of a video: the platform's, and ``reclaims``, the product's own."""

    HEARTBEAT = "heartbeat"  # set by a worker every 20 s, to expire after 60 s, or 300 s; only read here
    CANCEL = "cancel_requested"  # set by a user's retry for 300 s: a worker drops what it receives meanwhile
    STATUS = "status"  # the public status, which the platform reads before the database
    RECLAIMS = "reclaims"  # the claims that were found dead in the last 7 days, a sorted set by time

    def of(self, tenant_id: int | None, video_id: int) -> str:
        """Return the key of one video."""
        return f"tenant:{tenant_id}:video:{video_id}:{self}"


def job_lock_key(video_id: int) -> str:
    """Key that a worker of the older path holds for up to 14,400 s; a killed worker leaves it behind."""
    return f"job:encode:{video_id}:lock"


class StageKey(StrEnum):
    """The product's keys of a stage: another stage may use the same Redis."""

    SEEN = "seen"  # a hash: what was seen of each video, of the queue and of the workers, and since when
    HEARD = "heartbeat-moved"  # set for 30 days; a wrong or a wiped Redis has no such key
    QUARANTINES = "quarantines"  # how many began in the hour since the first of them

    def of(self, stage: str) -> str:
        """Return the key of one stage."""
        return f"video-reclaim:{stage}:{self}"
