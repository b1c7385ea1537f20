"""The stack's servers start, stop, restart and leave nothing behind."""

import json
import socket
from contextlib import closing

import psycopg2
import pytest
import redis

from dev.local.emulator import Emulator
from dev.local.postgres import Postgres
from dev.local.processes import ChildFailed
from dev.local.valkey import Valkey
from dev.local.watchdog import scratch_folder
from dev.testing.emulator_bench import Bench
from dev.testing.programs import processes


@pytest.fixture
def folder():
    """A temporary folder that every user may traverse; for root, pytest's own are not."""
    with scratch_folder() as folder:
        yield folder


def execute(postgres, statement):
    """Run one statement and commit it; return its rows, if it has any."""
    with closing(psycopg2.connect(postgres.dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_postgres_keeps_what_was_committed_its_port_and_no_connection(folder):
    with Postgres(folder) as postgres, closing(psycopg2.connect(postgres.dsn)) as connection:
        execute(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
        port, dsn = postgres.port, postgres.dsn
        postgres.kill()
        with pytest.raises(psycopg2.OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert not listens(port)
        postgres.start()
        postgres.restart()
        assert (postgres.port, postgres.dsn) == (port, dsn)
        assert execute(postgres, "SELECT answer, current_user FROM kept") == [(42, "postgres")]
    assert not listens(port)


def test_valkey_is_empty_after_a_restart_and_stops_while_it_is_paused(folder):
    with Valkey(folder) as valkey, closing(redis.Redis.from_url(valkey.url)) as client:
        client.set("key", "value")
        valkey.restart()
        assert client.get("key") is None
        valkey.pause()
    assert not listens(valkey.port)


def test_a_port_in_use_is_named(folder):
    server = Valkey(folder)
    with (
        socket.create_server(("127.0.0.1", server.port)),
        pytest.raises(ChildFailed, match=f"port {server.port} of 127.0.0.1: another process uses it"),
    ):
        server.start()


SLEEPS = """
import os, time
def handler(event, context):
    with open(event["file"], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)
"""


def test_an_emulator_stops_while_a_function_runs(folder):
    """It leaves neither its process nor that of the function."""
    noted = folder / "pid"
    with Emulator(folder) as emulator:
        bench = Bench(emulator)
        function = bench.function(SLEEPS, Timeout=900)
        bench.clients.functions.invoke(
            FunctionName=function, InvocationType="Event", Payload=json.dumps({"file": str(noted)})
        )
        worker = int(bench.until(lambda: noted.exists() and noted.read_text()))

    assert not listens(emulator.port)
    assert {emulator.child.pid, worker}.isdisjoint(one.pid for one in processes())
    assert not (folder / "tmp").exists()
