"""Big academies, made by the database itself in seconds."""

from contextlib import closing

import psycopg2
from psycopg2.extensions import connection as Connection

TENANTS = 3
SESSIONS = 300


def connect(dsn: str) -> Connection:
    """A connection on which every statement is its own transaction."""
    connection: Connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


def fill(dsn: str, *, processing: int, stale: int, ready: int = 0) -> None:
    """Replace all videos: ids from 1, the PROCESSING ones first, among them the stale ones.

    Args:
        dsn: the database.
        processing: videos in PROCESSING.
        stale: how many of them have a lease that expired an hour ago; the others' lasts three more.
        ready: videos that are done.
    """
    with closing(connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE video_video, lectures_session, lectures_lecture, core_tenant RESTART IDENTITY"
        )
        cursor.execute(
            "INSERT INTO core_tenant (id, code) SELECT i, 'tenant-' || i FROM generate_series(1, %s) i",
            (TENANTS,),
        )
        cursor.execute(
            "INSERT INTO lectures_lecture (id, tenant_id)"
            " SELECT i, 1 + i %% %s FROM generate_series(1, 30) i",
            (TENANTS,),
        )
        cursor.execute(
            "INSERT INTO lectures_session (id, lecture_id)"
            " SELECT i, 1 + i %% 30 FROM generate_series(1, %s) i",
            (SESSIONS,),
        )
        cursor.execute(_PROCESSING, {"sessions": SESSIONS, "processing": processing, "stale": stale})
        cursor.execute(_READY, {"sessions": SESSIONS, "processing": processing, "all": processing + ready})
        cursor.execute("VACUUM (ANALYZE) video_video, lectures_session, lectures_lecture, core_tenant")


_PROCESSING = """
INSERT INTO video_video (id, session_id, file_key, status, leased_by, leased_until, processing_started_at,
                         created_at, updated_at)
SELECT i, 1 + i %% %(sessions)s, 'tenants/videos/' || i || '/source.mp4', 'PROCESSING', 'worker-' || i,
       now() + CASE WHEN i <= %(stale)s THEN interval '-1 hour' ELSE interval '3 hours' END,
       now() - interval '5 hours', now() - interval '1 day', now() - interval '5 hours'
FROM generate_series(1, %(processing)s) i
"""

_READY = """
INSERT INTO video_video (id, session_id, file_key, status, leased_by, created_at, updated_at)
SELECT i, 1 + i %% %(sessions)s, 'tenants/videos/' || i || '/source.mp4', 'READY', '',
       now() - i * interval '1 minute', now() - i * interval '1 minute'
FROM generate_series(%(processing)s + 1, %(all)s) i
"""


def tenant_of(video_id: int) -> int:
    """The tenant of a video that `fill` made."""
    lecture = 1 + (1 + video_id % SESSIONS) % 30
    return 1 + lecture % TENANTS


def count(dsn: str, where: str) -> int:
    """How many videos there are of which ``where`` is true."""
    with closing(connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM video_video WHERE {where}")
        ((found,),) = cursor.fetchall()
        return int(found)
