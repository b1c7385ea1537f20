"""What a worker reads and writes in the platform's database."""

from contextlib import suppress
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

_CLAIM = """
UPDATE video_video SET status = 'PROCESSING', {lease} processing_started_at = now(), updated_at = now()
WHERE id = %(video)s AND status = 'UPLOADED' RETURNING processing_started_at
"""
_LEASE = "leased_by = %(me)s, leased_until = now() + make_interval(secs => %(lease_s)s),"
_COMPLETE = """
UPDATE video_video
SET status = %(status)s, error_reason = %(reason)s, leased_by = '', leased_until = NULL, updated_at = now()
WHERE id = %(video)s {fence} RETURNING id
"""
_UNLESS_FAILED = "AND NOT (%(status)s = 'FAILED' AND status = 'FAILED')"
_FENCE = "AND status = 'PROCESSING' AND processing_started_at = %(since)s"

CLAIM, CLAIM_WITHOUT_LEASE = _CLAIM.format(lease=_LEASE), _CLAIM.format(lease="")
COMPLETE, COMPLETE_FENCED = _COMPLETE.format(fence=_UNLESS_FAILED), _COMPLETE.format(fence=_FENCE)
MINE = """
SELECT processing_started_at FROM video_video
WHERE id = %(video)s AND status = 'PROCESSING' AND leased_by = %(me)s
"""
STATUS = "SELECT status, processing_started_at FROM video_video WHERE id = %(video)s"
TAKE_BY_FORCE = """
UPDATE video_video SET status = 'UPLOADED', leased_by = '', leased_until = NULL
WHERE id = %(video)s AND status = 'PROCESSING' RETURNING id
"""


FAILURES = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.InternalError)
"""What is tried again. InternalError: read-only during a failover."""


class Rows:
    """A connection for these statements."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn, self._name = dsn, name
        self._connection: Connection | None = None

    def one(self, statement: str, **parameters: object) -> Any:  # noqa: ANN401 - a row or None
        """Run a statement; return its row, None if there is none. After an error the next call connects anew."""
        try:
            if self._connection is None:
                self._connection = psycopg2.connect(self._dsn, application_name=self._name, connect_timeout=5)
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchone()
        except psycopg2.Error:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None
