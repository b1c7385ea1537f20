"""How the workflow waits for what fails: often enough, not all at once, and never for long."""

import json
import math
from itertools import pairwise

import pytest

from tests.workflow.breakages import DEFINITION
from tests.workflow.history_events import attempts
from tests.workflow.test_runbook import tasks

BY_LAMBDA = "Lambda.TooManyRequestsException"
TASKS = [
    *(
        "ListStaleVideos",
        "Reclaim",
        "Enqueue",
        "PublishBacklog",
        "SetDesiredCapacity",
        "ReclaimAgain",
        "EnqueueAgain",
    )
]


def waits(retrier):
    """The shortest and the longest wait before each further attempt, as "Retrying after an error" tells them."""
    interval_s, rate = retrier.get("IntervalSeconds", 1), retrier.get("BackoffRate", 2.0)
    cap_s = retrier.get("MaxDelaySeconds", math.inf)
    longest = [min(interval_s * rate**n, cap_s) for n in range(retrier.get("MaxAttempts", 3))]
    jittered = retrier.get("JitterStrategy", "NONE") == "FULL"
    return [(0 if jittered else wait_s, wait_s) for wait_s in longest]


def longest_wait_s(state):
    return sum(longest for retrier in state["Retry"] for _, longest in waits(retrier))


def test_these_are_the_tasks():
    assert set(TASKS) == set(tasks())


@pytest.mark.parametrize("task", TASKS)
class TestWaits:
    def test_items_that_failed_together_do_not_come_back_together(self, task):
        assert {shortest for retrier in tasks()[task]["Retry"] for shortest, _ in waits(retrier)} == {0}

    def test_each_wait_is_up_to_twice_as_long_as_the_one_before(self, task):
        for retrier in tasks()[task]["Retry"]:
            longest = [wait_s for _, wait_s in waits(retrier)]
            cap_s = retrier.get("MaxDelaySeconds", math.inf)
            assert all(after == min(2 * before, cap_s) for before, after in pairwise(longest))

    def test_what_fails_by_itself_is_given_up_within_seconds(self, task):
        """The next run starts within a minute and finds the same videos; meanwhile the others wait for this one."""
        for retrier in tasks()[task]["Retry"]:
            limit_s = 60 if BY_LAMBDA in retrier["ErrorEquals"] else 10
            assert sum(longest for _, longest in waits(retrier)) < limit_s

    def test_a_throttled_function_is_given_time(self, task):
        """Lambda scales up by steps of ten seconds ("Lambda scaling behavior"): two of them must pass."""
        for retrier in tasks()[task]["Retry"]:
            if BY_LAMBDA in retrier["ErrorEquals"]:
                assert sum(longest for _, longest in waits(retrier)) > 2 * 2 * 10  # half of it on average


def test_an_execution_has_time_for_one_item_that_fails_everywhere_and_not_for_much_more():
    """Each step of both looks times out until it is given up; then something hangs, and the execution must end."""
    worst_s = sum(
        2 * (attempts(state, "States.Timeout") * state["TimeoutSeconds"] + longest_wait_s(state))
        for state in tasks().values()
    )
    limit_s = json.loads(DEFINITION.read_text())["TimeoutSeconds"]
    assert worst_s < limit_s < 2 * worst_s
