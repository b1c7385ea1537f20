"""The platform's database: every statement this product sends, by name.

Only ``status``, ``leased_by``, ``leased_until`` and, for a quarantined video, ``error_reason`` are ever
written. Each statement is a transaction of its own. The clock is always the database's.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as Connection

from video_reclaim import aws, secrets
from video_reclaim.errors import InvalidSetting, StoreRefused, StoreUnavailable
from video_reclaim.settings import DatabaseSettings, read
from video_reclaim.staleness import HANDOFF_PREFIX, Video

_LEASE = "ROW(v.leased_by, v.leased_until, v.processing_started_at)::text"

# A worker on the path without leases may leave the columns as it found them: then the term of the handoff,
# which says nothing of the worker, outlives the claim.
_EXPIRED = f"""
(v.leased_until < now() AND NOT (v.status = 'PROCESSING' AND starts_with(v.leased_by, '{HANDOFF_PREFIX}')))
"""

_ORPHANED = (
    f"v.status = 'UPLOADED' AND v.leased_until < now() AND starts_with(v.leased_by, '{HANDOFF_PREFIX}')"
)

_COLUMNS = f"""
v.id, v.status, t.id AS tenant_id, v.leased_by, {_LEASE} AS lease,
coalesce({_EXPIRED}, false) AS lease_expired, date_part('epoch', now()) AS now_s
"""

_VIDEO_AND_TENANT = """
video_video v
LEFT JOIN lectures_session s ON s.id = v.session_id
LEFT JOIN lectures_lecture l ON l.id = s.lecture_id
LEFT JOIN core_tenant t ON t.id = l.tenant_id
"""

# Every video that may be stuck: all that are processed, by the index on status, and the orphans of crashed
# runs, by the one or the other of the indexes on status and leased_until. The longest claimed come first.
LIST_CANDIDATES = f"""
SELECT id, status, tenant_id, leased_by, lease, lease_expired, now_s FROM (
    SELECT v.processing_started_at, {_COLUMNS} FROM {_VIDEO_AND_TENANT} WHERE v.status = 'PROCESSING'
    UNION ALL
    SELECT v.processing_started_at, {_COLUMNS} FROM {_VIDEO_AND_TENANT} WHERE {_ORPHANED}
) AS candidate
ORDER BY processing_started_at NULLS FIRST, id
"""

# The same columns for the videos of one batch, whatever has become of them.
LOOK = f"SELECT {_COLUMNS} FROM {_VIDEO_AND_TENANT} WHERE v.id = ANY(%(ids)s) ORDER BY v.id"

# The status, where rows are found by their ids, as an expression that no index serves; and likewise for their
# terms below. In a mass reclaim the statistics lag behind: they know of hardly any UPLOADED row, and by the
# index on status each batch would read all that the others have reclaimed.
_STATUS = "(v.status || '')"

# Rows that are still as seen, or whose lease has expired; locked in the order of their ids, so that two
# executions can't deadlock, and without waiting for a row that somebody else is changing. One JSON text is
# quicker to write and to parse than arrays of as many literals.
_FENCED = f"""
WITH fenced AS (
    SELECT v.id FROM video_video v
    JOIN json_each_text(%(leases)s) AS seen (id, lease) ON seen.id::bigint = v.id
    WHERE ({_STATUS} = 'PROCESSING' AND ({_EXPIRED} OR {_LEASE} = seen.lease))
       OR ({_STATUS} = 'UPLOADED' AND starts_with(v.leased_by, '{HANDOFF_PREFIX}') AND {_LEASE} = seen.lease)
    ORDER BY v.id
    FOR UPDATE OF v SKIP LOCKED
)
"""

# Take the lease: reclaimed, and not yet in the queue.
TAKE = f"""{_FENCED}
UPDATE video_video v
SET status = 'UPLOADED', leased_by = %(holder)s, leased_until = now() + make_interval(secs => %(handoff_s)s)
FROM fenced WHERE v.id = fenced.id
RETURNING v.id
"""

# Give up on videos that were reclaimed too often.
QUARANTINE = f"""{_FENCED}
UPDATE video_video v
SET status = 'FAILED', leased_by = '', leased_until = NULL, error_reason = because.reason
FROM fenced
JOIN json_each_text(%(reasons)s) AS because (id, reason) ON because.id::bigint = fenced.id
WHERE v.id = fenced.id
RETURNING v.id
"""

# What a message needs, of the videos that still carry the token. A handoff lease that could run out while
# the messages are on their way is renewed first; one that somebody else adopts meanwhile is not ours.
READ_HANDOFFS = f"""
WITH renewed AS (
    UPDATE video_video v SET leased_until = now() + make_interval(secs => %(handoff_s)s)
    WHERE v.id = ANY(%(ids)s) AND {_STATUS} = 'UPLOADED' AND v.leased_by = %(holder)s
      AND v.leased_until - make_interval(secs => %(handoff_s)s / 2.0) < now()
    RETURNING v.id, v.leased_until
)
SELECT v.id, coalesce(v.file_key, ''), t.id AS tenant_id, t.code AS tenant_code,
       coalesce(renewed.leased_until, v.leased_until)::text AS handoff_until
FROM video_video v
LEFT JOIN renewed ON renewed.id = v.id
JOIN lectures_session s ON s.id = v.session_id
JOIN lectures_lecture l ON l.id = s.lecture_id
JOIN core_tenant t ON t.id = l.tenant_id
WHERE v.id = ANY(%(ids)s) AND {_STATUS} = 'UPLOADED' AND v.leased_by = %(holder)s
  AND (v.leased_until - make_interval(secs => %(handoff_s)s / 2.0) >= now()
       OR renewed.id IS NOT NULL)
ORDER BY v.id
"""

# End the handoff of the videos that SQS has accepted, unless a worker has already claimed them. The terms
# tell these handoffs from later ones of the same execution, whose messages are not sent yet: a later handoff
# ends later than any that was read before it, so that the terms need not be matched video by video.
CLEAR_HANDOFFS = f"""
UPDATE video_video v SET leased_by = '', leased_until = NULL
WHERE v.id = ANY(%(ids)s) AND {_STATUS} = 'UPLOADED' AND v.leased_by = %(holder)s
  AND v.leased_until + interval '0' = ANY(%(untils)s::timestamptz[])
RETURNING v.id
"""

# What a session needs: patience, and one way of writing times, since a lease is known by its text. Not given
# as options of the connection, which RDS Proxy refuses; a session that sets something it pins, as it must.
SETTLE_IN = "SET statement_timeout = %(statement_ms)s; SET timezone = 'UTC'; SET datestyle = 'ISO'"

# The backlog, by an index that begins with the status.
MEASURE_BACKLOG = """
SELECT count(*) FILTER (WHERE status = 'UPLOADED') AS uploaded,
       count(*) FILTER (WHERE status = 'PROCESSING') AS processing,
       date_part('epoch', now() - min(updated_at) FILTER (WHERE status = 'UPLOADED')) AS oldest_uploaded_s
FROM video_video WHERE status IN ('UPLOADED', 'PROCESSING')
"""


@dataclass(frozen=True, slots=True)
class Job:
    """What a message says of a video, and the handoff under which it is sent.

    Attributes:
        video_id: primary key.
        file_key: where the upload is.
        tenant_id: whose it is.
        tenant_code: likewise.
        handoff_until: the term of the handoff lease, in the database's own words.
    """

    video_id: int
    file_key: str
    tenant_id: int
    tenant_code: str
    handoff_until: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """The videos that wait or are worked on.

    Attributes:
        uploaded: videos in UPLOADED.
        processing: videos in PROCESSING.
        oldest_uploaded_s: seconds since the platform last changed the UPLOADED video that it left alone for
            longest; 0 when none waits.
    """

    uploaded: int
    processing: int
    oldest_uploaded_s: float


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a set of rows.

    Attributes:
        ids: rows that were written. The others had moved on, or somebody held their lock.
        refused: rows that PostgreSQL would not have written, with its reason, by id.
    """

    ids: list[int]
    refused: dict[int, str]


class Store:
    """The database, over one connection that is opened on first use and again after it was lost."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._connection: Connection | None = None

    def list_candidates(self) -> list[Video]:
        """All videos that may be stuck, the longest claimed first. Raises StoreUnavailable, StoreRefused."""
        return [Video(*row) for row in self._read(LIST_CANDIDATES, {})]

    def look(self, video_ids: Sequence[int]) -> list[Video]:
        """These videos as they are now, by id; deleted ones are absent. Raises as `list_candidates`."""
        return [Video(*row) for row in self._read(LOOK, {"ids": list(video_ids)})]

    def take(self, videos: Sequence[Video], *, token: str, handoff_s: int) -> Written:
        """Reclaim videos: UPLOADED, and leased to the handoff for ``handoff_s`` seconds.

        A video that is no longer as seen is left alone, unless its lease has expired all the same. Doing it
        again with the same token renews the lease. One row that PostgreSQL refuses never stops the others.

        Raises:
            StoreUnavailable: nothing is known to be written; whatever was, carries the token.
        """
        return self._write(TAKE, videos, {"holder": HANDOFF_PREFIX + token, "handoff_s": handoff_s})

    def quarantine(self, videos: Sequence[Video], reasons: Sequence[str]) -> Written:
        """Set videos to FAILED, each with its reason, under the same fence as `take`."""
        because = {video.id: reason for video, reason in zip(videos, reasons, strict=True)}
        return self._write(QUARANTINE, videos, {"reasons": _json(because)})

    def read_handoffs(self, video_ids: Sequence[int], *, token: str, handoff_s: int) -> list[Job]:
        """The jobs of the videos that still carry the token.

        Nobody else adopts them for at least half of ``handoff_s`` seconds from now.

        Raises:
            StoreUnavailable: nothing has changed but, perhaps, how long the handoff lease lasts.
        """
        parameters = {"ids": list(video_ids), "holder": HANDOFF_PREFIX + token, "handoff_s": handoff_s}
        return [Job(*row) for row in self._read(READ_HANDOFFS, parameters)]

    def clear_handoffs(self, jobs: Sequence[Job], *, token: str) -> int:
        """End the handoffs of these jobs that still are as they were read; return how many were.

        A connection that was lost is opened anew, once: what can't be put down now is sent again later.

        Raises:
            StoreUnavailable: they may still carry the token, and would be sent again: a duplicate, no loss.
        """
        parameters = {
            "ids": [job.video_id for job in jobs],
            "untils": sorted({job.handoff_until for job in jobs}),
            "holder": HANDOFF_PREFIX + token,
        }
        return len(self._read(CLEAR_HANDOFFS, parameters))

    def measure_backlog(self) -> Backlog:
        """Count the videos that wait or are worked on. Raises StoreUnavailable, StoreRefused."""
        uploaded, processing, oldest_uploaded_s = self._read(MEASURE_BACKLOG, {})[0]
        return Backlog(uploaded, processing, max(0.0, oldest_uploaded_s or 0.0))

    def _read(self, statement: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        reused = self._connection is not None
        try:
            return self._fetch(statement, parameters)
        except StoreUnavailable:
            if not reused or self._connection is not None:
                raise
            return self._fetch(statement, parameters)  # the kept connection had died since the last call

    def _fetch(self, statement: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            cursor.execute(statement, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def _write(self, statement: str, videos: Sequence[Video], parameters: Mapping[str, object]) -> Written:
        if not videos:
            return Written([], {})
        leases = _json({video.id: video.lease for video in videos})
        try:
            return Written([row[0] for row in self._fetch(statement, {**parameters, "leases": leases})], {})
        except StoreRefused as exc:
            if len(videos) == 1:
                return Written([], {videos[0].id: str(exc)})
        one_by_one = [self._write(statement, [video], parameters) for video in videos]
        return Written(
            [video_id for written in one_by_one for video_id in written.ids],
            {video_id: why for written in one_by_one for video_id, why in written.refused.items()},
        )

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        try:
            if self._connection is None:
                self._connection = _connect(self._settings)
            with self._connection.cursor() as cursor:
                yield cursor
        except psycopg2.errors.ReadOnlySqlTransaction as exc:  # a former primary, after a failover
            self._drop()
            raise StoreUnavailable(f"PostgreSQL is read-only: {_first_line(exc)}") from exc
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as exc:
            if self._connection is None or self._connection.closed or exc.pgcode is None:
                self._drop()
            raise StoreUnavailable(f"PostgreSQL: {_first_line(exc)}") from exc
        except psycopg2.Error as exc:
            raise StoreRefused(f"PostgreSQL refused: {_first_line(exc)}") from exc

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None


def _json(by_id: Mapping[int, str]) -> str:
    return json.dumps(by_id, ensure_ascii=False)  # a database of another encoding may not know the escapes


def _first_line(exc: psycopg2.Error) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]


def _connect(settings: DatabaseSettings) -> Connection:
    credentials = _credentials(settings)
    try:
        return _open(settings, credentials)
    except psycopg2.OperationalError as exc:
        # Before there is a connection, a refused password has no code, and words in the server's language.
        if not settings.database_secret_arn or _never_reached(exc):
            raise
        secrets.forget()
        renewed = _credentials(settings)
        if renewed == credentials:
            raise
        return _open(settings, renewed)  # rotated since it was fetched


def _never_reached(exc: psycopg2.OperationalError) -> bool:
    """Whether the server was not even asked: libpq's own words, in no other language than English here."""
    return any(
        words in str(exc) for words in ("timeout expired", "Connection refused", "translate host name")
    )


def _open(settings: DatabaseSettings, credentials: dict[str, Any]) -> Connection:
    statement_ms = settings.database_statement_seconds * 1000
    roots: dict[str, Any] = {}
    if settings.database_sslmode.startswith("verify"):
        if not settings.database_sslrootcert:
            raise InvalidSetting("DATABASE_SSLROOTCERT", f"is needed for {settings.database_sslmode}")
        roots["sslrootcert"] = settings.database_sslrootcert
    connection: Connection = psycopg2.connect(
        host=settings.database_host,
        port=settings.database_port,
        dbname=settings.database_name,
        sslmode=settings.database_sslmode,
        **roots,
        connect_timeout=settings.database_connect_seconds,
        tcp_user_timeout=statement_ms,
        keepalives_idle=30,
        application_name="video-reclaim",
        target_session_attrs="read-write",
        **credentials,
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(SETTLE_IN, {"statement_ms": statement_ms})
    return connection


def _credentials(settings: DatabaseSettings) -> dict[str, Any]:
    if settings.database_secret_arn:
        secret = secrets.fields(settings.database_secret_arn, "username", "password")
        return {"user": secret["username"], "password": secret["password"]}
    if settings.database_iam_auth:
        token = aws.client("rds").generate_db_auth_token(
            DBHostname=settings.database_host, Port=settings.database_port, DBUsername=settings.database_user
        )
        return {"user": settings.database_user, "password": token}
    return {"user": settings.database_user} if settings.database_user else {}


@cache
def store() -> Store:
    """The database that the environment names. Raises InvalidSetting."""
    return Store(read(DatabaseSettings))
