"""``python -m dev.local up|down|demo``."""

import sys

from dev.local.signals import run_interruptible


def _run() -> int:
    from dev.local.commands import main  # takes a while: a signal may come meanwhile

    return main()


if __name__ == "__main__":
    sys.exit(run_interruptible(_run))
