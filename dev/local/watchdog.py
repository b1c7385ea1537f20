"""The watchdog: ends the processes and removes the folders of a program that has ended.

A program that starts processes of the local stack gets one watchdog, a process of its own, which leads the process
group that all of them join (`dev.local.processes`). It reads from a pipe whose other end the program holds open. When
the program ends, in whatever way (also by SIGKILL), the system closes the pipe. The watchdog then lets PostgreSQL
shut down, kills the group and removes the program's temporary folder. This works on Linux and macOS, for processes
of another user as well.

`make up` gives it a file: the processes then outlive the program, as long as the file exists.
"""

import atexit
import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from dev.local import ROOT

POLL_S = 0.01
_GRACE_S = 30


class Watchdog:
    """This program's connection to its watchdog, which is started on first use."""

    def __init__(self) -> None:
        """Prepare; no process is started."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._keep_while, self._inherited = Path(), -1
        self._awaited = -1

    def keep_while(self, file: Path, inherited: int) -> None:
        """Let what is started from now on outlive this program while ``file`` exists.

        ``inherited`` is a file descriptor that stays open until everything has ended.
        """
        self._keep_while, self._inherited = file, inherited

    @property
    def folder(self) -> Path:
        """A temporary folder, which is removed after the program's end."""
        self._start()
        return self._folder

    @property
    def group(self) -> int:
        """The process group of what this program starts."""
        return self._start().pid

    @property
    def awaited(self) -> int:
        """A file descriptor; processes that have inherited it are given time to shut down after SIGINT."""
        self._start()
        return self._awaited

    def close(self) -> None:
        """End what this program has started, and wait until that is done; harmless if there is nothing."""
        process, self._process = self._process, None
        if process and process.stdin and process.stdout:
            os.close(self._awaited)
            process.stdin.close()
            if not self._keep_while.is_file():
                process.stdout.read()
                process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process is None:
                self._folder = Path(tempfile.gettempdir()) / f"video-reclaim-{secrets.token_hex(6)}"
                reading, self._awaited = os.pipe()
                places = [str(reading), str(self._folder), str(self._keep_while)]
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "dev.local.watchdog", *places],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[reading] if self._inherited < 0 else [reading, self._inherited],
                    process_group=0,  # out of reach of Ctrl-C and of a closed terminal
                )
                os.close(reading)
                self._folder.mkdir()
                self._folder.chmod(0o755)  # whatever the umask is: as root, PostgreSQL runs as another user
            return self._process


watchdog = Watchdog()
"""The watchdog of this program."""
atexit.register(watchdog.close)


def make_scratch_folder() -> Path:
    """Make a temporary folder that every user may traverse; it is removed when this program has ended."""
    folder = Path(tempfile.mkdtemp(dir=watchdog.folder))
    folder.chmod(0o755)
    return folder


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a temporary folder during a ``with`` block; see `make_scratch_folder`."""
    folder = make_scratch_folder()
    try:
        yield folder
    finally:
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder of processes that were just killed: they may still be writing for a moment."""
    give_up = time.monotonic() + _GRACE_S
    while folder.exists() and time.monotonic() < give_up:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(POLL_S)


def main(awaited: str, folder: str, keep_while: str) -> None:
    """Wait until the program has ended and the file is gone; then end this process group, remove the folder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    sys.stdin.buffer.read()
    while Path(keep_while).is_file():
        time.sleep(0.1)
    group = os.getpgrp()
    os.killpg(group, signal.SIGINT)
    select.select([int(awaited)], [], [], _GRACE_S)
    if os.fork():
        signal.pause()  # until it is killed with the group
    os.setpgid(0, 0)
    os.killpg(group, signal.SIGKILL)
    remove_folder(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
