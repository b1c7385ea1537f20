"""A PostgreSQL and a Valkey of the bench's own, and the environment of functions that use them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dev.bench import academy
from dev.local.files import scratch_folder
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.valkey import Valkey


class Servers(NamedTuple):
    """Two running servers, with the platform's tables in the one."""

    postgres: Postgres
    valkey: Valkey

    def database(self, name: str) -> str:
        """Make an empty database on the same server; return its DSN."""
        academy.query(self.postgres.dsn, f'CREATE DATABASE "{name}"')
        return self.postgres.dsn.rpartition("/")[0] + f"/{name}"


@contextmanager
def servers() -> Iterator[Servers]:
    """Run both during a ``with`` block."""
    with (
        scratch_folder() as scratch,
        Postgres(scratch / "postgres") as postgres,
        Valkey(scratch / "valkey") as valkey,
    ):
        create_schema(postgres.dsn)
        yield Servers(postgres, valkey)
