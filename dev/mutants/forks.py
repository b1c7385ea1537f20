"""Run tests against many mutants without starting anew: one forked process for each mutant.

pytest collects once and runs every test as it should be run. Then, for each mutant, a forked process reads the
mutated files in place of the real ones and runs the tests again until one fails. What was imported, synthesized or
started before is shared. Tests must read the mutated files when they run, not when they are imported.
"""

import contextlib
import gc
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import pytest

from dev.definition import ROOT
from dev.mutants.outcome import Outcome

_PATIENCE = 5
"""A test hangs when it takes so many times as long as without a mutant, and 3 s."""
_MUTANT_LIMIT_S = 600
_LOGS = ROOT / "build" / "mutants"

Rewrite = Callable[[Path, str], str]
"""Takes a file and its text, and returns the text with the mistake in it."""


@dataclass(frozen=True)
class Mutant:
    """One deliberate mistake.

    Attributes:
        area: row of the score table.
        name: where the mistake is and what it is.
        kind: which suites can notice it.
        rewrite: makes the mistake in the text of a file.
    """

    area: str
    name: str
    kind: str
    rewrite: Rewrite


@dataclass(frozen=True)
class Suite:
    """A file of tests, which one set of fixtures serves.

    Attributes:
        path: the file.
        kinds: the kinds of mutants that it can notice.
        without: names of tests that are left out: too slow, or unable to notice anything.
    """

    path: str
    kinds: frozenset[str]
    without: tuple[str, ...] = ()


class BaselineFailed(Exception):
    """A test failed without any mutant."""


class _Forks:
    """A pytest plugin that runs the collected tests against each mutant.

    Attributes:
        noticed: names of the mutants that made a test fail.
    """

    def __init__(self, mutants: Sequence[Mutant], suites: Sequence[Suite]) -> None:
        self.noticed: dict[str, str] = {}
        self._mutants, self._suites = mutants, suites
        self._failed: list[str] = []
        self._durations_s: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._durations_s[report.nodeid] = self._durations_s.get(report.nodeid, 0) + report.duration
        if report.failed:
            self._failed.append(report.nodeid)
            print(report.longreprtext, flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of pytest's own loop."""
        for suite in self._suites:
            items = [item for item in session.items if _belongs_to(item, suite)]
            left = [one for one in self._mutants if one.kind in suite.kinds and one.name not in self.noticed]
            if items and left:
                self._run_suite(session, items, left)
        return True

    def _run_suite(self, session: pytest.Session, items: list[pytest.Item], mutants: list[Mutant]) -> None:
        session._setupstate.teardown_exact(items[0])  # keeps what serves the whole session
        self._durations_s.clear()
        self._run_in_file(session, items)
        items.sort(key=lambda item: self._durations_s[item.nodeid])
        self._run_in_file(session, items[:1])
        for item in items:
            item.add_marker(pytest.mark.timeout(3 + _PATIENCE * self._durations_s[item.nodeid]))
        gc.freeze()
        if failed := self._fork(items, Mutant("", "none", "", _unchanged)):
            raise BaselineFailed(f"{failed} fails the second time")
        for mutant in mutants:
            since_s = time.monotonic()
            if noticed_by := self._fork(items, mutant):
                self.noticed[mutant.name] = noticed_by
                items.sort(key=lambda item: item.nodeid != noticed_by)  # it probably notices the next one too
            print(
                f"\n{time.monotonic() - since_s:.1f} s: {mutant.name}: {noticed_by or 'unseen'}", flush=True
            )

    def _run_in_file(self, session: pytest.Session, items: Sequence[pytest.Item]) -> None:
        """Run tests that must pass; the fixtures of their file stay."""
        self._run(items)
        if self._failed:
            raise BaselineFailed(", ".join(self._failed))
        chain = items[0].listchain()
        file = next(n for n, node in enumerate(chain) if isinstance(node, pytest.Module))
        session._setupstate.teardown_exact(_Upto(chain[: file + 1]))  # type: ignore[arg-type]

    def _run(self, items: Sequence[pytest.Item]) -> None:
        """Run tests until one fails; the fixtures of the last one stay."""
        for item, following in zip(items, [*items[1:], items[-1]], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed:
                return

    def _fork(self, items: Sequence[pytest.Item], mutant: Mutant) -> str:
        """Return the test that noticed the mutant; '' if none did."""
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads that have ended do no harm
            child = os.fork()
        if not child:
            self._run_mutant(items, mutant, writing)
        os.close(writing)
        with os.fdopen(reading) as answer:
            noticed_by = answer.read()
        _, status = os.waitpid(child, 0)
        return noticed_by or ("" if status == 0 else "the process ended")

    def _run_mutant(self, items: Sequence[pytest.Item], mutant: Mutant, writing: int) -> NoReturn:
        def end(noticed_by: str) -> NoReturn:
            os.write(writing, noticed_by.encode())
            os._exit(0)  # what is shared must not be torn down

        from dev.testing.servers import forget_clients

        forget_clients()  # connections are the parent's
        threading.Timer(_MUTANT_LIMIT_S, end, ("time limit",)).start()
        try:
            with reading(mutant.rewrite):
                self._run(items)
        except BaseException as exc:
            end(f"{type(exc).__name__}: {exc}")
        end(self._failed[0] if self._failed else "")


@dataclass(frozen=True)
class _Upto:
    """What pytest takes for the next test, so that only the fixtures of these collectors stay."""

    chain: list[pytest.Item | pytest.Collector]

    def listchain(self) -> list[Any]:
        return list(self.chain)


def _unchanged(_path: Path, text: str) -> str:
    return text


def _belongs_to(item: pytest.Item, suite: Suite) -> bool:
    path, _, test = item.nodeid.partition("::")
    return path == suite.path and not any(name in test for name in suite.without)


@contextlib.contextmanager
def reading(rewrite: Rewrite) -> Iterator[None]:
    """Let files be read with a mistake in them."""
    read_text = Path.read_text

    def mutated(path: Path, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401 (read_text's own)
        return rewrite(path, read_text(path, *args, **kwargs))

    with patch.object(Path, "read_text", mutated):
        yield


def run(name: str, mutants: Sequence[Mutant], suites: Sequence[Suite], processes: int) -> list[Outcome]:
    """Run mutants in several processes; logs of the tests are in build/mutants/.

    Raises:
        BaselineFailed: a test failed without any mutant.
    """
    _LOGS.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        parts = [
            pool.submit(_run_part, _LOGS / f"{name}-{part}.log", list(mutants[part::processes]), suites)
            for part in range(processes)
        ]
        return [outcome for part in parts for outcome in part.result()]


def _run_part(log: Path, mutants: Sequence[Mutant], suites: Sequence[Suite]) -> list[Outcome]:
    with log.open("w") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    forks = _Forks(mutants, suites)
    paths = [suite.path for suite in suites]
    options = [
        "-q",
        "--show-capture=no",
        "--tb=native",
        "--assert=plain",
        "-p",
        "no:cacheprovider",
    ]
    os.chdir(ROOT)
    code = pytest.main([*options, *paths], plugins=[forks])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise BaselineFailed(f"see {log}")
    for mutant in mutants:
        print(f"{mutant.name}: {forks.noticed.get(mutant.name) or 'SURVIVED'}")
    sys.stdout.flush()
    return [Outcome(one.area, one.name, one.name in forks.noticed) for one in mutants]
