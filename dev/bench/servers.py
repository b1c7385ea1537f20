"""A PostgreSQL and a Valkey of the bench's own, and the settings by which the product finds them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from dev.bench import academy
from dev.local.files import scratch_folder
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.valkey import Valkey


@dataclass(frozen=True, slots=True)
class Servers:
    """Two running servers, the academy's tables in the one."""

    postgres: Postgres
    valkey: Valkey

    def database(self, name: str) -> str:
        """Make an empty database on the same server; return its DSN."""
        with closing(academy.connect(self.postgres.dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}"')
        return self.postgres.dsn.rpartition("/")[0] + f"/{name}"

    def settings(self) -> dict[str, str]:
        """What a function's environment says of them."""
        return settings(self.postgres.dsn, self.valkey.url)


def settings(dsn: str, redis_url: str) -> dict[str, str]:
    """A function's environment for these servers."""
    parts = urlsplit(dsn)
    return {
        "DATABASE_HOST": parts.hostname or "",
        "DATABASE_PORT": str(parts.port),
        "DATABASE_NAME": parts.path.lstrip("/"),
        "DATABASE_USER": parts.username or "",
        "DATABASE_SSLMODE": "disable",
        "DATABASE_STATEMENT_SECONDS": "600",
        "REDIS_URL": redis_url,
    }


@contextmanager
def servers() -> Iterator[Servers]:
    """Start both, and leave nothing of them."""
    with (
        scratch_folder() as scratch,
        Postgres(scratch / "postgres") as postgres,
        Valkey(scratch / "valkey") as valkey,
    ):
        create_schema(postgres.dsn)
        yield Servers(postgres, valkey)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the length of a block, with clients made anew on both sides of it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _forget_clients()
    try:
        yield
    finally:
        _forget_clients()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _forget_clients() -> None:
    from video_reclaim import aws, heartbeats, postgres

    for made_once in (postgres.store, heartbeats.heartbeats, aws.client):
        made_once.cache_clear()
