"""What the runbook says of errors is what the code and the definition do."""

import json
import re

import pytest

from tests.workflow.breakages import DEFINITION
from tests.workflow.history_events import attempts
from video_reclaim import errors

RUNBOOK = (DEFINITION.parents[1] / "docs" / "runbook.md").read_text()
ENTRIES = {
    name: tries
    for names, _, tries, _ in re.findall(r"^\| (`.+?) \| (.+?) \| (.+?) \| (.+?) \|$", RUNBOOK, re.M)
    for name in re.findall(r"`([\w.]+)`", names)
}


def tasks():
    return dict(_tasks(json.loads(DEFINITION.read_text())["States"]))


def _tasks(states):
    for name, state in states.items():
        if state["Type"] == "Task":
            yield name, state
        if state["Type"] == "Map":
            yield from _tasks(state["ItemProcessor"]["States"])


def test_every_error_of_the_code_has_an_entry():
    assert {kind.__name__ for kind in errors.VideoReclaimError.__subclasses__()} <= set(ENTRIES)


def test_every_error_that_the_definition_names_has_an_entry():
    named = {
        name
        for state_name, state in tasks().items()
        for retrier in state["Retry"]
        for name in retrier["ErrorEquals"]
        if state_name != "SetDesiredCapacity"
    }
    assert named <= set(ENTRIES)


@pytest.mark.parametrize("error", sorted(ENTRIES))
def test_an_entry_tells_how_often_every_step_is_tried(error):
    tried = {attempts(state, error) for name, state in tasks().items() if name != "SetDesiredCapacity"}

    assert tried == {int(ENTRIES[error].split(",")[0].split(";")[0])}
