"""How the workflow tries again what fails: often enough, not all at once, never for long, and as the runbook says."""

import math
import re
from pathlib import Path

import pytest

from tests.workflow.conftest import DEFINITION
from video_reclaim import errors

RUNBOOK = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text()
ENTRIES = {
    name: tries
    for names, _, tries, _ in re.findall(r"^\| (`.+?) \| (.+?) \| (.+?) \| (.+?) \|$", RUNBOOK, re.M)
    for name in re.findall(r"`([\w.]+)`", names)
}
BY_LAMBDA = "Lambda.TooManyRequestsException"


def _tasks(states):
    for name, state in states.items():
        if state["Type"] == "Task":
            yield name, state
        if state["Type"] == "Map":
            yield from _tasks(state["ItemProcessor"]["States"])


TASKS = dict(_tasks(DEFINITION["States"]))
STEPS = [state for name, state in TASKS.items() if name != "SetDesiredCapacity"]


def attempts(state, error):
    """How often a Task is tried if each attempt ends with ``error``."""
    matching = (one for one in state["Retry"] if {error, "States.ALL"} & set(one["ErrorEquals"]))
    return 1 + next(matching, {"MaxAttempts": 0})["MaxAttempts"]


def longest_waits_s(retrier):
    """The longest wait before each further attempt (AWS, "Retrying after an error")."""
    cap_s = retrier.get("MaxDelaySeconds", math.inf)
    growing = (retrier["IntervalSeconds"] * 2.0**n for n in range(retrier["MaxAttempts"]))
    return [min(wait_s, cap_s) for wait_s in growing]


@pytest.mark.parametrize("task", TASKS)
def test_what_failed_together_does_not_come_back_together_and_is_given_up_within_seconds(task):
    """Lambda scales up by steps of ten seconds ("Lambda scaling behavior"): what it throttles has time for two.

    The next run starts within a minute and finds the same videos; meanwhile the others wait for this one.
    """
    for retrier in TASKS[task]["Retry"]:
        assert retrier["JitterStrategy"] == "FULL" and "BackoffRate" not in retrier
        total_s = sum(longest_waits_s(retrier))
        if BY_LAMBDA in retrier["ErrorEquals"]:
            assert 2 * 2 * 10 < total_s < 60  # half of it on average
        else:
            assert total_s < 10


def test_an_execution_has_time_for_one_item_that_fails_everywhere_and_not_for_much_more():
    """Each step of both looks times out until it is given up; then something hangs, and the execution must end."""
    worst_s = sum(
        2 * attempts(state, "States.Timeout") * state["TimeoutSeconds"]
        + 2 * sum(sum(longest_waits_s(retrier)) for retrier in state["Retry"])
        for state in TASKS.values()
    )
    assert worst_s < DEFINITION["TimeoutSeconds"] < 2 * worst_s


def test_the_runbook_has_an_entry_for_every_error_of_the_code_and_of_the_definition():
    named = {name for state in STEPS for retrier in state["Retry"] for name in retrier["ErrorEquals"]}
    assert {kind.__name__ for kind in errors.VideoReclaimError.__subclasses__()} | named <= ENTRIES.keys()


def test_the_runbook_tells_how_often_every_step_is_tried():
    for error, tries in ENTRIES.items():
        assert {attempts(state, error) for state in STEPS} == {int(re.match(r"\d+", tries)[0])}, error
