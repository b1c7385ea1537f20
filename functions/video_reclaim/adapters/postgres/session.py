"""One session with the database, opened on first use and again after it was lost."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as Connection

from video_reclaim import aws, secrets
from video_reclaim.adapters.postgres.statements import SET_UP_SESSION
from video_reclaim.errors import InvalidSetting, RowRefused, SecretUnavailable, StoreRefused, StoreUnavailable
from video_reclaim.settings import LAYERS, Database

Rows = list[dict[str, Any]]

_CONNECT_TIMEOUT_S = 5
# Classes of SQLSTATE that concern the statement, not the data of a row (PostgreSQL, "Appendix A. PostgreSQL Error
# Codes"): feature not supported, invalid catalog name, invalid schema name, syntax error or access rule violation.
# A trigger may raise any code, one of its own included.
_STATEMENT_ERRORS = ("0A", "3D", "3F", "42")


class Session:
    """A connection that survives its own loss; each statement is a transaction of its own."""

    def __init__(self, settings: Database) -> None:
        self._settings = settings
        self._connection: Connection | None = None

    def fetch(self, statement: str, parameters: Mapping[str, object], *, once: bool = False) -> Rows:
        """Run a statement and return its rows by column.

        Unless it may run only ``once``, it runs again when a kept connection turns out to be lost.

        Raises:
            StoreUnavailable: no answer; whether the statement had an effect is unknown.
            StoreRefused, RowRefused: the statement, or the data of a row, was refused; nothing was written.
        """
        kept = self._connection is not None
        try:
            with self._cursor() as cursor:
                cursor.execute(statement, parameters)
                names = [column.name for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except StoreUnavailable:
            if once or not kept or self._connection is not None:
                raise
        return self.fetch(statement, parameters, once=True)

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        try:
            if self._connection is None:
                self._connection = _open(self._settings)
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
            whole = exc.pgcode is None or exc.pgcode.startswith(_STATEMENT_ERRORS)
            refusal = StoreRefused if whole else RowRefused
            raise refusal(f"PostgreSQL refused: {_first_line(exc)}") from exc
        except SecretUnavailable as exc:
            raise StoreUnavailable(str(exc)) from exc

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None


def _first_line(exc: psycopg2.Error) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]


def _open(settings: Database) -> Connection:
    statement_ms = settings.statement_seconds * 1000
    roots: dict[str, Any] = {}
    if settings.ssl_mode.startswith("verify"):
        if not settings.ssl_root_cert:
            raise InvalidSetting(f"DATABASE_SSL_ROOT_CERT: is needed for {settings.ssl_mode}")
        roots["sslrootcert"] = str(Path(LAYERS) / settings.ssl_root_cert)
    connection: Connection = psycopg2.connect(
        host=settings.host,
        port=settings.port,
        dbname=settings.name,
        sslmode=settings.ssl_mode,
        **roots,
        connect_timeout=_CONNECT_TIMEOUT_S,
        tcp_user_timeout=statement_ms,
        keepalives_idle=30,
        application_name="video-reclaim",
        target_session_attrs="read-write",
        **_credentials(settings),
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(SET_UP_SESSION, {"statement_ms": statement_ms})
    return connection


def _credentials(settings: Database) -> dict[str, Any]:
    if settings.secret_arn:
        secret = secrets.fields(settings.secret_arn, "username", "password")
        return {"user": secret["username"], "password": secret["password"]}
    if not settings.user:
        return {}
    if settings.iam_resource_id:
        place = {"DBHostname": settings.host, "Port": settings.port, "DBUsername": settings.user}
        return {"user": settings.user, "password": aws.client("rds").generate_db_auth_token(**place)}
    return {"user": settings.user}
