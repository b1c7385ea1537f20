"""What a whole execution is measured against: the platform's own command, and the floor.

The floor is the least that puts videos back by SQS: one UPDATE for 150 videos, and the SendMessageBatch
calls. It checks nothing, fences nothing and reports nothing.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import Any, NamedTuple, Self

import redis

from dev.bench import academy
from dev.local.stack import Clients

BATCH, ENTRIES_PER_CALL = 150, 10
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


class Places(NamedTuple):
    """Where a contender finds the servers."""

    dsn: str
    redis_url: str
    sqs_endpoint_url: str
    queue_url: str


def platform(places: Places, video_ids: Sequence[int]) -> None:
    """Reclaim as ``manage.py reconcile_video_processing`` does, one by one."""
    sqs: Any = Clients(places.sqs_endpoint_url).of("sqs")
    name = places.queue_url.rpartition("/")[2]
    with (
        redis.Redis.from_url(places.redis_url) as beats,
        closing(academy.connect(places.dsn)) as connection,
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
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
            sqs.send_message(QueueUrl=url, MessageBody=_body(video_id, str(file_key)))


class Floor:
    """The floor on several lanes, each a process whose clients are warm and send several calls side by side."""

    def __init__(self, places: Places, *, lanes: int) -> None:
        self._lanes = lanes
        self._pool = ProcessPoolExecutor(lanes, get_context("spawn"), initializer=_open, initargs=(places,))
        list(self._pool.map(_drain, [[]] * lanes * 4))

    def run(self, video_ids: Sequence[int]) -> None:
        """Reclaim and send all."""
        batches = [list(video_ids[start : start + BATCH]) for start in range(0, len(video_ids), BATCH)]
        list(self._pool.map(_drain, [batches[lane :: self._lanes] for lane in range(self._lanes)]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


_lane: tuple[Any, Any, str, ThreadPoolExecutor] | None = None


def _open(places: Places) -> None:
    global _lane
    sqs: Any = Clients(places.sqs_endpoint_url).of("sqs")
    sqs.get_queue_attributes(QueueUrl=places.queue_url, AttributeNames=["QueueArn"])
    _lane = academy.connect(places.dsn), sqs, places.queue_url, ThreadPoolExecutor(CALLS_AT_ONCE)


def _drain(batches: Sequence[Sequence[int]]) -> None:
    assert _lane is not None
    connection, sqs, queue_url, calls = _lane

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
