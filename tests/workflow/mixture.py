"""Every kind of video there can be, and what must become of each: the platform's rule, told independently."""

import itertools
from dataclasses import dataclass

TENANTS = {1: "north", 2: "south", 3: "west"}
WITHOUT_TENANT = (9, 8, None)  # no tenant on the lecture, no lecture on the session, no session
SILENT_AFTER_S = 60


@dataclass(frozen=True)
class Kind:
    """One combination of everything that the rules look at.

    ``until_s`` is in seconds from now; None is null. ``session`` is one of the academy's, less 20: its tenant, or
    one of `WITHOUT_TENANT`.
    """

    status: str
    by: str
    until_s: int | None
    started_s: int | None
    beats: bool
    session: int | None

    @property
    def reclaimed_at_once(self) -> bool:
        """Whether the lease says so, a worker's that expired.

        A handoff's term on a video in PROCESSING is nobody's: a worker that sets no lease left it there.
        """
        overdue = self.status == "PROCESSING" and self.expired and not self.by.startswith("reclaim:")
        return overdue and self.session in TENANTS

    @property
    def expired(self) -> bool:
        return self.until_s is not None and self.until_s < 0

    @property
    def orphaned(self) -> bool:
        """Whether a run has crashed between taking it and sending it."""
        handed_over = self.status == "UPLOADED" and self.by.startswith("reclaim:")
        return handed_over and (self.expired or self.until_s is None)

    @property
    def silent(self) -> bool:
        """Whether it must be seen without a heartbeat for long enough."""
        stuck = (self.status == "PROCESSING" or self.orphaned) and not self.beats and self.session in TENANTS
        return stuck and not self.reclaimed_at_once

    @property
    def doubtful(self) -> bool:
        """Whether it can't be put back for want of a tenant."""
        waits = self.status == "UPLOADED" and not self.by.startswith("reclaim:")
        return self.session not in TENANTS and (self.status == "PROCESSING" or self.orphaned or waits)


KINDS = [
    Kind(*combination)
    for combination in itertools.product(
        ("PENDING", "UPLOADED", "PROCESSING", "READY", "FAILED"),
        ("", "worker-7", "reclaim:earlier.0123456789ab"),
        (None, -1, 3600),
        (None, -7200),
        (True, False),
        (*TENANTS, *WITHOUT_TENANT),
    )
]


def fill(academy):
    """Put one video of every kind into an empty academy; return the kinds by video id."""
    academy.sql("INSERT INTO lectures_session (id, lecture_id) VALUES (28, NULL)")
    columns = (
        [None if kind.session is None else 20 + kind.session for kind in KINDS],
        [f"tenants/{kind.session}/lecture.mp4" for kind in KINDS],
        [kind.status for kind in KINDS],
        [kind.by for kind in KINDS],
        [kind.until_s for kind in KINDS],
        [kind.started_s for kind in KINDS],
    )
    ids = academy.sql(
        "INSERT INTO video_video (session_id, file_key, status, leased_by, leased_until,"
        " processing_started_at, error_reason, created_at, updated_at)"
        " SELECT session, key, status, by, now() + make_interval(secs => until),"
        "  now() + make_interval(secs => started), CASE status WHEN 'FAILED' THEN 'unreadable file' END,"
        "  now() - interval '1 day', now() - interval '3 hours'"
        " FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::float[], %s::float[])"
        "  WITH ORDINALITY AS kind (session, key, status, by, until, started, nth) ORDER BY nth RETURNING id",
        columns,
    )
    kinds = {video_id: kind for (video_id,), kind in zip(ids, KINDS, strict=True)}
    beat(academy, kinds, left_s=50)
    return kinds


def beat(academy, kinds, *, left_s):
    """Renew all heartbeats."""
    for video_id, kind in kinds.items():
        if kind.beats and kind.session in TENANTS:
            academy.beat(video_id, tenant=kind.session, left_s=left_s)
