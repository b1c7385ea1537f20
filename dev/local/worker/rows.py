"""What a worker reads and writes in the platform's database, and its patience with a server that is away."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from dev.local.worker.records import Clock

_CLAIM = """
UPDATE video_video SET status = 'PROCESSING', {lease} processing_started_at = now(), updated_at = now()
WHERE id = %(video)s AND status = 'UPLOADED' RETURNING processing_started_at
"""
_LEASE = "leased_by = %(me)s, leased_until = now() + make_interval(secs => %(lease_s)s),"
_MINE = """
SELECT processing_started_at FROM video_video
WHERE id = %(video)s AND status = 'PROCESSING' AND leased_by = %(me)s
"""
_STATUS = "SELECT status, processing_started_at FROM video_video WHERE id = %(video)s"
_COMPLETE = """
UPDATE video_video
SET status = %(status)s, error_reason = %(reason)s, leased_by = '', leased_until = NULL, updated_at = now()
WHERE id = %(video)s {fence}
"""
_UNLESS_FAILED = "AND NOT (%(status)s = 'FAILED' AND status = 'FAILED')"
_FENCE = "AND status = 'PROCESSING' AND processing_started_at = %(since)s"
_TAKE_BY_FORCE = """
UPDATE video_video SET status = 'UPLOADED', leased_by = '', leased_until = NULL
WHERE id = %(video)s AND status = 'PROCESSING'
"""


class UnreachableError(RuntimeError):
    """PostgreSQL or SQS could not be reached for too long."""


class Patience:
    """How long a worker tries again while PostgreSQL or SQS can't be reached.

    Attributes:
        stopping: the worker was told to stop, and tries no more.
    """

    def __init__(self, name: str, clock: Clock, limit_s: float, pause_s: float) -> None:
        """Give up after ``limit_s`` real seconds without an answer, with ``pause_s`` between attempts."""
        self.stopping = False
        self._name, self._clock, self._limit_s, self._pause_s = name, clock, limit_s, pause_s
        self._failing_since_s: float | None = None

    def answered(self) -> None:
        """Begin anew: there was an answer."""
        self._failing_since_s = None

    def wait(self, exc: Exception, *, give_up: bool = False) -> None:
        """Wait before the next attempt.

        Raises:
            UnreachableError: the failures have lasted too long, or with ``give_up``.
        """
        now_s = self._clock.now()
        self._failing_since_s = self._failing_since_s or now_s
        failing_s = now_s - self._failing_since_s
        if give_up or failing_s > self._limit_s:
            cause = " ".join(str(exc).split())
            raise UnreachableError(f"{self._name} gives up after {failing_s:.1f} s: {cause}") from exc
        self._clock.sleep(self._pause_s)


class Rows:
    """The worker's access to ``video_video``. Every call may raise `UnreachableError`."""

    def __init__(self, dsn: str, name: str, patience: Patience, *, leased: bool, fenced: bool) -> None:
        """Prepare; no connection is made."""
        self._dsn, self._name, self._patience = dsn, name, patience
        self._claim = _CLAIM.format(lease=_LEASE if leased else "")
        self._complete = _COMPLETE.format(fence=_FENCE if fenced else _UNLESS_FAILED)
        self._connection: Connection | None = None

    def claim(self, video: int, me: str, lease_s: float) -> object:
        """Claim an UPLOADED video; return its ``processing_started_at``, or None if it is not UPLOADED.

        A claim whose answer was lost is recognized by ``me`` in the lease.
        """
        parameters = {"video": video, "me": me, "lease_s": lease_s}
        found = self._repeat(lambda: self._row(self._claim, parameters) or self._row(_MINE, parameters))
        return found[0] if found else None

    def status(self, video: int) -> tuple[str, object]:
        """Return a video's status and ``processing_started_at``; an empty status if it is not there."""
        found: tuple[str, object] = self._repeat(lambda: self._row(_STATUS, {"video": video})) or ("", None)
        return found

    def complete(self, video: int, since: object, error: str | None) -> bool:
        """Write READY, or FAILED with ``error``; return whether a row was written."""
        parameters = {
            "video": video,
            "status": "FAILED" if error else "READY",
            "reason": error,
            "since": since,
        }
        return bool(self._repeat(lambda: self._run(self._complete, parameters)))

    def take_by_force(self, video: int) -> bool:
        """Set a PROCESSING video to UPLOADED, whoever holds it; return whether it was PROCESSING."""
        return bool(self._repeat(lambda: self._run(_TAKE_BY_FORCE, {"video": video})))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None

    def _repeat(self, attempt: Callable[[], Any]) -> Any:  # noqa: ANN401 - the result of the attempt
        while True:
            try:
                result = attempt()
            except (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.InternalError) as exc:
                self.close()
                # InternalError: read-only during a failover, which ends soon.
                stopped = self._patience.stopping and not isinstance(exc, psycopg2.InternalError)
                self._patience.wait(exc, give_up=stopped)
            else:
                self._patience.answered()
                return result

    def _row(self, statement: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - a row or None
        with self._connected().cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchone()

    def _run(self, statement: str, parameters: dict[str, Any]) -> int:
        with self._connected().cursor() as cursor:
            cursor.execute(statement, parameters)
            return int(cursor.rowcount)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = psycopg2.connect(self._dsn, application_name=self._name, connect_timeout=5)
            self._connection.autocommit = True
        return self._connection
