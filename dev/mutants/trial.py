"""One run of pytest in a process of its own, forked from one that has loaded what costs time to load.

The product and the tests are not among it: each run imports them afresh, one file of them mutated.
"""

import contextlib
import gc
import importlib
import importlib.machinery
import os
import signal
import sys
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.mutants.servers import Servers, Shared

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"
_LOADED_BEFORE = (
    "boto3",
    "botocore.session",
    "coverage",
    "cryptography.x509",
    "hypothesis",
    "jsonata",
    "moto",
    "moto.autoscaling.models",
    "moto.cloudwatch.models",
    "moto.secretsmanager.models",
    "moto.sqs.models",
    "moto.ssm.models",
    "msgspec",
    "psycopg2",
    "pytest",
    "redis",
)
_OPTIONS = ["-q", "-p", "pytest_timeout", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]
_OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
_PASSED = 0
_NO_TESTS = 5


def load() -> None:
    """Load what all runs need, and forget what the runs are to import themselves."""
    sys.path[:0] = [str(ROOT), str(FUNCTIONS)]
    for name in _LOADED_BEFORE:
        importlib.import_module(name)
    own = {path.stem for path in FUNCTIONS.glob("*.py")} | {"video_reclaim", "tests"}
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    gc.freeze()  # a collection in a fork would copy all that was loaded


class Given:
    """A plugin that gives the tests the shared servers, and runs chosen tests in the chosen order."""

    def __init__(self, servers: Servers, chosen: Sequence[str] | None = None) -> None:
        self._servers = servers
        self._chosen = None if chosen is None else {test: place for place, test in enumerate(chosen)}

    def fixtures(self) -> types.ModuleType:
        """Return a plugin whose fixtures take the place of those of `dev.testing.servers`."""
        import pytest

        module: Any = types.ModuleType("shared_servers")
        postgres, valkey, folder = self._servers.postgres, self._servers.valkey, self._servers.folder

        def give(name: str, value: Shared | Path) -> object:
            return pytest.fixture(scope="session", name=name)(lambda: value)

        module.postgres = give("postgres", postgres)
        module.valkey = give("valkey", valkey)
        module.servers_folder = give("servers_folder", folder)
        return module  # type: ignore[no-any-return]

    def pytest_configure(self) -> None:
        """Let property tests try the same values each time."""
        from hypothesis import settings

        settings.register_profile("mutants", database=None, derandomize=True, deadline=None)
        settings.load_profile("mutants")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep and order the chosen tests."""
        if self._chosen is not None:
            chosen = self._chosen
            items[:] = sorted(
                (item for item in items if item.nodeid in chosen), key=lambda item: chosen[item.nodeid]
            )


@dataclass(frozen=True)
class Trial:
    """What is to be run.

    Attributes:
        tests: ids of the tests, in order.
        limit_s: the run is ended after this time.
        mutated: texts of the mutated files, by path.
    """

    tests: Sequence[str]
    limit_s: float
    mutated: Mapping[Path, str]


def fails(trial: Trial, servers: Servers) -> bool:
    """Tell whether a test fails, or the run does not end in time."""
    files = list(dict.fromkeys(test.partition("::")[0] for test in trial.tests))
    child = os.fork()
    if child == 0:
        os.setsid()
        _run_and_exit([*_OPTIONS, "-x", *files], Given(servers, trial.tests), trial.mutated, _Leave())
    status = _wait(child, trial.limit_s)
    return status is None or os.waitstatus_to_exitcode(status) not in (_PASSED, _NO_TESTS)


class _Leave:
    """A plugin that ends the process as soon as pytest is done."""

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        os._exit(exitstatus)

    pytest_sessionfinish.pytest_impl = {"trylast": True}  # type: ignore[attr-defined]  # noqa: RUF012


def _run_and_exit(arguments: list[str], given: Given, mutated: Mapping[Path, str], *others: object) -> None:
    import pytest

    code = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os.chdir(ROOT)
        with _importing(mutated):
            code = int(pytest.main(arguments, plugins=[given, given.fixtures(), *others]))
    finally:
        os._exit(code)


def run_all(arguments: list[str], servers: Servers, plugin: object) -> None:
    """Run tests without any mutant in a process of their own, with a plugin that watches them."""
    child = os.fork()
    if child == 0:
        _run_and_exit([*_OPTIONS, *arguments], Given(servers), {}, plugin)
    os.waitpid(child, 0)


@contextlib.contextmanager
def _importing(mutated: Mapping[Path, str]) -> Iterator[None]:
    """Let imports read the mutated text of a file."""
    loader: Any = importlib.machinery.SourceFileLoader
    usual = loader.get_code

    def get_code(self: Any, name: str) -> Any:  # noqa: ANN401
        text = mutated.get(Path(self.path))
        return usual(self, name) if text is None else compile(text, self.path, "exec")

    loader.get_code = get_code
    try:
        yield
    finally:
        loader.get_code = usual


def _wait(child: int, limit_s: float) -> int | None:
    """Wait for a process; None if it had to be ended."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
