"""How many history events an execution has by AWS's own counting, told from the definition.

AWS ends an execution at 25,000 events and redrives none that has 24,999 or more. An emulator's history is no
measure: the local one leaves out what happens inside a Map.

    execution                   Started, Succeeded or Failed; a redrive adds Redriven and a second end
    every state                 …StateEntered, …StateExited; the latter not where it fails uncaught
    Task                        per attempt Scheduled, Started, and Succeeded, Failed or TimedOut
    inline Map                  MapStateStarted, MapStateSucceeded or MapStateFailed; per item
                                MapIterationStarted, MapIterationSucceeded or MapIterationFailed

A Choice is given its way by the route at the top, and inside a Map counted along its longest branch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

States = Mapping[str, Mapping[str, Any]]


class WrongRoute(ValueError):
    """The definition has no such way from one state to the next."""


@dataclass(frozen=True)
class Course:
    """What happens in an execution.

    Attributes:
        route: the states outside Maps in the order they are entered; the last one ends the execution.
        items: how many items each Map has.
        errors: the error with which every attempt of a Task ends; a Task that is not named succeeds at once.
        attempts: of a Task that fails at first and then succeeds, how many attempts it takes.
    """

    route: Sequence[str]
    items: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)


def count(definition: Mapping[str, Any], course: Course) -> int:
    """Count the history events of an execution.

    Raises:
        WrongRoute: the definition does not allow the course.
    """
    states, route = definition["States"], course.route
    if route[0] != definition["StartAt"]:
        raise WrongRoute(f"an execution starts at {definition['StartAt']}, not at {route[0]}")
    events = 2
    for name, successor in zip(route, [*route[1:], None], strict=True):
        entered, ways = _state(states[name], name, course)
        if successor not in ways:
            raise WrongRoute(f"from {name} to {successor}")
        events += entered
    return events


def _state(state: Mapping[str, Any], name: str, course: Course) -> tuple[int, set[str | None]]:
    """Count one visit of a state, and tell where it may lead; None: the end."""
    kind = state["Type"]
    following: set[str | None] = {state.get("Next")}
    if kind == "Choice":
        return 2, {*(choice["Next"] for choice in state["Choices"]), state["Default"]}
    if kind == "Map":
        processor = state["ItemProcessor"]
        item, item_fails = _longest(processor["States"], processor["StartAt"], course)
        events = 3 + course.items[name] * (2 + item)  # entered, started, and how it ended
        return (events, {None}) if item_fails else (events + 1, following)
    if kind != "Task":
        return 2, following
    error = course.errors.get(name)
    if error is None:
        return 2 + 3 * course.attempts.get(name, 1), following
    tried = 1 + 3 * attempts(state, error)
    caught = _matching(state.get("Catch", ()), error)
    return (tried + 1, {caught["Next"]}) if caught else (tried, {None})


def _longest(states: States, name: str, course: Course) -> tuple[int, bool]:
    """Count the longest way through an item's states, and tell whether it fails."""
    state = states[name]
    events, ways = _state(state, name, course)
    if ways == {None}:
        return events, course.errors.get(name) is not None
    rest, fails = max(_longest(states, way, course) for way in ways if way is not None)
    return events + rest, fails


def attempts(state: Mapping[str, Any], error: str) -> int:
    """How often a Task is tried if each attempt ends with ``error``."""
    retrier = _matching(state.get("Retry", ()), error)
    return 1 + (retrier.get("MaxAttempts", 3) if retrier else 0)


def most_attempts(state: Mapping[str, Any]) -> int:
    """How often a Task is tried at most: each retrier has a count of its own."""
    return 1 + sum(retrier.get("MaxAttempts", 3) for retrier in state.get("Retry", ()))


def _matching(clauses: Sequence[Mapping[str, Any]], error: str) -> Mapping[str, Any] | None:
    return next((one for one in clauses if {error, "States.ALL"} & set(one["ErrorEquals"])), None)
