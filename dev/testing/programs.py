"""Programs that tests start, and the processes that they leave."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

# A background job of a shell ignores SIGINT, one of nohup SIGHUP, and so do the programs that they start.
_DEFAULT_SIGNALS = (
    "import os, signal, sys\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
    "    signal.signal(number, signal.SIG_DFL)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
)


def python(*arguments, **settings):
    """Start Python in the checkout, with default handling of signals."""
    command = [sys.executable, "-c", _DEFAULT_SIGNALS, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, **settings)


class Process(NamedTuple):
    """A process as the system lists it."""

    pid: int
    group: int
    command: str


def processes():
    """Return the processes that run; zombies have ended."""
    asked = ["ps", "-axww", "-o", "pid=,pgid=,stat=,command="]
    shown = subprocess.run(asked, check=True, capture_output=True, text=True)
    lines = [line.split(maxsplit=3) for line in shown.stdout.splitlines()]
    return [Process(*map(int, numbers), command) for *numbers, state, command in lines if state[0] != "Z"]


def any_runs(found):
    """Whether one of these processes still runs. The system soon gives a process id to another one."""
    return not {(one.pid, one.command) for one in processes()}.isdisjoint(
        (one.pid, one.command) for one in found
    )
