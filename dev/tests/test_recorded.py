"""The local emulator against executions that were recorded on AWS."""

import json

import pytest

from dev.testing.recorded import CASES, DIFFERENT, seen


@pytest.fixture(scope="module")
def arns(bench):
    """The ARN of a function by its source."""
    return {source: bench.function(source) for source in {case.source for case in CASES.values()}}


@pytest.mark.parametrize("name", CASES)
def test_the_emulator_answers_as_aws_did_or_the_difference_is_listed(bench, arns, name):
    case = CASES[name]
    states = json.loads(json.dumps(case.states).replace("FUNCTION", arns[case.source]))
    found = seen(case, bench.run(bench.machine(states), case.given))
    assert found == DIFFERENT.get(name, case.outcome())
