"""The platform around the product: its users upload, delete and retry videos, somebody locks rows."""

import contextlib
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.chaos import product
from dev.chaos.environment import FaultyEnvironment, SoakPlan
from dev.chaos.history import SAVE
from dev.chaos.queue import PLATFORM

LOCK_TIMEOUT = "-c lock_timeout=5ms"
"""Of everybody but the product: who waits for a lock lets nobody end it."""

_CANCEL_S = 300
_TENANTS = ("north", "south", "west")
_UNSENT_SHARE = 0.02
_COLUMNS = "status, leased_by, leased_until, processing_started_at, error_reason, file_key"


class Users:
    """The platform's users, and those who lock rows in its database."""

    def __init__(self, dsn: str, redis_url: str, environment: FaultyEnvironment, plan: SoakPlan) -> None:
        self._dsn, self._plan = dsn, plan
        self._queue, self._timeline = environment.queue, environment.timeline
        self._fault = environment.record.fault
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        self._random = random.Random(plan.seed + 3)
        self._connections: dict[str, Any] = {}

    def fill(self) -> None:
        """Insert three tenants and the plan's videos, each with its message."""
        self._sql("INSERT INTO core_tenant (id, code) VALUES (1, 'north'), (2, 'south'), (3, 'west')")
        self._sql("INSERT INTO lectures_lecture (id, tenant_id) VALUES (11, 1), (12, 2), (13, 3)")
        self._sql("INSERT INTO lectures_session (id, lecture_id) VALUES (21, 11), (22, 12), (23, 13)")
        self._insert_missing()

    def upload(self) -> None:
        """Upload again some videos that are done, and those that were deleted, while the queue is short.

        A message can only be found lost while the queue is empty now and then.
        """
        if self._queue.bodies():
            return
        done = self._ids("status IN ('READY', 'FAILED')")
        for video in self._some(done, self._random.choice((1, 5, self._plan.workers))):
            file_key = self._file_key(video)
            self._sql(
                "UPDATE video_video SET status = 'UPLOADED', leased_by = '', leased_until = NULL,"
                " error_reason = NULL, file_key = %s WHERE id = %s",
                file_key,
                video,
            )
            self._send(video, file_key)
        self._insert_missing()

    def meddle(self, video: int) -> str:
        """Delete a video, save it as it was some time ago, or retry it; return which."""
        kind = self._random.choices(("delete", "save", "retry"), (2, 2, 4))[0]
        if kind == "delete":
            self._sql("DELETE FROM video_video WHERE id = %s", video)
            return "the platform deletes a video"
        if kind == "save":
            loaded = self._sql(f"SELECT {_COLUMNS} FROM video_video WHERE id = %s", video)
            after_s = self._random.choice((5, 60, 300))
            self._timeline.start("save", lambda: self._save(video, loaded), in_s=after_s)
            return "the platform loads a video, to save its whole row later"
        self._retry(video)
        return "the platform retries a video"

    def quarantined(self) -> list[int]:
        """Return the ids of the videos that the product gave up."""
        return self._ids("status = 'FAILED' AND starts_with(error_reason, %s)", product.QUARANTINE_REASON)

    def unfinished(self) -> list[int]:
        """Return the ids of the videos that are UPLOADED or PROCESSING."""
        return self._ids("status IN ('UPLOADED', 'PROCESSING')")

    def lock_rows(self) -> Callable[[], None]:
        """Lock 20 random rows in a transaction; return what ends it, and has ended it when it returns."""
        videos = self._some(self.unfinished(), 20)
        connection = psycopg2.connect(self._dsn, application_name="platform")
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM video_video WHERE id = ANY(%s) FOR UPDATE SKIP LOCKED", (videos,))
        return connection.rollback

    def disconnect(self) -> None:
        """Close the connections to the database, also the timeline's; the next statements open others."""
        self._timeline.disconnect()
        for connection in self._connections.values():
            with contextlib.suppress(psycopg2.Error):
                connection.close()
        self._connections.clear()

    def _ids(self, condition: str, *parameters: object) -> list[int]:
        found = self._sql(f"SELECT id FROM video_video WHERE {condition} ORDER BY id", *parameters)
        return [video for (video,) in found]

    def _some(self, videos: list[int], most: int) -> list[int]:
        return self._random.sample(videos, min(most, len(videos)))

    def _save(self, video: int, loaded: list[tuple[Any, ...]]) -> None:
        columns = ", ".join(f"{name} = %s" for name in _COLUMNS.split(", "))
        for values in loaded:
            self._fault("the platform saves a whole row")
            self._sql(f"UPDATE video_video SET {columns} WHERE id = %s", *values, video, who=SAVE)

    def _insert_missing(self) -> None:
        present = self._ids("true")
        for video in range(1, self._plan.videos + 1):
            if video not in present:
                self._sql(
                    "INSERT INTO video_video"
                    " (id, session_id, file_key, status, leased_by, created_at, updated_at)"
                    " VALUES (%s, %s, %s, 'UPLOADED', '', now(), now())",
                    video,
                    video % 3 + 21,
                    file_key := self._file_key(video),
                )
                self._send(video, file_key)

    def _retry(self, video: int) -> None:
        key = f"tenant:{video % 3 + 1}:video:{video}:cancel_requested"
        if self._random.random() < 0.9:  # else the platform could not reach Redis, and goes on
            with contextlib.suppress(redis.RedisError):
                self._redis.set(key, "1", ex=_CANCEL_S)
        for (file_key,) in self._sql(
            "UPDATE video_video SET status = 'UPLOADED' WHERE id = %s RETURNING file_key", video
        ):
            self._send(video, file_key)

    def _send(self, video: int, file_key: str) -> None:
        if self._random.random() < _UNSENT_SHARE:
            return self._fault("the platform's send after an upload fails")
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

    def _file_key(self, video: int) -> str:
        """Return a key of its own for each upload."""
        return f"tenants/{video % 3 + 1}/lecture-{video}-{self._random.getrandbits(32):08x}.mp4"

    def _sql(self, statement: str, *parameters: object, who: str = "platform") -> list[tuple[Any, ...]]:
        """Run a statement; try again while somebody has the row locked."""
        while True:
            try:
                if who not in self._connections:
                    connection = psycopg2.connect(self._dsn, application_name=who, options=LOCK_TIMEOUT)
                    connection.autocommit = True
                    self._connections[who] = connection
                with self._connections[who].cursor() as cursor:
                    cursor.execute(statement, parameters)
                    return cursor.fetchall() if cursor.description else []
            except psycopg2.errors.LockNotAvailable:
                self._timeline.sleep(1)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                self.disconnect()
