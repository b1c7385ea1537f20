"""Ending a command by a signal: what it started is stopped, and one line says so."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__()
        self.number = number


def run_interruptible(command: Callable[[], int]) -> int:
    """Run a command, and return its exit status.

    SIGINT, SIGTERM and SIGHUP (a closed terminal) raise Interrupted in it, once: what comes while it cleans
    up is ignored. The status is then 128 plus the number of the signal, as a shell has it. A signal that was
    ignored at the start stays ignored: so nohup and a shell's background jobs have it.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt as exc:
        with contextlib.suppress(OSError):  # the terminal may be closed
            print(
                "Interrupted: nothing that this command started is left running", file=sys.stderr, flush=True
            )
        return 128 + (exc.number if isinstance(exc, Interrupted) else signal.SIGINT)
    except BrokenPipeError:  # whoever read the output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, _ignore)
    raise Interrupted(number)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Ignore a signal; unlike SIG_IGN, the processes that are started meanwhile don't inherit it."""
