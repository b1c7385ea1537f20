"""Every fact about the platform's tables, columns, keys and messages.

SQL statements, Redis keys and message bodies take their names from here, and so do the tests. The tables are
those of the platform's Django migrations; the product never changes their schema.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

VIDEOS = "video_video"
SESSIONS = "lectures_session"
LECTURES = "lectures_lecture"
TENANTS = "core_tenant"


class Column(StrEnum):
    """The columns of `VIDEOS` that the product reads or writes."""

    ID = "id"
    SESSION_ID = "session_id"
    FILE_KEY = "file_key"
    STATUS = "status"
    LEASED_BY = "leased_by"
    LEASED_UNTIL = "leased_until"
    PROCESSING_STARTED_AT = "processing_started_at"
    ERROR_REASON = "error_reason"
    UPDATED_AT = "updated_at"


class Status(StrEnum):
    """Values of ``status``."""

    PENDING = "PENDING"
    UPLOADED = "UPLOADED"
    PROCESSING = "PROCESSING"
    READY = "READY"
    FAILED = "FAILED"


MAX_HOLDER_CHARACTERS = 64
"""Width of ``leased_by``."""

HANDOFF_PREFIX = "reclaim:"
"""Start of ``leased_by`` while a reclaimed video is not yet in the queue; the execution's token follows."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a message says about a video, and the handoff lease under which it is sent.

    Attributes:
        video_id: primary key of the video.
        file_key: storage key of the upload.
        tenant_id: primary key of the tenant.
        tenant_code: code of the tenant.
        handoff_until: end of the handoff lease, as PostgreSQL writes it.
    """

    video_id: int
    file_key: str
    tenant_id: int
    tenant_code: str
    handoff_until: str


def message(job: Job, *, attempt: int, at: datetime) -> dict[str, object]:
    """Build the message body that the platform's workers expect.

    Args:
        job: the video.
        attempt: 1 for the message of the upload; here the number of reclaims in the last 7 days, plus 1.
        at: the time of sending, with an offset from UTC.
    """
    return {
        "video_id": job.video_id,
        "file_key": job.file_key,
        "tenant_id": job.tenant_id,
        "tenant_code": job.tenant_code,
        "created_at": at.isoformat(),
        "attempt": attempt,
    }


def heartbeat_key(tenant_id: int | None, video_id: int) -> str:
    """Key that a worker sets every 20 s while it holds the video; it expires after 60 s. Never written here."""
    return f"tenant:{tenant_id}:video:{video_id}:heartbeat"


def silence_key(tenant_id: int | None, video_id: int) -> str:
    """Key of the product's own: when a heartbeat was first missing, and under which lease."""
    return f"tenant:{tenant_id}:video:{video_id}:silence"


def reclaims_key(tenant_id: int | None, video_id: int) -> str:
    """Key of the product's own: the claims that were reclaimed in the last 7 days."""
    return f"tenant:{tenant_id}:video:{video_id}:reclaims"
