"""What the whole execution is measured against: the platform's own command, and the floor below everybody."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import Any

import redis

from dev.bench import academy
from dev.local.stack import Clients

BATCH = 100
ENTRIES = 10

# What the platform's command asks PostgreSQL for: as Django's ORM words it, with every column, since a Django
# model reads them all.
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


def platform(dsn: str, redis_url: str, endpoint_url: str, queue_url: str, video_ids: Sequence[int]) -> int:
    """Reclaim as ``manage.py reconcile_video_processing`` does, one by one; return how many it sent."""
    sqs: Any = Clients(endpoint_url).of("sqs")
    beats: redis.Redis = redis.Redis.from_url(redis_url)
    name = queue_url.rpartition("/")[2]
    sent = 0
    with closing(academy.connect(dsn)) as connection, connection.cursor() as cursor:
        for video_id in video_ids:
            if beats.exists(f"tenant:{academy.tenant_of(video_id)}:video:{video_id}:heartbeat"):
                continue
            cursor.execute("BEGIN")
            cursor.execute(_LOCK, (video_id,))
            cursor.fetchone()
            cursor.execute(_RESET, (video_id,))
            cursor.execute("COMMIT")
            cursor.execute(_REFRESH, (video_id,))
            _, _, _, file_key, *_ = cursor.fetchone() or ()
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
            sqs.send_message(QueueUrl=url, MessageBody=_body(video_id, str(file_key)))
            sent += 1
    beats.close()
    return sent


class Floor:
    """One UPDATE a batch, and the SendMessageBatch calls.

    No look, no fence, no handoff, no report, no workflow: nothing that reclaims into SQS can do less. Each
    lane is a process of its own, whose clients are warm.
    """

    def __init__(self, dsn: str, endpoint_url: str, queue_url: str, *, lanes: int) -> None:
        self._lanes = lanes
        self._pool = ProcessPoolExecutor(
            lanes, get_context("spawn"), initializer=_open, initargs=(dsn, endpoint_url, queue_url)
        )
        list(self._pool.map(_drain, [[]] * lanes * 4))

    def run(self, video_ids: Sequence[int]) -> int:
        """Reclaim and send all; return how many were sent."""
        batches = [list(video_ids[start : start + BATCH]) for start in range(0, len(video_ids), BATCH)]
        shares = [batches[lane :: self._lanes] for lane in range(self._lanes)]
        return sum(self._pool.map(_drain, shares))

    def processes(self) -> list[int]:
        """The lanes' process ids."""
        return list(self._pool._processes or {})

    def close(self) -> None:
        """End the lanes."""
        self._pool.shutdown()


_lane: tuple[Any, Any, str] | None = None


def _open(dsn: str, endpoint_url: str, queue_url: str) -> None:
    global _lane
    sqs: Any = Clients(endpoint_url).of("sqs")
    sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    _lane = (academy.connect(dsn), sqs, queue_url)


def _drain(batches: Sequence[Sequence[int]]) -> int:
    assert _lane is not None
    connection, sqs, queue_url = _lane
    sent = 0
    with connection.cursor() as cursor:
        for batch in batches:
            cursor.execute(_FLOOR, (list(batch),))
            rows = cursor.fetchall()
            for start in range(0, len(rows), ENTRIES):
                entries = [
                    {"Id": str(video_id), "MessageBody": _body(video_id, file_key)}
                    for video_id, file_key in rows[start : start + ENTRIES]
                ]
                sent += len(sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)["Successful"])
    return sent


def _body(video_id: int, file_key: str) -> str:
    message = {"video_id": video_id, "file_key": file_key, "tenant_id": 1, "tenant_code": "tenant-1"}
    return json.dumps(message | {"created_at": datetime.now(UTC).isoformat(), "attempt": 2})
