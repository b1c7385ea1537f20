"""The watchdog: ends the processes and removes the folders of a program that has ended.

A program that starts processes of the local stack gets one watchdog, a process of its own. It reads from a
pipe whose other end the program holds open. When the program ends, in whatever way (also by SIGKILL), the
system closes the pipe; the watchdog then ends every process, and removes every folder, that is still on its
list. This works on Linux and macOS, for processes of another user as well. PR_SET_PDEATHSIG does not: it is
Linux only, and cleared when PostgreSQL's process becomes another user's.

Messages are lines: ``start PID SIGNAL``, ``end PID``, ``folder PATH``, ``removed PATH``, ``release``.
"""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from dev.local import ROOT
from dev.local.identity import POLL_S, ProcessIdentity, kill_group

_GRACE_S = 30

# Written by the new process itself before it becomes the program, so that there is no moment at which the
# program runs and the watchdog doesn't know it. The shell keeps its process id in exec.
_ANNOUNCE = 'echo "start $$ $0" >&0 && exec "$@" </dev/null'


class Watchdog:
    """This program's connection to its watchdog, which is started on first use."""

    def __init__(self) -> None:
        """Prepare; no process is started."""
        self._lock = threading.Lock()
        self._pipe: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pipe(self) -> int:
        """The standard input of a process whose command is from `announced`."""
        with self._lock:
            if self._pipe is None:
                self._pipe = self._start()
            return self._pipe

    def process_ended(self, pid: int) -> None:
        """Remove a process from the list: it has ended and was waited for."""
        self._send(f"end {pid}")

    def watch_folder(self, folder: Path) -> None:
        """Put a folder on the list; best before it is made."""
        self._send(f"folder {folder}")

    def folder_removed(self, folder: Path) -> None:
        """Remove a folder from the list."""
        self._send(f"removed {folder}")

    def release(self) -> None:
        """Empty the list: processes and folders outlive this program."""
        self._send("release")

    def close(self) -> None:
        """Let the watchdog end what is on its list, and wait for it."""
        with self._lock:
            if self._pipe is None or self._process is None:
                return
            os.close(self._pipe)
            self._process.wait()
            self._pipe = self._process = None

    def forget(self) -> None:
        """In a forked process: leave the watchdog to the parent."""
        self._lock = threading.Lock()
        if self._pipe is not None and self._process is not None:
            os.close(self._pipe)
            self._process.returncode = 0  # not a child of this process
            self._pipe = self._process = None

    def _start(self) -> int:
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dev.local.watchdog"],
            cwd=ROOT,
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of Ctrl-C and of a closed terminal
        )
        os.close(reading)
        return writing

    def _send(self, message: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self.pipe, os.fsencode(f"{message}\n"))


watchdog = Watchdog()
"""The watchdog of this program."""
atexit.register(watchdog.close)
os.register_at_fork(after_in_child=watchdog.forget)


def announced(command: list[str | Path], first: signal.Signals) -> list[str | Path]:
    """Return a command that puts itself on the watchdog's list and then becomes ``command``.

    Its standard input must be `Watchdog.pipe`. ``first`` is the signal that ends it.
    """
    return ["/bin/sh", "-c", _ANNOUNCE, first.name.removeprefix("SIG"), *command]


def remove_folder(folder: Path) -> None:
    """Remove a folder of processes that were just killed: they may still be writing for a moment."""
    give_up = time.monotonic() + _GRACE_S
    while folder.exists() and time.monotonic() < give_up:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(POLL_S)


class _List:
    """The watchdog's side: what is to be ended and removed."""

    def __init__(self) -> None:
        self._processes: dict[int, tuple[ProcessIdentity, signal.Signals]] = {}
        self._folders: list[Path] = []

    def handle(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "start":
            pid, name = rest.split()
            self._processes[int(pid)] = ProcessIdentity.of(pid, int(pid)), signal.Signals[f"SIG{name}"]
        elif word == "end":
            self._processes.pop(int(rest), None)
        elif word == "folder":
            self._folders.append(Path(rest))
        elif word == "removed":
            with contextlib.suppress(ValueError):
                self._folders.remove(Path(rest))
        elif word == "release":
            self._processes.clear()
            self._folders.clear()

    def clear(self) -> None:
        processes = [process for process, _ in reversed(self._processes.values())]
        for process, first in reversed(self._processes.values()):
            if process.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGCONT)  # a paused process handles no other signal
                    os.kill(process.pid, first)
        give_up = time.monotonic() + _GRACE_S
        while any(process.alive for process in processes) and time.monotonic() < give_up:
            time.sleep(POLL_S)
        for process in processes:
            kill_group(process)
        for folder in self._folders:
            remove_folder(folder)


def main() -> None:
    """Read messages until the program ends; then end and remove what is on the list."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    listed = _List()
    for line in sys.stdin.buffer:
        listed.handle(os.fsdecode(line).rstrip("\n"))
    listed.clear()


if __name__ == "__main__":
    main()
