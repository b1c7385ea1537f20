"""How long a developer waits."""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dev.bench.figures import Figure, Goal, Section, repeat
from dev.local.commands import down, up

TITLE = "The developer's time"
TESTS_TITLE = "All tests"
ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "bench" / "up"


def measure(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Time the commands that a developer runs all day."""
    repeats = 1 if quick else 3
    synth_s = repeat(repeats, lambda: _command(["make", "--silent", "synth", "STAGE=existing"]))
    say(f"make synth: {min(synth_s):.1f} s")
    up_s = repeat(repeats, _up)
    say(f"make up: {min(up_s):.1f} s")
    figures = [
        Figure("synth_s", "`make synth STAGE=existing`", "s", synth_s, Goal("at most", 6)),
        Figure(
            "up_s",
            "`make up`, warm: servers, emulator, bootstrap, deployment",
            "s",
            up_s,
            Goal("at most", 15),
        ),
    ]
    return Section("developer", TITLE, figures, _meaning())


def measure_tests(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Time all tests, or with ``quick`` the format, the lint and the types alone."""
    command = ["make", "--silent", *(["lint", "types"] if quick else ["test"])]
    test_s = [_command(command)]
    say(f"{' '.join(command)}: {test_s[0]:.0f} s")
    figure = Figure("test_s", f"`{' '.join(command)}`", "s", test_s, Goal("at most", 300))
    meaning = "Format, lint, types, and all tests on every core, with servers of their own."
    return Section("tests", TESTS_TITLE, [figure], meaning)


def _command(command: Sequence[str]) -> float:
    began_s = time.perf_counter()
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    taken_s = time.perf_counter() - began_s
    if ended.returncode:
        said = (ended.stdout + ended.stderr).strip()
        raise RuntimeError(f"{' '.join(command)} failed:\n{said[-3000:]}")
    return taken_s


def _up() -> float:
    """What `make up` does once everything is installed, beside any stack that runs already."""
    began_s = time.perf_counter()
    try:
        up(HOME, report=lambda _line: None)
        return time.perf_counter() - began_s
    finally:
        down(HOME, report=lambda _line: None)
        shutil.rmtree(HOME, ignore_errors=True)


def _meaning() -> str:
    return (
        "Everything is installed already, and compiled. `make up` starts PostgreSQL, Valkey and the "
        "emulator, synthesizes the app, bootstraps, and deploys by the CDK CLI; much of it is Node.js "
        "and jsii. Neither command runs the CDK's own check of the finished template, which takes as long "
        "as the rest of a synthesis: `make diff` and `make deploy` do, and so do the tests."
    )
