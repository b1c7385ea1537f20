"""RedriveExecution in the emulator behaves as AWS documents it."""

import json

import pytest
from botocore.exceptions import ClientError

# Notes each call in a file, and fails while there is a file with the name of the call.
WORKER = """
from pathlib import Path

class Broken(Exception): pass

def handler(event, context):
    folder, name = Path(event["folder"]), event["name"]
    with (folder / "calls").open("a") as calls:
        calls.write(name + "\\n")
    if (folder / name).exists():
        raise Broken(name + " is broken")
    return name
"""


@pytest.fixture
def calls(tmp_path):
    """Return the calls since this was last asked, sorted."""

    def calls():
        ran = (tmp_path / "calls").read_text().split()
        (tmp_path / "calls").unlink()
        return sorted(ran)

    return calls


def test_a_redriven_execution_resumes_at_the_state_that_failed(bench, tmp_path, calls):
    """Before it are a caught error and a variable; it is in one item of a Map."""
    worker = bench.function(WORKER)

    def task(name, then, **settings):
        return bench.task(worker, then, {"folder": str(tmp_path), "name": name}, **settings)

    caught = [
        {"ErrorEquals": ["Broken"], "Next": "Second", "Assign": {"error": "{% $states.errorOutput.Error %}"}}
    ]
    item = {
        "One": task("{% 'one-' & $string($states.input) %}", "Two", Output="{% $states.input %}"),
        "Two": task("{% 'two-' & $string($states.input) %}", None),
    }
    states = {
        "First": task("first", "Second", Catch=caught),
        "Second": {
            "Type": "Map",
            "Items": [1, 2],
            "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "One", "States": item},
            "Next": "Third",
        },
        "Third": task("third", None, Output="{% [$error, $states.input] %}"),
    }
    for name in ("first", "two-2"):
        (tmp_path / name).touch()
    failed = bench.run(bench.machine(states), {"any": "input"})
    assert (failed["status"], failed["error"]) == ("FAILED", "Broken")
    assert calls() == ["first", "one-1", "one-2", "two-1", "two-2"]
    for name in ("first", "two-2"):
        (tmp_path / name).unlink()

    bench.redrive(failed["executionArn"])
    ended = bench.ended(failed["executionArn"])

    assert (ended["status"], json.loads(ended["output"])) == ("SUCCEEDED", ["Broken", "two-1", "two-2"])
    assert calls() == ["third", "two-2"]
    assert (ended["input"], ended["startDate"]) == (failed["input"], failed["startDate"])
    assert "error" not in ended and "cause" not in ended
    assert ended["redriveCount"] == 1


@pytest.mark.parametrize(("seconds", "status"), [(100_000, "RUNNING"), (0, "SUCCEEDED")])
def test_a_running_or_successful_execution_is_not_redrivable(bench, seconds, status):
    execution = bench.start(bench.machine({"Wait": {"Type": "Wait", "Seconds": seconds, "End": True}}))
    bench.until(lambda: bench.describe(execution)["status"] == status)

    with pytest.raises(ClientError) as refused:
        bench.redrive(execution)

    error = refused.value.response["Error"]
    assert error["Code"] == "ExecutionNotRedrivable"
    assert error["Message"] == f"Execution is {status} and cannot be redriven"
