"""What a whole execution is measured against: the platform's own command, and the floor.

The floor is the least that puts videos back by SQS: one UPDATE for 150 videos, and the SendMessageBatch
calls. It checks nothing, fences nothing and reports nothing.
"""

import json
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import redis

from dev.bench import academy
from dev.local.stack import Clients, Stack

BATCH, ENTRIES_PER_CALL = 150, 10
LANES = 5  # the workflow's MaxConcurrency
CALLS_AT_ONCE = 5  # as Enqueue makes them

# The statements of the platform's command, as Django's ORM words them: a Django model reads every column.
_LOCK = """
SELECT v.*, s.*, l.*, t.* FROM video_video v
JOIN lectures_session s ON s.id = v.session_id
JOIN lectures_lecture l ON l.id = s.lecture_id
JOIN core_tenant t ON t.id = l.tenant_id
WHERE v.id = %s FOR UPDATE OF v
"""
_RESET = "UPDATE video_video SET status = 'UPLOADED', leased_by = '', leased_until = NULL WHERE id = %s"
_REFRESH = "SELECT * FROM video_video WHERE id = %s"

_FLOOR = """
UPDATE video_video SET status = 'UPLOADED', leased_by = '', leased_until = NULL
WHERE id = ANY(%s) AND status = 'PROCESSING' AND leased_until < now()
RETURNING id, file_key
"""


def platform(stack: Stack, video_ids: Sequence[int]) -> None:
    """Reclaim as ``manage.py reconcile_video_processing`` does, one by one."""
    sqs = stack.clients.sqs
    with (
        redis.Redis.from_url(stack.redis_url) as beats,
        closing(academy.connect(stack.postgres_dsn)) as connection,
        connection.cursor() as cursor,
    ):
        for video_id in video_ids:
            if beats.exists(academy.heartbeat_key(video_id)):
                continue
            cursor.execute("BEGIN")
            cursor.execute(_LOCK, (video_id,))
            cursor.execute(_RESET, (video_id,))
            cursor.execute("COMMIT")
            cursor.execute(_REFRESH, (video_id,))
            _, _, _, file_key, *_ = cursor.fetchone() or ()
            url = sqs.get_queue_url(QueueName=stack.queue_url.rpartition("/")[2])["QueueUrl"]
            sqs.send_message(QueueUrl=url, MessageBody=_body(video_id, str(file_key)))


def floor(lanes: Executor, stack: Stack, video_ids: Sequence[int]) -> None:
    """Reclaim and send all on lanes, each a process whose clients stay open and send several calls side by side."""
    batches = [list(video_ids[start : start + BATCH]) for start in range(0, len(video_ids), BATCH)]
    drain = partial(_drain, stack.postgres_dsn, stack.endpoint_url, stack.queue_url)
    list(lanes.map(drain, [batches[lane::LANES] for lane in range(LANES)]))


@cache
def opened(dsn: str, endpoint_url: str) -> tuple[Any, Any, ThreadPoolExecutor]:
    """Return what a lane keeps open: a connection, a client of SQS, and threads that call it."""
    return academy.connect(dsn), Clients(endpoint_url).sqs, ThreadPoolExecutor(CALLS_AT_ONCE)


def _drain(dsn: str, endpoint_url: str, queue_url: str, batches: Sequence[Sequence[int]]) -> None:
    connection, sqs, calls = opened(dsn, endpoint_url)

    def send(rows: Sequence[tuple[int, str]]) -> None:
        entries = [{"Id": str(row[0]), "MessageBody": _body(*row)} for row in rows]
        sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)

    with connection.cursor() as cursor:
        for batch in batches:
            cursor.execute(_FLOOR, (list(batch),))
            rows = cursor.fetchall()
            starts = range(0, len(rows), ENTRIES_PER_CALL)
            list(calls.map(send, [rows[start : start + ENTRIES_PER_CALL] for start in starts]))


def _body(video_id: int, file_key: str) -> str:
    message = {"video_id": video_id, "file_key": file_key, "tenant_id": 1, "tenant_code": "north"}
    return json.dumps(message | {"created_at": datetime.now(UTC).isoformat(), "attempt": 2})
