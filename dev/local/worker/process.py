"""A worker as a process, which can be killed."""

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
        super().__init__(name, command, log=log, env=os.environ, cwd=ROOT)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.stop(signal.SIGKILL)
