"""Ending a command by a signal: what it started is stopped, and one line says so."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from dev.local.watchdog import watchdog

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_interruptible(command: Callable[[], int]) -> int:
    """Run a command, and return its exit status.

    SIGINT, SIGTERM and SIGHUP (a closed terminal) raise KeyboardInterrupt in it, once: what comes while it cleans up
    is ignored. The status is then 128 plus the number of the signal, as a shell has it. A signal that was ignored at
    the start stays ignored: so nohup and a shell's background jobs have it.
    """
    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            raise KeyboardInterrupt

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        watchdog.close()
        with contextlib.suppress(OSError):  # the terminal may be closed
            ended = "Interrupted: nothing that this command started is left running"
            print(ended, file=sys.stderr, flush=True)
        return 128 + received[0]
    except BrokenPipeError:  # whoever read the output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status
