"""Processes of the local stack: free ports, starting, watching and stopping.

Each process joins the process group of this program's watchdog. Ctrl-C therefore reaches only this program, and the
watchdog ends them when the program ends without having stopped them.
"""

import abc
import contextlib
import pwd
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from dev.local.watchdog import POLL_S, watchdog

_LOG_TAIL_CHARACTERS = 3000
# Generous: they only end a wait that would never end, and a busy machine is slow.
_START_LIMIT_S, _RUN_LIMIT_S, _GRACE_S = 180, 900, 30


class ChildFailed(RuntimeError):
    """A process of the local stack did not start, or ended too early."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing listens on now.

    It is below the range of outgoing connections, one of which could take it before the server does.
    """
    port = 0
    while not port or not _is_free(port):
        port = 20_000 + secrets.randbelow(12_000)  # not from `random`, which a test may have seeded
    return port


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.socket() as probe:
        # As the servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


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
        user: pwd.struct_passwd | None = None,
        awaited: bool = False,
    ) -> None:
        """Start ``command``, as ``user`` if given.

        If this program ends first, the watchdog kills the process; one that is ``awaited`` can shut down before.

        Raises:
            ChildFailed: the process can't be started.
        """
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    command,
                    env=dict(env),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    process_group=watchdog.group,
                    pass_fds=[watchdog.awaited] if awaited else [],
                    user=user and user.pw_uid,
                    group=user and user.pw_gid,
                    extra_groups=user and [],
                )
        except OSError as exc:
            raise ChildFailed(f"{name} can't be started: {exc}") from exc

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, not to its group; nothing if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Return once ``ready()`` is true.

        Raises:
            ChildFailed: the process ended, or it took too long; with the end of its log.
        """
        give_up = time.monotonic() + _START_LIMIT_S
        while not ready():
            if not self.running:
                raise ChildFailed(f"{self.name} ended while it started:\n{self._log_tail()}")
            if time.monotonic() > give_up:
                raise ChildFailed(f"{self.name} was not ready after {_START_LIMIT_S} s:\n{self._log_tail()}")
            time.sleep(POLL_S)

    def wait_done(self) -> None:
        """Wait for a process that ends by itself.

        Raises:
            ChildFailed: it ended with an error, or it took too long; with the end of its log.
        """
        try:
            code = self._process.wait(_RUN_LIMIT_S)
        except subprocess.TimeoutExpired as exc:
            self.stop(signal.SIGKILL)
            raise ChildFailed(
                f"{self.name} was not done after {_RUN_LIMIT_S} s:\n{self._log_tail()}"
            ) from exc
        if code:
            raise ChildFailed(f"{self.name} ended with status {code} ({self.log}):\n{self._log_tail()}")

    def stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        """End the process; harmless if it has ended.

        ``first`` asks it to shut down; if it doesn't, it is killed. What it has left running ends with this program.
        """
        if self.running:
            self.send(signal.SIGCONT)  # a paused process handles no other signal
            self.send(first)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        self._process.kill()
        self._process.wait()

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()


class Server(abc.ABC):
    """Base class of the stack's servers: a port, a log file, and a process between start and stop."""

    name: ClassVar[str]
    log_name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    kill_signal: ClassVar[signal.Signals] = signal.SIGKILL
    child: Child  # once it was launched

    def __init__(self, folder: Path, *, logs: Path | None = None) -> None:
        """Prepare a server that works in ``folder``, on a free port that it keeps over restarts."""
        self.port = free_port()
        self._folder = folder.absolute()
        self._log = (logs or folder).absolute() / self.log_name

    @abc.abstractmethod
    def _run(self) -> Child:
        """Start the process."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Whether requests are answered."""

    def launch(self) -> None:
        """Start the server without waiting for it.

        Raises:
            ChildFailed: the port is in use.
        """
        if not _is_free(self.port):
            raise ChildFailed(f"{self.name} can't use port {self.port} of 127.0.0.1: another process uses it")
        self._folder.mkdir(parents=True, exist_ok=True)
        self.child = self._run()

    def wait_ready(self) -> None:
        """Return once requests are answered.

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
        """Shut the server down, paused or not; harmless if it has ended."""
        self.child.stop(self.stop_signal)

    def kill(self) -> None:
        """End the server at once, as a crash does."""
        self.child.stop(self.kill_signal)

    def restart(self) -> None:
        """Stop, and start on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
