"""Mutants of the state machine's definition: one at a time, each rule that it makes is dropped or changed."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.definition import ROOT
from dev.mutants import forks
from dev.mutants.forks import Mutant, Suite
from dev.mutants.outcome import Outcome

AREA = "workflow"
DEFINITION = ROOT / "state_machines" / "reclaim_videos.asl.json"
Json = dict[str, Any]
Change = Callable[[Json], None]
"""Changes the definition's copy."""
Named = Iterator[tuple[str, Change]]

_WAITS, _CALLS, _FAILING, _FLOW = "waits", "calls", "failing", "flow"
"""Kinds: retries and time limits; what the stage puts in; what happens after a failure; and the rest."""

_FAILURES = ("workflow/test_failure_path", ("sees_a", "sees_an", "an_uncaught_error"))

SUITES = [
    Suite(f"tests/{path}.py", frozenset(kinds), without)
    for path, kinds, without in (
        ("workflow/test_retries", {_WAITS}, ()),
        ("workflow/test_runbook", {_WAITS}, ()),
        ("infra/test_workflow", {_WAITS, _CALLS}, ()),
        (_FAILURES[0], {_FAILING}, _FAILURES[1]),
        (
            "workflow/test_main_job",
            {_CALLS, _FAILING, _FLOW},
            ("test_the_check_above_sees", "of_any_mixture"),
        ),
        (_FAILURES[0], {_WAITS, _CALLS, _FLOW}, _FAILURES[1]),
        (
            *("workflow/test_sizes", {_CALLS, _FAILING, _FLOW}),
            ("ten_thousand", "very_many", "check_above_sees", "counted_as_aws"),
        ),
        ("workflow/test_scaling", {_CALLS, _FAILING, _FLOW}, ()),
    )
]


def _kind(name: str) -> str:
    if ": Retry" in name or "TimeoutSeconds" in name:
        return _WAITS
    if ": Catch" in name or "RetryFailedVideos" in name:
        return _FAILING
    return _CALLS if re.search("FunctionName|MaxConcurrency|one at a time|Seconds|calls", name) else _FLOW


@dataclass(frozen=True)
class Instead:
    """Replaces the text of one file."""

    path: Path
    text: str

    def __call__(self, path: Path, text: str) -> str:
        """Return the text that is read from a file."""
        return self.text if path == self.path else text


def run(processes: int) -> list[Outcome]:
    """Run all mutants of the workflow."""
    return forks.run(AREA, mutants(), SUITES, processes)


def mutants() -> list[Mutant]:
    """Return every mutant; those that would change nothing are left out."""
    definition, found = json.loads(DEFINITION.read_text()), {}
    for name, change in changes(definition):
        mutated = copy.deepcopy(definition)
        change(mutated)
        if mutated != definition:
            found[name] = Mutant(AREA, name, _kind(name), Instead(DEFINITION, json.dumps(mutated)))
    return list(found.values())


def changes(definition: Json) -> Named:
    """Yield the name and the change of each mutant."""
    yield from _of_value("", (), "TimeoutSeconds", definition["TimeoutSeconds"])
    for path, states in _scopes(definition):
        for start in states:
            yield f"{_named(path)}StartAt: {start}", _set(path, "StartAt", start)
        for name, state in states.items():
            here, where = (*path, "States", name), _named((*path, name))
            yield from _of_retries(where, here, state)
            yield from _of_catches(where, here, state, list(states))
            yield from _of_transitions(where, here, state, list(states))
            yield from _of_expressions(where, here, state)
            if state["Type"] in ("Map", "Task") and state.get("Next") in states:
                yield f"{where}swapped with {state['Next']}", _swap(path, name, state["Next"])


def _scopes(machine: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    yield path, machine["States"]
    for name, state in machine["States"].items():
        if "ItemProcessor" in state:
            yield from _scopes(state["ItemProcessor"], (*path, "States", name, "ItemProcessor"))


def _named(path: tuple[str, ...]) -> str:
    names = [part for part in path if part not in ("States", "ItemProcessor")]
    return f"{'/'.join(names)}: " if names else ""


def _at(definition: Json, path: tuple[Any, ...]) -> Any:  # noqa: ANN401 (JSON)
    for part in path:
        definition = definition[part]
    return definition


def _set(path: tuple[Any, ...], key: Any, value: object) -> Change:  # noqa: ANN401 (a key or an index)
    def change(definition: Json) -> None:
        _at(definition, path)[key] = value

    return change


def _drop(path: tuple[Any, ...], key: Any) -> Change:  # noqa: ANN401 (a key or an index)
    def change(definition: Json) -> None:
        del _at(definition, path)[key]

    return change


def _of_value(where: str, path: tuple[Any, ...], key: str, value: float) -> Named:
    yield f"{where}{key} dropped", _drop(path, key)
    yield f"{where}{key} ten times as long", _set(path, key, value * 10)


def _of_retries(where: str, path: tuple[Any, ...], state: Json) -> Named:
    if "Retry" not in state:
        return
    yield f"{where}Retry dropped", _drop(path, "Retry")
    for n, retrier in enumerate(state["Retry"]):
        of, this = (*path, "Retry", n), f"{where}Retry {n}"
        yield f"{this} dropped", _drop((*path, "Retry"), n)
        if len(retrier["ErrorEquals"]) > 1:
            for i, error in enumerate(retrier["ErrorEquals"]):
                yield f"{this}: {error} dropped", _drop((*of, "ErrorEquals"), i)
        yield f"{this}: no attempt", _set(of, "MaxAttempts", 0)
        yield f"{this}: one attempt less", _set(of, "MaxAttempts", retrier["MaxAttempts"] - 1)
        yield f"{this}: one attempt more", _set(of, "MaxAttempts", retrier["MaxAttempts"] + 1)
        yield f"{this}: waits that don't grow", _set(of, "BackoffRate", 1)
        yield f"{this}: waits that grow by ten", _set(of, "BackoffRate", 10)
        yield (
            f"{this}: first wait ten times as long",
            _set(of, "IntervalSeconds", retrier["IntervalSeconds"] * 10),
        )
        yield f"{this}: no jitter", _drop(of, "JitterStrategy")
        if "MaxDelaySeconds" in retrier:
            yield from _of_value(f"{this}: ", of, "MaxDelaySeconds", retrier["MaxDelaySeconds"])


def _of_catches(where: str, path: tuple[Any, ...], state: Json, states: list[str]) -> Named:
    for n, catcher in enumerate(state.get("Catch", ())):
        of, this = (*path, "Catch", n), f"{where}Catch {n}"
        yield f"{this} dropped", _drop((*path, "Catch"), n)
        for i, error in enumerate(catcher["ErrorEquals"]):
            yield f"{this}: {error} dropped", _drop((*of, "ErrorEquals"), i)
        yield f"{this}: everything is caught", _set(of, "ErrorEquals", ["States.ALL"])
        other = _after(catcher["Next"], states)
        yield f"{this}: to {other}", _set(of, "Next", other)
        yield from _of_fields(f"{this}: ", of, catcher, ("Assign", "Output"))


def _of_transitions(where: str, path: tuple[Any, ...], state: Json, states: list[str]) -> Named:
    if "Next" in state:
        for other in states:
            yield f"{where}to {other}", _set(path, "Next", other)
        yield f"{where}the end", _end(path)
    if "Default" in state:
        for other in states:
            yield f"{where}by default to {other}", _set(path, "Default", other)
    for n, choice in enumerate(state.get("Choices", ())):
        of, this = (*path, "Choices", n), f"{where}choice of {choice['Next']}"
        condition = choice["Condition"].removeprefix("{%").removesuffix("%}").strip()
        yield f"{this} dropped", _drop((*path, "Choices"), n)
        yield f"{this} negated", _set(of, "Condition", f"{{% $not({condition}) %}}")
        yield f"{this} always", _set(of, "Condition", "{% true %}")
        other = _after(choice["Next"], states)
        yield f"{this} to {other}", _set(of, "Next", other)
        if n:
            yield f"{this} earlier", _exchange((*path, "Choices"), n - 1, n)


def _of_expressions(where: str, path: tuple[Any, ...], state: Json) -> Named:
    fields = (
        "Arguments",
        "Assign",
        "Output",
        "Items",
        "ItemSelector",
        "MaxConcurrency",
        "Seconds",
        "Error",
        "Cause",
    )
    yield from _of_fields(where, path, state, fields)
    if "TimeoutSeconds" in state:
        yield from _of_value(where, path, "TimeoutSeconds", state["TimeoutSeconds"])
    if state["Type"] == "Map":
        yield f"{where}one at a time", _set(path, "MaxConcurrency", 1)
        yield f"{where}failures tolerated", _set(path, "ToleratedFailurePercentage", 100)
    if "Resource" in state and state["Resource"].endswith("lambda:invoke"):
        function = state["Arguments"]["FunctionName"]
        for other in ("${EnqueueArn}", "${ReclaimArn}"):
            if other != function:
                yield f"{where}calls {other}", _set((*path, "Arguments"), "FunctionName", other)


def _of_fields(where: str, path: tuple[Any, ...], holder: Json, fields: tuple[str, ...]) -> Named:
    for field in fields:
        if field in holder:
            yield from _of_expression(f"{where}{field}", path, field, holder[field])


def _of_expression(where: str, path: tuple[Any, ...], key: Any, value: object) -> Named:  # noqa: ANN401
    yield f"{where} dropped", _drop(path, key)
    if isinstance(value, dict):
        for inner, part in value.items():
            yield from _of_expression(f"{where}.{inner}", (*path, key), inner, part)
    elif isinstance(value, bool):
        yield f"{where} negated", _set(path, key, not value)
    elif isinstance(value, int):
        yield f"{where} one more", _set(path, key, value + 1)
    elif isinstance(value, str) and value.startswith("{%"):
        constants: tuple[Any, ...] = (0, {}, [])
        for constant in constants:
            yield f"{where} constant {json.dumps(constant)}", _set(path, key, constant)


def _after(name: str, names: list[str]) -> str:
    return names[(names.index(name) + 1) % len(names)]


def _end(path: tuple[Any, ...]) -> Change:
    def change(definition: Json) -> None:
        state = _at(definition, path)
        del state["Next"]
        state["End"] = True

    return change


def _exchange(path: tuple[Any, ...], one: int, other: int) -> Change:
    def change(definition: Json) -> None:
        entries = _at(definition, path)
        entries[one], entries[other] = entries[other], entries[one]

    return change


def _swap(path: tuple[Any, ...], name: str, following: str) -> Change:
    """Let two states do each other's work, under their own names and in their own places."""

    def change(definition: Json) -> None:
        states = _at(definition, path)["States"]
        one, other = states[name], states[following]
        ways = [{key: state.pop(key) for key in ("Next", "End") if key in state} for state in (one, other)]
        states[name], states[following] = other | ways[0], one | ways[1]

    return change
