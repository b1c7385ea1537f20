"""Which tests reach which lines of the functions, and how long they take."""

import ast
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dev.mutants.edits import Edit
from dev.mutants.servers import Servers
from dev.mutants.trial import FUNCTIONS, ROOT, run_all

_BUDGET_S = 6.0
_WALL_SHARE = 0.02
_QUICK_S = 0.02  # a test of a rule, which needs no server, takes less
_ADDED_S = 0.01  # what pytest itself needs for a test


@dataclass
class Reach:
    """What a run of the tests showed.

    Attributes:
        tests: by file (below the functions' folder) and line, the tests that ran it.
        took_s: by test, how long it took, its own fixtures included: the process's time, and a part of the wall
            time, which on a busy machine is not the test's own.
        failed: tests that fail without any mutant; they can't be used.
    """

    tests: dict[str, dict[int, set[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    took_s: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def add(self, part: Mapping[str, Any]) -> None:
        """Add what `measure` wrote."""
        self.took_s |= part["took_s"]
        self.failed |= set(part["failed"])
        for file, lines in part["tests"].items():
            for line, tests in lines.items():
                self.tests[file][int(line)] |= set(tests)

    def tests_for(self, edit: Edit, users: "Users", also: str = "") -> list[str]:
        """Return the tests to run for a mutant, quick ones first, as far as the time for one mutant goes.

        And those of the file ``also``, whatever they reach.
        """
        file = str(edit.path.relative_to(FUNCTIONS))
        places = [(file, line) for line in range(edit.lines[0], edit.lines[1] + 1)]
        found = (
            self._at(places) or self._at(users.of(edit)) or set(self.took_s)
        )  # what breaks an import breaks any
        known = [test for test in self.took_s if also and test.startswith(f"{also}::")]
        return [
            *self._affordable(found - self.failed - {*known}),
            *(test for test in known if test not in self.failed),
        ]

    def _at(self, places: Sequence[tuple[str, int]]) -> set[str]:
        return {test for file, line in places for test in self.tests.get(file, {}).get(line, ())}

    def _affordable(self, found: set[str]) -> list[str]:
        by_file: dict[str, list[str]] = defaultdict(list)
        for test in sorted(found, key=lambda test: (self.took_s.get(test, 0), test)):
            by_file[test.partition("::")[0]].append(test)
        in_turn = [test for row in zip_longest(*by_file.values()) for test in row if test is not None]
        quick = [test for test in in_turn if self.took_s.get(test, 0) < _QUICK_S]
        slow = [test for test in in_turn if self.took_s.get(test, 0) >= _QUICK_S]
        chosen = [*self._within(_BUDGET_S / 2, quick), *self._within(_BUDGET_S, slow)]
        files = list(dict.fromkeys(test.partition("::")[0] for test in chosen))
        return sorted(chosen, key=lambda test: files.index(test.partition("::")[0]))

    def _within(self, left_s: float, tests: Sequence[str]) -> Iterator[str]:
        """Yield the first of these tests, as many as can be run in ``left_s`` seconds; at least one."""
        for number, test in enumerate(tests):
            left_s -= self.took_s.get(test, 0) + _ADDED_S
            if left_s < 0 and number:
                return
            yield test


class _Watch:
    """A plugin that notes which test runs which lines."""

    def __init__(self, out: Path) -> None:
        import coverage

        self._out = out
        self._coverage = coverage.Coverage(
            data_file=None, source=[str(FUNCTIONS)], config_file=False, messages=False
        )
        self._took_s: dict[str, float] = defaultdict(float)
        self._failed: set[str] = set()
        self._busy_s = 0.0

    def pytest_sessionstart(self) -> None:
        self._coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._coverage.switch_context(nodeid)
        self._busy_s = time.process_time()

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: ANN401
        busy_s, self._busy_s = time.process_time() - self._busy_s, time.process_time()
        self._took_s[report.nodeid] += busy_s + _WALL_SHARE * report.duration
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        tests = {
            str(Path(file).relative_to(FUNCTIONS)): {
                line: [context for context in contexts if context]
                for line, contexts in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        part = {"tests": tests, "took_s": self._took_s, "failed": sorted(self._failed)}
        self._out.write_text(json.dumps(part))


def measure(files: Sequence[str], servers: Servers, out: Path) -> dict[str, Any]:
    """Run the tests of some files and return what they reach, in the form that `Reach.add` takes."""
    run_all(list(files), servers, _Watch(out))
    part: dict[str, Any] = json.loads(out.read_text())
    return part


class Users:
    """Where the functions use a name, for mutants of lines that only an import runs."""

    def __init__(self) -> None:
        self._trees = {
            str(path.relative_to(FUNCTIONS)): ast.parse(path.read_text()) for path in FUNCTIONS.rglob("*.py")
        }
        self._uses: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
        self._makes: dict[str, set[str]] = defaultdict(set)
        for file, tree in self._trees.items():
            for statement in tree.body:
                self._note(file, statement)

    def _note(self, file: str, statement: ast.stmt) -> None:
        span = (file, statement.lineno, statement.end_lineno or statement.lineno)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return
        if isinstance(statement, ast.ClassDef):
            for inner in statement.body:
                self._note(file, inner)
            return
        for name in _names(statement):
            if isinstance(statement, ast.FunctionDef):
                self._uses[name].append(span)
            else:
                self._makes[name] |= set(_targets(statement))

    def of(self, edit: Edit) -> list[tuple[str, int]]:
        """Return the lines of all functions that use what is defined where the mutant is."""
        names = set(self._defined(edit))
        while more := {made for name in names for made in self._makes[name]} - names:
            names |= more
        spans = {span for name in names for span in self._uses[name]}
        return [(file, line) for file, first, last in spans for line in range(first, last + 1)]

    def _defined(self, edit: Edit) -> Iterator[str]:
        tree = self._trees[str(edit.path.relative_to(FUNCTIONS))]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign) and (
                node.lineno <= edit.lines[0] <= (node.end_lineno or node.lineno)
            ):
                yield from _targets(node)


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def test_files(patterns: Sequence[str]) -> list[str]:
    """Return the test files that match patterns, below the project's folder."""
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))
