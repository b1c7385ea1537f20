"""The servers that the mutants of one process share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import redis

from dev.local.files import make_scratch_folder, remove_scratch_folder
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.valkey import Valkey

_SHAPE = """
SELECT (SELECT string_agg(table_name || '.' || column_name, ',' ORDER BY 1) FROM
            (SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'
             ORDER BY 1, 2) AS columns),
       (SELECT string_agg(conname, ',') FROM (SELECT conname FROM pg_constraint ORDER BY 1) AS constraints),
       (SELECT string_agg(tgname, ',') FROM (SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1) AS t),
       (SELECT count(*) FROM pg_roles), (SELECT string_agg(setconfig::text, ',') FROM pg_db_role_setting)
"""


class Shared:
    """A server as the tests may use it: those that stop or start it can't share it, and fail.

    ``offered`` are the attributes of the server that tests may use.
    """

    def __init__(self, server: object, *offered: str) -> None:
        for name in offered:
            setattr(self, name, getattr(server, name))


class Servers:
    """A PostgreSQL and a Valkey that are replaced when a mutant left them changed."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def start(self) -> None:
        """Start both, new and empty."""
        self._folder = make_scratch_folder()
        self._postgres = Postgres(self._folder / "postgres")
        self._postgres.start()
        create_schema(self._postgres.dsn)
        (self._folder / "valkey").mkdir()
        self._valkey = Valkey(self._folder / "valkey")
        self._valkey.start()
        self._first = self._state()

    def stop(self) -> None:
        """End both."""
        if self._folder is not None:
            self._valkey.stop()
            self._postgres.stop()
            remove_scratch_folder(self._folder)
        self._folder = None

    @property
    def folder(self) -> Path:
        """The folder of the servers, which a test's own servers may use too."""
        assert self._folder is not None
        return self._folder

    @property
    def postgres(self) -> Shared:
        """The PostgreSQL for the tests."""
        return Shared(self._postgres, "dsn", "port")

    @property
    def valkey(self) -> Shared:
        """The Valkey for the tests."""
        return Shared(self._valkey, "url", "port", "pause", "resume")

    def renew_if_changed(self) -> None:
        """Start new ones if the state that outlives a test is not what it was at first."""
        self._valkey.resume()
        try:
            changed = self._state() != self._first
        except (psycopg2.Error, redis.RedisError):
            changed = True
        if changed:
            self.stop()
            self.start()

    def _state(self) -> list[Any]:
        with contextlib.closing(psycopg2.connect(self._postgres.dsn, connect_timeout=5)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = 5000")
                cursor.execute(_SHAPE)
                state: list[Any] = [cursor.fetchall()]
        client = redis.Redis.from_url(self._valkey.url, socket_timeout=5)
        with contextlib.closing(client):
            state += [client.role()[0], client.config_get("requirepass"), client.acl_list()]
        return state


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Give both servers, and stop them at the end."""
    shared = Servers()
    shared.start()
    try:
        yield shared
    finally:
        shared.stop()
