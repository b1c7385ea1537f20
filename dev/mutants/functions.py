"""Mutants of the functions: rules, scaling, handlers, and the adapters to PostgreSQL, Redis and AWS.

Alone: ``python -m dev.mutants.functions [--all] [--area NAME] [--match TEXT] [--processes N]``.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dev.mutants import edits, sql
from dev.mutants.edits import Edit
from dev.mutants.outcome import Outcome
from dev.mutants.reach import Reach, Users, measure, test_files
from dev.mutants.servers import Servers, servers
from dev.mutants.trial import FUNCTIONS, Trial, fails, load

_EQUIVALENT = Path(__file__).with_name("equivalent.json")
_STATEMENTS = FUNCTIONS / "video_reclaim/adapters/postgres/statements.py"
_PACKAGE = "video_reclaim"


class _Area(NamedTuple):
    """A row of the score table.

    Attributes:
        files: patterns below the functions' folder.
        sample: at most so many mutants, chosen by a hash of their names, so that they stay the same ones.
    """

    files: tuple[str, ...]
    sample: int


AREAS = {
    "rules": _Area((f"{_PACKAGE}/rules/*.py",), 60),
    "scaling": _Area((f"{_PACKAGE}/scaling/*.py",), 40),
    "handlers": _Area(("*.py", f"{_PACKAGE}/*.py"), 70),
    "sql": _Area((f"{_PACKAGE}/adapters/postgres/*.py",), 70),
    "redis": _Area((f"{_PACKAGE}/adapters/redis/*.py",), 45),
    "sqs": _Area((f"{_PACKAGE}/adapters/sqs.py",), 30),
    "autoscaling, cloudwatch, ssm": _Area(
        tuple(f"{_PACKAGE}/adapters/{name}.py" for name in ("autoscaling", "cloudwatch", "ssm")), 35
    ),
}

# The suites that reach the functions in seconds. Those with many processes or a whole stack are left out.
_SUITES = (
    "tests/unit/test_*.py",
    "tests/integration/test_*.py",
    "tests/protocol/test_handoff.py",
    "tests/protocol/test_redis_misleads.py",
    "tests/protocol/test_poison.py",
    "tests/protocol/test_lost_messages.py",
    "tests/protocol/test_races.py",
    "tests/protocol/test_worker_gone.py",
    "tests/workflow/test_scaling.py",
)
_LEFT_OUT = ("test_architecture", "test_readme", "test_documents", "test_deploying", "test_ops")
# Tests that use what they test without the code that is mutated: the plans of the statements.
_ALSO = {_STATEMENTS: "tests/integration/test_plans.py"}
_LEAST_LIMIT_S = 60.0
_CONTROLLED = 20  # of so many mutants one is controlled: its tests must pass without it


def mutants(*, everything: bool = False) -> dict[str, list[Edit]]:
    """Return the mutants of each area: a fixed sample, or every one."""
    found = {}
    for area, (patterns, sample) in AREAS.items():
        files = sorted({path for pattern in patterns for path in FUNCTIONS.glob(pattern)})
        made = [edit for file in files for edit in edits.edits(file, FUNCTIONS)]
        if _STATEMENTS in files:
            made += sql.edits(_STATEMENTS, FUNCTIONS, _statements())
        by_hash = sorted(made, key=_hash)
        found[area] = by_hash if everything else by_hash[:sample]
    return found


def _hash(edit: Edit) -> bytes:
    return hashlib.sha256(edit.name.encode()).digest()


def _statements() -> dict[str, str]:
    """Return the texts of the public statements; another process imports them."""
    script = (
        "import json; from video_reclaim.adapters.postgres import statements as s;"
        "print(json.dumps({k: v for k, v in vars(s).items() if isinstance(v, str) and not k.startswith('_')}))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(FUNCTIONS)}, capture_output=True, text=True, check=True
    )
    named = _STATEMENTS.read_text()
    return {name: text for name, text in json.loads(done.stdout).items() if f"\n{name} = " in named}


class _Task(NamedTuple):
    area: str
    edit: Edit


class _Done(NamedTuple):
    outcome: Outcome
    tests: int
    took_s: float


def run(
    processes: int,
    *,
    everything: bool = False,
    areas: Iterable[str] = (),
    match: str = "",
    kept_reach: Path | None = None,
) -> list[Outcome]:
    """Try every mutant of the sample and return what became of it.

    Args:
        processes: how many mutants are tried at a time.
        everything: try all mutants.
        areas: only these.
        match: only mutants with this in their names.
        kept_reach: a file that keeps what the tests reach, between runs.
    """
    load()
    chosen = [
        _Task(area, edit)
        for area, found in mutants(everything=everything).items()
        for edit in found
        if (not areas or area in areas) and match in edit.name
    ]
    chosen.sort(key=lambda task: _hash(task.edit))  # so that the first ones tell about every area
    written = json.loads(_EQUIVALENT.read_text())
    reasons: dict[str, str] = {name: why for name, why in written.items() if isinstance(why, str)}
    started = time.monotonic()
    reach = _measure(processes, kept_reach)
    for test in sorted(reach.failed):
        _say(f"not used, fails without any mutant: {test}")
    _say(f"{len(chosen)} mutants, {len(reach.took_s)} tests, measured in {time.monotonic() - started:.0f} s")
    done = _try_all(chosen, reach, reasons, processes)
    if not match and not areas:
        _tell_unused(reasons, everything=everything, tried={task.edit.name for task in chosen})
    return [one.outcome for one in done]


def _tell_unused(reasons: dict[str, str], *, everything: bool, tried: set[str]) -> None:
    known = (
        tried if everything else {edit.name for found in mutants(everything=True).values() for edit in found}
    )
    for name in sorted(set(reasons) - known):
        _say(f"equivalent.json names a mutant that there is not: {name}")


def _measure(processes: int, kept: Path | None) -> Reach:
    if kept is not None and kept.exists():
        reach = Reach()
        for part in json.loads(kept.read_text()):
            reach.add(part)
        return reach
    files = [file for file in test_files(_SUITES) if not any(name in file for name in _LEFT_OUT)]
    reach = Reach()
    answers: Any = multiprocessing.get_context("fork").Queue()
    shares = [files[number::processes] for number in range(processes)]
    workers = [
        multiprocessing.get_context("fork").Process(target=_measure_part, args=(share, number, answers))
        for number, share in enumerate(shares)
    ]
    for worker in workers:
        worker.start()
    found = [answers.get() for _ in workers]
    for part in found:
        reach.add(part)
    for worker in workers:
        worker.join()
    if kept is not None:
        kept.write_text(json.dumps(found))
    return reach


def _measure_part(files: Sequence[str], number: int, answers: Any) -> None:  # noqa: ANN401
    with servers() as shared:
        answers.put(measure(files, shared, shared.folder / f"reach-{number}.json"))


def _try_all(tasks: Sequence[_Task], reach: Reach, reasons: dict[str, str], processes: int) -> list[_Done]:
    context = multiprocessing.get_context("fork")
    numbers: Any = context.Queue()
    answers: Any = context.Queue()
    for number in [*range(len(tasks)), *([None] * processes)]:
        numbers.put(number)
    users = Users()
    workers = [
        context.Process(target=_try_some, args=(tasks, reach, users, reasons, numbers, answers))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    done = []
    for count in range(1, len(tasks) + 1):
        done.append(answers.get())
        if not (done[-1].outcome.noticed or done[-1].outcome.equivalent):
            _say(f"passed unseen ({done[-1].tests} tests): {done[-1].outcome.mutant}")
        if count % 50 == 0:
            _say(f"{count} of {len(tasks)}")
    for worker in workers:
        worker.join()
    return done


def _try_some(
    tasks: Sequence[_Task],
    reach: Reach,
    users: Users,
    reasons: dict[str, str],
    numbers: Any,  # noqa: ANN401
    answers: Any,  # noqa: ANN401
) -> None:
    with servers() as shared:
        while (number := numbers.get()) is not None:
            area, edit = tasks[number]
            reason = reasons.get(edit.name, "")
            tests = [] if reason else reach.tests_for(edit, users, _ALSO.get(edit.path, ""))
            started = time.monotonic()
            noticed = bool(tests) and _notice(edit, tests, reach, shared)
            if noticed and number % _CONTROLLED == 0 and fails(_trial(tests, reach, {}), shared):
                _say(f"the tests of this mutant fail without it too: {edit.name}")
                noticed = False
            outcome = Outcome(area, edit.name, noticed, reason)
            answers.put(_Done(outcome, len(tests), time.monotonic() - started))


def _notice(edit: Edit, tests: Sequence[str], reach: Reach, shared: Servers) -> bool:
    noticed = fails(_trial(tests, reach, {edit.path: edit.make()}), shared)
    if noticed:
        shared.renew_if_changed()
    return noticed


def _trial(tests: Sequence[str], reach: Reach, mutated: dict[Path, str]) -> Trial:
    took_s = sum(reach.took_s.get(test, 0) for test in tests)
    return Trial(tests, _LEAST_LIMIT_S + 4 * took_s, mutated)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run alone, and print the score and the survivors of each area."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true", help="every mutant instead of the sample")
    parser.add_argument("--area", action="append", default=[], choices=list(AREAS))
    parser.add_argument("--match", default="", help="only mutants with this in their name")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--reach", type=Path, help="a file that keeps what the tests reach, between runs")
    given = parser.parse_args()
    outcomes = run(
        given.processes, everything=given.all, areas=given.area, match=given.match, kept_reach=given.reach
    )
    survivors = defaultdict(list)
    counts: Counter[tuple[str, bool]] = Counter()
    for outcome in outcomes:
        if outcome.equivalent:
            continue
        counts[outcome.area, outcome.noticed] += 1
        if not outcome.noticed:
            survivors[outcome.area].append(outcome.mutant)
    for area in AREAS:
        noticed, passed = counts[area, True], counts[area, False]
        if noticed + passed:
            print(f"{area}: {noticed} of {noticed + passed}, {100 * noticed / (noticed + passed):.0f} %")
            print(*(f"    {mutant}" for mutant in sorted(survivors[area])), sep="\n")


if __name__ == "__main__":
    main()
