"""The stack's servers start, stop, restart and leave nothing behind."""

import socket
import subprocess
import sys
from contextlib import closing

import psycopg2
import pytest
import redis

from dev.local.emulator import healthy
from dev.local.postgres import Postgres
from dev.local.processes import ChildFailed
from dev.local.valkey import Valkey
from dev.local.watchdog import scratch_folder
from dev.testing.programs import ROOT, processes


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


def client(valkey, **settings):
    return redis.Redis.from_url(valkey.url, **settings)


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


def test_the_platform_s_tables_have_its_indexes_and_constraints_and_no_defaults(one_academy):
    indexed = one_academy.sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'video_video'")
    columns = {definition.rpartition("(")[2] for (definition,) in indexed}
    assert {"status)", "status, updated_at)", "leased_until, status)"} <= columns
    defaults = (
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_name = 'video_video' AND column_default IS NOT NULL"
    )
    assert one_academy.sql(defaults) == []
    one_academy.reset()
    video = one_academy.add(id=10_000_000_000)
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        one_academy.sql("UPDATE video_video SET session_id = 2 WHERE id = %s", (video,))


def test_valkey_is_empty_after_a_start_keeps_its_port_and_can_be_paused(folder):
    with Valkey(folder) as valkey:
        port = valkey.port
        for begin_again in (valkey.restart, lambda: (valkey.kill(), valkey.start())):
            with closing(client(valkey)) as connection:
                connection.set("key", "value")
            begin_again()
            with closing(client(valkey)) as connection:
                assert (valkey.port, connection.get("key")) == (port, None)
        with closing(client(valkey)) as connection:
            connection.set("key", "value")
            valkey.pause()
            with closing(client(valkey, socket_timeout=0.2)) as hasty, pytest.raises(redis.TimeoutError):
                hasty.get("key")
            valkey.resume()
            assert connection.get("key") == b"value"
        valkey.pause()
    assert not listens(port)


@pytest.mark.parametrize("kind", [Postgres, Valkey])
def test_a_port_in_use_is_named(folder, kind):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = kind(folder)
        server.port = port

        with pytest.raises(ChildFailed, match=f"port {port} of 127.0.0.1: another process uses it"):
            server.start()


def test_an_emulator_stops_while_a_function_runs(folder):
    """It leaves neither its process nor that of the function."""
    script = """
import sys, io, zipfile, threading, time
from pathlib import Path
from dev.local.emulator import Emulator
from dev.local.stack import Clients

packed = io.BytesIO()
with zipfile.ZipFile(packed, "w") as archive:
    archive.writestr("index.py", "import os, time\\ndef handler(event, context):\\n"
        "    open(event['file'], 'w').write(str(os.getpid()))\\n    time.sleep(600)\\n")
folder = Path(sys.argv[1])
with Emulator(folder) as emulator:
    functions = Clients(emulator.endpoint_url).functions
    functions.create_function(FunctionName="sleeps", Runtime="python3.13", Handler="index.handler",
        Role="arn:aws:iam::000000000000:role/any", Timeout=900, Code={"ZipFile": packed.getvalue()})
    call = dict(FunctionName="sleeps", Payload='{"file": "%s"}' % (folder / "pid"))
    threading.Thread(target=functions.invoke, kwargs=call, daemon=True).start()
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        time.sleep(0.02)
    print(emulator.endpoint_url, emulator.child.pid, (folder / "pid").read_text())
"""
    shown = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    endpoint_url, emulator, worker = shown.stdout.split()
    assert not healthy(endpoint_url)
    assert {int(emulator), int(worker)}.isdisjoint(one.pid for one in processes())
    assert not (folder / "tmp").exists()
