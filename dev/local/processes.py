"""Processes of the local stack: free ports, starting, watching and stopping.

Each process has a session of its own. Ctrl-C therefore reaches only the program that started it, and the
processes that it starts itself can be ended with it, as its process group. The watchdog ends them when the
program ends without having stopped them.
"""

import abc
import contextlib
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from dev.local.identity import POLL_S, ChildFailed, ProcessIdentity, kill_group
from dev.local.watchdog import announced, watchdog

_LOG_TAIL_CHARACTERS = 3000
# Generous: they only end a wait that would never end, and a busy machine is slow.
START_LIMIT_S = 180
RUN_LIMIT_S = 900


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing listens on now.

    It is below the range of outgoing connections, one of which could take it before the server does.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # not from `random`, which a test may have seeded
        with contextlib.suppress(ChildFailed):
            require_free_port(port, name="Nobody")
            return port


def require_free_port(port: int, *, name: str) -> None:
    """Check that nothing listens on a port of the loopback interface.

    Raises:
        ChildFailed: it is in use; the message names the port and ``name``, the server that needs it.
    """
    with socket.socket() as probe:
        # As the servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise ChildFailed(
                f"{name} can't use port {port} of 127.0.0.1: another process uses it ({exc.strerror})"
            ) from exc


class Child:
    """A process started by this program; its output goes to a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
        user: int | None = None,
        group: int | None = None,
        orphan_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Start ``command``, as ``user`` and ``group`` if given.

        If this program ends first, the watchdog sends ``orphan_signal`` and then kills the process group.

        Raises:
            ChildFailed: the process can't be started. (A missing program is reported by `wait_ready`.)
        """
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    announced(list(command), orphan_signal),
                    env=dict(env),
                    cwd=cwd,
                    stdin=watchdog.pipe,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    user=user,
                    group=group,
                    extra_groups=None if user is None else [],
                )
        except OSError as exc:
            raise ChildFailed(f"{name} can't be started: {exc}") from exc
        self.identity = ProcessIdentity.of(name, self._process.pid)

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.identity.name

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, not to its group; nothing if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait_ready(self, ready: Callable[[], bool], *, limit_s: float = START_LIMIT_S) -> None:
        """Return once ``ready()`` is true.

        Raises:
            ChildFailed: the process ended, or ``limit_s`` seconds have passed; with the end of its log.
        """
        give_up = time.monotonic() + limit_s
        while not ready():
            if not self.running:
                raise ChildFailed(f"{self.name} ended while it started:\n{self._log_tail()}")
            if time.monotonic() > give_up:
                raise ChildFailed(f"{self.name} was not ready after {limit_s:g} s:\n{self._log_tail()}")
            time.sleep(POLL_S)

    def wait_done(self, *, limit_s: float = RUN_LIMIT_S) -> None:
        """Wait for a process that ends by itself.

        Raises:
            ChildFailed: it ended with an error, or not within ``limit_s`` seconds; with the end of its log.
        """
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired as exc:
            self.stop(signal.SIGKILL)
            raise ChildFailed(f"{self.name} was not done after {limit_s:g} s:\n{self._log_tail()}") from exc
        if code:
            raise ChildFailed(f"{self.name} ended with status {code} ({self.log}):\n{self._log_tail()}")

    def stop(self, first: signal.Signals = signal.SIGTERM, *, grace_s: float = 30) -> None:
        """End the process and its group; harmless if it has ended.

        ``first`` asks it to shut down; what is left after ``grace_s`` seconds is killed.
        """
        if self.running:
            self.send(signal.SIGCONT)  # a paused process handles no other signal
            self.send(first)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        kill_group(self.identity)
        self._process.wait()
        watchdog.process_ended(self.identity.pid)

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()


class Server(abc.ABC):
    """Base class of the stack's servers: a port, a log file, and a process between start and stop."""

    name: ClassVar[str]

    def __init__(self, folder: Path, *, port: int | None, log: Path) -> None:
        """Prepare a server that works in ``folder``; without ``port`` a free one is chosen and kept."""
        self.port = port or free_port()
        self._folder = folder.absolute()
        self._log = log.absolute()
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process of the server.

        Raises:
            ChildFailed: it has not been started.
        """
        if self._child is None:
            raise ChildFailed(f"{self.name} has not been started")
        return self._child

    @abc.abstractmethod
    def start(self) -> Self:
        """Start the server and wait until it answers."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End the server; harmless if it has ended."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
