"""The platform around the product: its users upload, delete and retry videos, its database fails over."""

import contextlib
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.chaos import product
from dev.chaos.plan import Plan, Tally
from dev.chaos.queue import PLATFORM, Queue

_PATIENCE_S = 30
_CANCEL_MINUTES = 5
_TENANTS = ("north", "south", "west")


class Platform:
    """The platform's users and its database's administrator; every method may be called from any thread."""

    def __init__(self, dsn: str, redis_url: str, queue: Queue, plan: Plan, tally: Tally) -> None:
        self._dsn, self._queue, self._plan, self._tally = dsn, queue, plan, tally
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
        )
        self._lock = threading.Lock()
        self._random = random.Random(plan.seed + 3)
        self._connection: Any = None

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        with self._lock:
            self._drop()

    def fill(self) -> None:
        """Insert three tenants and the plan's videos, each with its message."""
        self._sql("INSERT INTO core_tenant (id, code) VALUES (1, 'north'), (2, 'south'), (3, 'west')")
        self._sql("INSERT INTO lectures_lecture (id, tenant_id) VALUES (11, 1), (12, 2), (13, 3)")
        self._sql("INSERT INTO lectures_session (id, lecture_id) VALUES (21, 11), (22, 12), (23, 13)")
        for video in range(1, self._plan.videos + 1):
            self._insert(video)

    def upload(self) -> None:
        """Upload again up to 40 videos that are done, and those that were deleted, while the queue is short.

        A retry loses its message only if the message is received soon.
        """
        if len(self._queue.bodies()) > self._plan.workers:
            return
        done = self._sql(
            "UPDATE video_video SET status = 'PENDING', error_reason = NULL, updated_at = now()"
            " WHERE id = ANY(ARRAY(SELECT id FROM video_video WHERE status IN ('READY', 'FAILED')"
            " ORDER BY random() LIMIT 40)) AND status IN ('READY', 'FAILED') RETURNING id"
        )
        for (video,) in done:
            self._publish(video)
        present = {video for (video,) in self._sql("SELECT id FROM video_video")}
        for video in set(range(1, self._plan.videos + 1)) - present:
            self._insert(video)

    def meddle(self, video: int) -> str:
        """Delete a video, set it to READY or retry it; return which."""
        if self._random.random() < 0.3:
            self._sql("DELETE FROM video_video WHERE id = %s RETURNING id", video)
            return "the platform deletes a video"
        if self._random.random() < 0.3:
            self._sql(
                "UPDATE video_video SET status = 'READY', leased_by = '', leased_until = NULL,"
                " updated_at = now()"
                " WHERE id = %s RETURNING id",
                video,
            )
            return "the platform sets a video to READY"
        self._retry(video)
        return "the platform retries a video"

    def quarantined(self) -> list[int]:
        """Return the ids of the videos that the product gave up."""
        found = self._sql(
            "SELECT id FROM video_video WHERE status = 'FAILED' AND starts_with(error_reason, %s)",
            product.QUARANTINE_REASON,
        )
        return [video for (video,) in found]

    def lock_rows(self) -> Callable[[], None]:
        """Lock 20 random rows in a transaction; return what ends it."""
        connection = psycopg2.connect(self._dsn, application_name="platform")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM video_video WHERE status IN ('UPLOADED', 'PROCESSING') ORDER BY random() LIMIT 20"
                " FOR UPDATE SKIP LOCKED"
            )
        return connection.close

    def unfinished(self) -> list[tuple[Any, ...]]:
        """Return id, status and holder of every video that is UPLOADED or PROCESSING."""
        return self._sql(
            "SELECT id, status, leased_by FROM video_video WHERE status NOT IN ('READY', 'FAILED', 'PENDING')"
        )

    def terminate(self, backend: int) -> None:
        """End a session of the database."""
        self._sql("SELECT pg_terminate_backend(%s)", backend)

    def read_only(self, on: bool) -> None:
        """Make the database refuse writes, as a demoted primary does, or accept them again."""
        with self._lock:
            self._run(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}", ())
            self._run("SELECT pg_reload_conf()", ())

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Keep off the database within a ``with`` block, while it restarts."""
        with self._lock:
            self._drop()
            yield

    def _insert(self, video: int) -> None:
        self._sql(
            "INSERT INTO video_video (id, session_id, file_key, status, leased_by, created_at, updated_at)"
            " VALUES (%s, %s, %s, 'UPLOADED', '', now(), now()) ON CONFLICT DO NOTHING RETURNING id",
            video,
            video % 3 + 21,
            file_key := _file_key(video),
        )
        self._send(video, file_key)

    def _retry(self, video: int) -> None:
        if not self._plan.real_platform.retries:
            return self._publish(video)
        key = f"tenant:{video % 3 + 1}:video:{video}:cancel_requested"
        with contextlib.suppress(redis.RedisError):
            self._redis.set(key, "1", px=round(_CANCEL_MINUTES * 60_000 * self._plan.minute_s / 60))
        for _, file_key in self._sql(
            "UPDATE video_video SET status = 'UPLOADED' WHERE id = %s RETURNING id, file_key", video
        ):
            self._send(video, file_key)
        return None

    def _publish(self, video: int) -> None:
        written = self._sql(
            "UPDATE video_video SET status = 'UPLOADED', leased_by = '', leased_until = NULL,"
            " error_reason = NULL, file_key = %s, updated_at = now() WHERE id = %s RETURNING id",
            file_key := _file_key(video),
            video,
        )
        if written:
            self._send(video, file_key)

    def _send(self, video: int, file_key: str) -> None:
        if self._random.random() < self._plan.unsent_share:
            return self._tally.note("the platform's send after an upload fails")
        tenant = video % 3 + 1
        body = {
            "video_id": video,
            "file_key": file_key,
            "tenant_id": tenant,
            "tenant_code": _TENANTS[tenant - 1],
            "created_at": datetime.now(UTC).isoformat(),
            "attempt": 1,
        }
        self._queue.put(json.dumps(body), sender=PLATFORM)
        return None

    def _sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            with self._lock:
                try:
                    return self._run(statement, parameters)
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    self._drop()
                    if time.monotonic() > give_up:
                        raise
            time.sleep(0.02)

    def _run(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg2.connect(
                self._dsn,
                application_name="platform",
                options="-c default_transaction_read_only=off",
            )
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None


def _file_key(video: int) -> str:
    """Return a key of its own for each upload."""
    return f"tenants/{video % 3 + 1}/lecture-{video}-{uuid.uuid4().hex[:8]}.mp4"
