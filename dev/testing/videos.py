"""Rows as the database reads them, for tests of the rules."""

from video_reclaim.rules.staleness import Criteria, Video

NOW_S = 1_700_000_000.0
INSTANCE = "i-0123456789abcdef0"

CRITERIA = Criteria(silent_after_s=60, mass_silence_s=700, lost_after_s=300, spare_beating=False)


def a_video(**changes):
    """A video that a worker encodes under a lease, or with other values in some fields."""
    values = {
        "id": 1,
        "status": "PROCESSING",
        "tenant_id": 5,
        "leased_by": f"{INSTANCE}-4711",
        "lease": "(claim)",
        "upload": "file",
        "lease_expired": False,
        "quarantined": False,
        "now_s": NOW_S,
        "started_s": NOW_S - 900,
        "leased_by_claim": True,
    }
    return Video(**values | changes)


def a_waiting_video(**changes):
    """A video that waits for a worker."""
    return a_video(
        **{"status": "UPLOADED", "leased_by": "", "lease": "(none)", "leased_by_claim": False} | changes
    )


def a_handoff(token, **changes):
    """A video between database and queue."""
    return a_video(**{"status": "UPLOADED", "leased_by": f"reclaim:{token}"} | changes)
