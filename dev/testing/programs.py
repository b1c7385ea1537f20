"""Programs that tests start, and the processes that they leave."""

import os
import subprocess
import sys
from pathlib import Path

from dev.local.identity import ProcessIdentity

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


def descendants(pid):
    """Return the processes that ``pid`` has started, and those that they have, each with its command."""
    shown = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,command="], check=True, capture_output=True, text=True
    )
    children, commands = {}, {}
    for line in shown.stdout.splitlines():
        child, parent, command = line.split(maxsplit=2)
        children.setdefault(int(parent), []).append(int(child))
        commands[int(child)] = command
    found, unseen = [], [pid]
    while unseen:
        started = children.get(unseen.pop(), [])
        found += started
        unseen += started
    return [ProcessIdentity.of(commands[child], child) for child in found if child != os.getpid()]
