"""How long a developer waits for the commands of every day."""

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from dev.bench.figures import Figure, Say, Section
from dev.local.commands import down, up

TITLE = "The developer's time"
ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "bench" / "up"


def measure(*, quick: bool, say: Say) -> Section:
    """Time `make up`, `make demo` and `make test`, with everything installed; with ``quick`` the first alone."""
    repeats = 1 if quick else 3
    figures = [_figure("up_s", "`make up`, warm", [_up() for _ in range(repeats)], 10, say)]
    if not quick:
        figures.append(_figure("demo_s", "`make demo`", [_command(["make", "--silent", "demo"])], 60, say))
        figures.append(_figure("test_s", "`make test`", [_command(["make", "--silent", "test"])], 300, say))
    return Section("developer", TITLE, figures)


def _figure(key: str, label: str, seconds: Sequence[float], bound: float, say: Say) -> Figure:
    say(f"{label}: {min(seconds):.1f} s")
    return Figure(key, label, "s", seconds, bound)


def _command(command: Sequence[str]) -> float:
    """Return the seconds of a command. Raises RuntimeError if it failed, with the end of its output."""
    began_s = time.perf_counter()
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    taken_s = time.perf_counter() - began_s
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(ended.stdout + ended.stderr).strip()[-3000:]}")
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
