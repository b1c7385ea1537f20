"""How long a developer waits for the commands of every day."""

import shutil
import subprocess
import time

from dev.bench.figures import Figure, Say, Section
from dev.definition import ROOT
from dev.local.commands import down, up

TITLE = "The developer's time"
HOME = ROOT / "build" / "bench" / "up"


def measure(*, quick: bool, say: Say) -> Section:
    """Time `make up` and `make demo`, with everything installed; with ``quick`` the first alone."""
    repeats = 1 if quick else 3
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
    """Return the seconds of `make up` in a folder of its own, beside any stack that runs already."""
    began_s = time.perf_counter()
    try:
        up(HOME, report=lambda _line: None)
        return time.perf_counter() - began_s
    finally:
        down(HOME, report=lambda _line: None)
        shutil.rmtree(HOME, ignore_errors=True)
