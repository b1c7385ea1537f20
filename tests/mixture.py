"""Every kind of video there can be, and what must become of each: the platform's rule, told independently."""

import itertools
from dataclasses import dataclass

from dev.testing.messages import exact_body

TENANTS = {1: "north", 2: "south", 3: "west"}
WITHOUT_TENANT = (9, 8, None)  # no tenant on the lecture, no lecture on the session, no session
CONFIRM_SILENCE_S = 60


@dataclass(frozen=True)
class Kind:
    """One combination of everything that the rules look at.

    ``until_s`` is in seconds from now; None is null. ``session`` is one of the academy's, whose number is its
    tenant's, or one of `WITHOUT_TENANT`.
    """

    status: str
    by: str
    until_s: int | None
    started_s: int | None
    beats: bool
    session: int | None

    @property
    def reclaimed_at_once(self) -> bool:
        """Whether the lease alone says so: a worker's that expired, or an orphaned handoff's.

        A handoff's term on a video in PROCESSING is nobody's: a worker that sets no lease left it there.
        """
        overdue = self.status == "PROCESSING" and self.expired and not self.by.startswith("reclaim:")
        return (overdue or self.orphaned) and self.session in TENANTS

    @property
    def expired(self) -> bool:
        return self.until_s is not None and self.until_s < 0

    @property
    def orphaned(self) -> bool:
        """Whether a run has crashed between taking it and sending it."""
        return self.status == "UPLOADED" and self.by.startswith("reclaim:") and self.expired

    @property
    def waits(self) -> bool:
        """Whether it waits for a worker and nobody is handing it over."""
        return self.status == "UPLOADED" and not self.by.startswith("reclaim:")

    @property
    def silent(self) -> bool:
        """Whether only the missing heartbeat says so."""
        stuck = self.status == "PROCESSING" and not self.beats and self.session in TENANTS
        return stuck and not self.reclaimed_at_once


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
    academy.sql("INSERT INTO lectures_session (id, lecture_id) VALUES (8, NULL)")
    columns = (
        [kind.session for kind in KINDS],
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
    beats = {
        f"tenant:{kind.session}:video:{video_id}:heartbeat": "1"
        for video_id, kind in kinds.items()
        if kind.beats and kind.session in TENANTS
    }
    academy.redis.mset(beats)
    return kinds


def age_strikes(academy, by_s):
    """Move every first missed heartbeat on record into the past."""
    for key in academy.redis.scan_iter("tenant:*:video:*:silence", count=1000):
        at, _, lease = academy.redis.get(key).decode().partition(" ")
        academy.redis.set(key, f"{float(at) - by_s} {lease}", keepttl=True)


def put_back(row):
    """A row as it must be once it is reclaimed and in the queue: three columns change, and no other."""
    session, file_key, _status, _by, _until, *others = row
    return (session, file_key, "UPLOADED", "", None, *others)


def check_main_job(academy, queue, run):
    """Fill the academy, run the workflow twice a confirmed silence apart, and check every row and message.

    ``run()`` runs one execution with the input ``{}`` and returns its record.
    """
    kinds = fill(academy)
    at_once = {video_id for video_id, kind in kinds.items() if kind.reclaimed_at_once}
    silent = {video_id for video_id, kind in kinds.items() if kind.silent}
    doubtful = {
        video_id
        for video_id, kind in kinds.items()
        if kind.session not in TENANTS and (kind.status == "PROCESSING" or kind.orphaned or kind.waits)
    }
    assert len(silent) > 40 > len(at_once) > 0, "both single items and batches are to be seen"
    before = academy.rows()

    first = run()
    after_first = {
        video_id: put_back(row) if video_id in at_once else row for video_id, row in before.items()
    }
    assert academy.rows() == after_first
    assert first["reclaimed"] == first["enqueued"] == len(at_once)
    assert first["spared"]["silentOnce"] == len(silent)
    assert first["spared"]["tenantUnknown"] == len(doubtful)
    assert set(first["tenantUnknown"]) <= doubtful and len(first["tenantUnknown"]) == 100

    age_strikes(academy, CONFIRM_SILENCE_S + 1)
    second = run()
    assert academy.rows() == {
        video_id: put_back(row) if video_id in silent else row for video_id, row in after_first.items()
    }
    assert second["stale"] == {"silentTwice": len(silent)}
    assert second["reclaimed"] == second["enqueued"] == len(silent)

    bodies = sorted(queue.take_all(), key=lambda body: body["video_id"])
    assert bodies == [
        exact_body(
            video_id,
            tenant=kinds[video_id].session,
            code=TENANTS[kinds[video_id].session],
            attempt=2,
            created_at=body["created_at"],
        )
        for video_id, body in zip(sorted(at_once | silent), bodies, strict=True)
    ]
