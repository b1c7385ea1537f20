"""moto, as these tests patch it, against executions that were recorded on AWS."""

import json

import pytest

from dev.testing.recorded import CASES, seen


@pytest.mark.parametrize("name", CASES)
def test_moto_answers_as_aws_did(workflow, name):
    case, module = CASES[name], {}
    exec(case.source, module)
    workflow.around["Reclaim"] = lambda payload, _: module["handler"](payload, None)
    states = json.loads(json.dumps(case.states).replace("FUNCTION", workflow.arn("Reclaim")))
    assert seen(workflow.run_states(states, case.given)) == case.outcome()
