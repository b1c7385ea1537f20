"""The local emulator against executions that were recorded on AWS."""

import json

import pytest

from dev.testing.recorded import CASES, seen


@pytest.fixture(scope="module")
def arns(bench):
    """The ARN of a function by its source."""
    return {source: bench.function(source) for source in {case.source for case in CASES.values()}}


@pytest.mark.parametrize("name", CASES)
def test_the_emulator_answers_as_aws_did(bench, arns, name):
    case = CASES[name]
    states = json.loads(json.dumps(case.states).replace("FUNCTION", arns[case.source]))
    assert seen(bench.run(bench.machine(states), case.given)) == case.outcome()
