"""The ledger of `make up`: the started processes and their temporary folder, kept in a file.

With it `make down` finds them, however `make up` ended.
"""

import dataclasses
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.local.files import remove_scratch_folder, write_json
from dev.local.identity import ProcessIdentity, end

SERVERS = ("PostgreSQL", "Valkey", "The emulator")
"""The names of the processes that keep running; each is given the time to shut down."""


class Ledger:
    """The file ``processes.json`` in ``home``."""

    def __init__(self, home: Path) -> None:
        """Read the file, if there is one."""
        self._path = home / "processes.json"
        self._stack = home / "stack.json"
        self._scratch: Path | None = None
        self.overrides: dict[str, Any] = {}
        self._processes: list[ProcessIdentity] = []
        if self._path.exists():
            content = json.loads(self._path.read_text())
            self._scratch = Path(content["scratch"])
            self.overrides = content.get("overrides", {})
            self._processes = [ProcessIdentity(**process) for process in content["processes"]]

    @property
    def exists(self) -> bool:
        """Whether anything was started here and not yet cleared."""
        return self._path.exists()

    def begin(self, scratch: Path, overrides: Mapping[str, Any]) -> None:
        """Start a new ledger with the temporary folder of the stack, and its overriding settings."""
        self._scratch = scratch
        self.overrides = dict(overrides)
        self._save()

    def add(self, process: ProcessIdentity) -> None:
        """Record a process that was just started."""
        self._processes.append(process)
        self._save()

    def ended_server(self) -> str | None:
        """Return the name of a server that no longer runs; None if all run."""
        alive = {process.name for process in self._processes if process.alive}
        return next((name for name in SERVERS if name not in alive), None)

    def clear(self) -> None:
        """End every process, the last started first; then remove the folder, ``stack.json`` and the ledger.

        Raises:
            ChildFailed: a process belongs to another user or does not end.
        """
        self._stack.unlink(missing_ok=True)
        for process in reversed(self._processes):
            end(process, signal.SIGINT if process.name in SERVERS else signal.SIGKILL)
        self._processes = []
        if self._scratch is not None:
            remove_scratch_folder(self._scratch)
        self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        processes = [dataclasses.asdict(process) for process in self._processes]
        content = {"scratch": str(self._scratch), "overrides": self.overrides, "processes": processes}
        write_json(self._path, content)
