"""Many videos of one tenant, made by the database itself in seconds, and their heartbeats."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import psycopg2
import redis
from psycopg2.extensions import connection as Connection

_FILL = """
TRUNCATE video_video, lectures_session, lectures_lecture, core_tenant RESTART IDENTITY;
INSERT INTO core_tenant (id, code) VALUES (1, 'north');
INSERT INTO lectures_lecture (id, tenant_id) VALUES (1, 1);
INSERT INTO lectures_session (id, lecture_id) SELECT i, 1 FROM generate_series(0, 299) i;
INSERT INTO video_video (id, session_id, title, file_key, status, leased_by, leased_until, processing_started_at,
                         created_at, updated_at)
SELECT i, i %% 300, %(title)s, 'tenants/videos/' || i || '/source.mp4', 'PROCESSING', 'worker-' || i,
       now() + CASE WHEN i <= %(stale)s THEN interval '-1 hour' ELSE interval '3 hours' END,
       now() - interval '5 hours', now() - interval '1 day', now() - interval '5 hours'
FROM generate_series(1, %(processing)s) i
"""


def connect(dsn: str) -> Connection:
    """Open a connection on which every statement is a transaction of its own."""
    connection: Connection = psycopg2.connect(dsn)
    connection.autocommit = True
    return connection


def fill(dsn: str, *, processing: int, stale: int, title: str | None = None) -> None:
    """Replace all videos by ``processing`` ones in PROCESSING, with ids from 1.

    The lease of the first ``stale`` ones expired an hour ago; that of the others lasts three more.
    """
    query(dsn, _FILL, {"processing": processing, "stale": stale, "title": title})
    query(dsn, "VACUUM (ANALYZE) video_video, lectures_session, lectures_lecture, core_tenant")


def heartbeat_key(video_id: int) -> str:
    """Return the key of a video's heartbeat."""
    return f"tenant:1:video:{video_id}:heartbeat"


def beat(redis_url: str, video_ids: Iterable[int]) -> None:
    """Empty Redis and set the heartbeats of these videos for an hour."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        for video_id in video_ids:
            client.set(heartbeat_key(video_id), "1", ex=3600)


def query(dsn: str, statement: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
    """Run a statement in a transaction of its own; return its rows, if it has any."""
    with closing(connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
