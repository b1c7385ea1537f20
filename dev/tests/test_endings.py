"""However a program ends, it leaves no process and no folder of the local stack."""

import os
import signal
import subprocess

import pytest

from dev.local.watchdog import scratch_folder
from dev.testing.emulator_bench import Bench
from dev.testing.programs import any_runs, children, python

SERVERS = {"postgres", "valkey-server", "dev.local.emulator"}

# Holds servers as the tests' fixtures do, and a worker.
HOLDER = """
import sys, time
from dev.local.emulator import Emulator
from dev.local.watchdog import scratch_folder
from dev.local.postgres import Postgres
from dev.local.valkey import Valkey
from dev.local.worker import WorkerProcess

with scratch_folder() as folder, Postgres(folder / "one") as postgres, Valkey(folder / "two") as valkey:
    with Emulator(folder / "three") as emulator:
        places = {"--dsn": postgres.dsn, "--redis-url": valkey.url, "--endpoint-url": emulator.endpoint_url}
        places |= {"--queue-url": f"{emulator.endpoint_url}/000000000000/none", "--region": "us-east-1"}
        WorkerProcess("w", *[text for pair in places.items() for text in pair], log=folder / "w.log")
        print("ready", flush=True)
        time.sleep(3600)
"""


@pytest.fixture
def folder():
    """A folder for the program's temporary files, which every user may traverse."""
    with scratch_folder() as folder:
        yield folder


def servers_of(program):
    """Wait until a program has started its servers; return all processes that it has started."""

    def started():
        assert program.poll() is None, program.communicate()
        found = children(program.pid)
        return found if all(server in str(found) for server in SERVERS) else None

    return Bench.until(started)


def check_nothing_left(processes, folder):
    Bench.until(lambda: not any_runs(processes))
    Bench.until(lambda: not list(folder.iterdir()))


def test_a_killed_program_with_servers_and_a_worker_leaves_nothing(folder):
    environment = os.environ | {"TMPDIR": str(folder)}
    program = python("-c", HOLDER, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert program.stdout.readline() == b"ready\n"
    processes = servers_of(program)
    assert "dev.local.worker" in str(processes)

    program.kill()

    program.communicate()
    check_nothing_left(processes, folder)


def test_the_demo_on_a_closed_terminal_leaves_nothing_and_says_one_line(folder):
    environment = os.environ | {"TMPDIR": str(folder)}
    demo = python(
        "-m",
        "dev.local",
        "demo",
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    processes = servers_of(demo)

    demo.send_signal(signal.SIGHUP)

    _, errors = demo.communicate()
    check_nothing_left(processes, folder)
    assert demo.returncode == 128 + signal.SIGHUP
    (line,) = errors.splitlines()
    assert line.startswith("Interrupted: ")


def test_a_second_signal_does_not_break_the_cleanup_off():
    script = (
        "import os, signal, sys, time\n"
        "from dev.local.signals import run_interruptible\n"
        "def command():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(600)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('cleaned up', flush=True)\n"
        "sys.exit(run_interruptible(command))\n"
    )
    ended = python("-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    said, errors = ended.communicate()

    assert (said, ended.returncode) == ("cleaned up\n", 128 + signal.SIGTERM)
    assert len(errors.splitlines()) == 1
