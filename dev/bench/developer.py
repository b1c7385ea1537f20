"""How long a developer waits for the commands of every day."""

import subprocess
import time

from dev.bench.figures import Figure, Say, Section
from dev.definition import ROOT
from dev.local.ledger import Ledger
from dev.local.stack import HOME

TITLE = "The developer's time"


def measure(*, quick: bool, say: Say) -> Section:
    """Time `make up` and `make demo`, with everything installed; with ``quick`` the first alone.

    Raises RuntimeError if a command fails, or if the local stack of this checkout is running.
    """
    repeats = 1 if quick else 3
    if Ledger(HOME).exists:
        raise RuntimeError("a local stack is running; `make down` first")
    figures = [Figure("up_s", "`make up`, warm", "s", [_up() for _ in range(repeats)], 10)]
    say(f"make up: {figures[0].median:.1f} s")
    if not quick:
        figures.append(Figure("demo_s", "`make demo`", "s", [_make("demo")], 60))
    return Section("developer", TITLE, figures)


def measure_tests(*, quick: bool, say: Say) -> Section:
    """Time `make test`, or with ``quick`` `make lint`."""
    return Section(
        "tests", TITLE, [Figure("test_s", "`make test`", "s", [_make("lint" if quick else "test")], 300)]
    )


def _make(target: str) -> float:
    """Return the seconds of a command. Raises RuntimeError if it failed, with the end of its output."""
    began_s = time.perf_counter()
    ended = subprocess.run(["make", "--silent", target], cwd=ROOT, capture_output=True, text=True)
    taken_s = time.perf_counter() - began_s
    if ended.returncode:
        raise RuntimeError(f"make {target} failed:\n{(ended.stdout + ended.stderr).strip()[-3000:]}")
    return taken_s


def _up() -> float:
    try:
        return _make("up")
    finally:
        _make("down")
