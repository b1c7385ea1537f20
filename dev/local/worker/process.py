"""A worker as a process, which can be killed, paused and cut off from Redis."""

import os
import signal
import sys
from pathlib import Path

from dev.local import ROOT
from dev.local.processes import Child


class WorkerProcess(Child):
    """A worker in a process of its own."""

    def __init__(self, name: str, *arguments: str, log: Path) -> None:
        """Start ``python -m dev.local.worker --name NAME`` with further arguments; it writes to ``log``.

        Raises:
            ChildFailed: the process can't be started.
        """
        command = [sys.executable, "-m", "dev.local.worker", "--name", name, *arguments]
        super().__init__(name, command, log=log, env=dict(os.environ), cwd=ROOT)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """Stop it (SIGSTOP): it writes no heartbeat and no result."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`: it continues, also if its video was reclaimed meanwhile."""
        self.send(signal.SIGCONT)

    def cut_off(self) -> None:
        """Cut it off from Redis (SIGUSR1)."""
        self.send(signal.SIGUSR1)

    def reconnect(self) -> None:
        """Undo `cut_off` (SIGUSR2)."""
        self.send(signal.SIGUSR2)
