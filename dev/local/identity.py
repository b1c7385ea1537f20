"""Identify a process beyond its id, which the system gives to another process later, and end it."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.01


class ChildFailed(RuntimeError):
    """A process of the local stack did not start, ended too early, or does not end."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process: its id and its start time, as the system reports it. ``name`` is for messages."""

    name: str
    pid: int
    started: str

    @classmethod
    def of(cls, name: str, pid: int) -> "ProcessIdentity":
        """Identify the process ``pid``; if there is none, the result is never alive."""
        return cls(name, pid, start_time(pid) or "gone")

    @property
    def alive(self) -> bool:
        """Whether this process still runs; a zombie counts as ended."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> str | None:
    """Return the start time of a process as the system's own text; None if it doesn't run or is a zombie.

    It is compared as text, across programs: a conversion to seconds would depend on the clock.
    """
    if Path("/proc/self/stat").exists():
        try:
            # The second field is the program's name in parentheses; it may contain spaces and parentheses.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, started = shown.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def end(process: ProcessIdentity, first: signal.Signals = signal.SIGTERM, *, grace_s: float = 30) -> None:
    """End a process that another program started, with its process group; harmless if it has ended.

    ``first`` asks it to shut down; after ``grace_s`` seconds it is killed.

    Raises:
        ChildFailed: it belongs to another user, or still runs after SIGKILL.
    """
    if not process.alive:
        return
    try:
        os.kill(process.pid, signal.SIGCONT)  # a paused process handles no other signal
        os.kill(process.pid, first)
        if not _ended(process, grace_s):
            os.kill(process.pid, signal.SIGKILL)
        kill_group(process)
    except ProcessLookupError:
        return
    except PermissionError as exc:
        raise ChildFailed(
            f"{process.name} (process {process.pid}) belongs to another user: stop it as that user"
        ) from exc
    if not _ended(process, grace_s):
        raise ChildFailed(f"{process.name} (process {process.pid}) does not end")


def kill_group(leader: ProcessIdentity) -> None:
    """Kill the process group of a process, also after that has ended; harmless if the group is empty."""
    # The system doesn't reuse the leader's id while a member of the group lives: another process with this id
    # means that the group is empty.
    if start_time(leader.pid) in (None, leader.started):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, signal.SIGKILL)


def _ended(process: ProcessIdentity, limit_s: float) -> bool:
    give_up = time.monotonic() + limit_s
    while process.alive:
        if time.monotonic() > give_up:
            return False
        time.sleep(POLL_S)
    return True
