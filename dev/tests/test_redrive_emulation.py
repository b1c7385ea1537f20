"""RedriveExecution in the emulator behaves as AWS documents it."""

import json
import time

import pytest
from botocore.exceptions import ClientError

# Writes each call to a file; other files tell it what to do in calls with a name: hold or break.
WORKER = """
import time
from pathlib import Path

class Broken(Exception): pass

def handler(event, context):
    folder, name = Path(event["folder"]), event["name"]
    def told(word):
        return (folder / (word + "-" + name)).exists()
    def note(line):
        with (folder / "calls").open("a") as calls:
            calls.write(line + "\\n")
    note(name)
    if told("hold"):
        (folder / ("hold-" + name)).rename(folder / ("held-" + name))
        while told("held"):
            time.sleep(0.01)
        note("late " + name)
        return "late " + name
    if told("broken"):
        raise Broken(name + " is broken")
    return name
"""


@pytest.fixture(scope="session")
def worker(bench):
    return bench.function(WORKER)


class Yard:
    """A folder of files that control the functions of a test."""

    def __init__(self, folder):
        self.folder = folder

    def breaks(self, *names):
        for name in names:
            (self.folder / f"broken-{name}").touch()

    def mends(self, *names):
        for name in names:
            (self.folder / f"broken-{name}").unlink()

    def holds(self, name):
        """Let the next call wait until `lets_go`."""
        (self.folder / f"hold-{name}").touch()

    def is_held(self, name):
        return (self.folder / f"held-{name}").exists()

    def lets_go(self, name):
        (self.folder / f"held-{name}").unlink()

    def calls(self):
        """Return the calls since this was last asked, sorted."""
        noted = self.folder / "calls"
        ran = sorted(noted.read_text().split("\n")[:-1]) if noted.exists() else []
        noted.unlink(missing_ok=True)
        return ran

    def payload(self, name):
        return {"folder": str(self.folder), "name": name}


@pytest.fixture
def yard(tmp_path):
    return Yard(tmp_path)


def over(items, states):
    """Return a Map state over ``items``; each is the input of its states."""
    processor = {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": next(iter(states)), "States": states}
    return {"Type": "Map", "Items": items, "ItemProcessor": processor, "End": True}


def item_payload(yard, step):
    return {"folder": str(yard.folder), "name": f"{{% '{step}-' & $string($states.input) %}}"}


def test_a_redriven_execution_resumes_at_the_state_that_failed(bench, worker, yard):
    machine = bench.machine(
        {
            "First": bench.task(
                worker, "Second", yard.payload("first"), Assign={"kept": "{% $states.result.Payload %}"}
            ),
            "Second": bench.task(worker, "Third", yard.payload("second")),
            "Third": bench.task(worker, None, yard.payload("third"), Output="{% [$kept, $states.input] %}"),
        }
    )
    yard.breaks("second")
    failed = bench.run(machine, {"any": "input"})
    assert (failed["status"], failed["error"], yard.calls()) == ("FAILED", "Broken", ["first", "second"])
    yard.mends("second")

    bench.redrive(failed["executionArn"])
    ended = bench.ended(failed["executionArn"])

    assert (ended["status"], json.loads(ended["output"])) == ("SUCCEEDED", ["first", "second"])
    assert yard.calls() == ["second", "third"]
    assert (ended["input"], ended["startDate"]) == (failed["input"], failed["startDate"])
    assert "error" not in ended and "cause" not in ended


def test_only_unfinished_iterations_of_a_map_run_again_from_the_failed_state(bench, worker, yard):
    each = {
        "One": bench.task(worker, "Two", item_payload(yard, "one"), Output="{% $states.input %}"),
        "Two": bench.task(worker, None, item_payload(yard, "two")),
    }
    machine = bench.machine({"Each": over([1, 2, 3], each)})
    yard.breaks("two-1", "one-3")
    failed = bench.run(machine)
    assert yard.calls() == ["one-1", "one-2", "one-3", "two-1", "two-2"]
    yard.mends("two-1", "one-3")

    bench.redrive(failed["executionArn"])
    ended = bench.ended(failed["executionArn"])

    assert (ended["status"], json.loads(ended["output"])) == ("SUCCEEDED", ["two-1", "two-2", "two-3"])
    assert yard.calls() == ["one-3", "two-1", "two-3"]


def test_a_caught_error_is_not_redriven(bench, worker, yard):
    caught = [{"ErrorEquals": ["States.ALL"], "Next": "Second", "Output": "{% $states.errorOutput.Error %}"}]
    machine = bench.machine(
        {
            "First": bench.task(worker, "Second", yard.payload("first"), Catch=caught),
            "Second": bench.task(worker, None, yard.payload("second"), Output="{% $states.input %}"),
        }
    )
    yard.breaks("first", "second")
    failed = bench.run(machine)
    yard.mends("first", "second")
    yard.calls()

    bench.redrive(failed["executionArn"])

    assert json.loads(bench.ended(failed["executionArn"])["output"]) == "Broken"
    assert yard.calls() == ["second"]


def test_a_late_result_does_not_end_a_redriven_execution(bench, worker, yard):
    name = "{% 'work-' & $string($states.context.Execution.RedriveCount) %}"
    machine = bench.machine({"Work": bench.task(worker, None, yard.payload(name))})
    yard.holds("work-0")
    yard.holds("work-1")
    execution = bench.start(machine)
    bench.until(lambda: yard.is_held("work-0"))
    bench.clients.stepfunctions.stop_execution(executionArn=execution)
    bench.redrive(execution)
    bench.until(lambda: yard.is_held("work-1"))

    yard.lets_go("work-0")
    bench.until(lambda: "late work-0" in yard.calls())
    time.sleep(0.3)  # in which the emulator could handle it
    assert bench.describe(execution)["status"] == "RUNNING"
    yard.lets_go("work-1")

    ended = bench.ended(execution)
    assert (json.loads(ended["output"]), ended["redriveCount"]) == ("late work-1", 1)


def refusal(call):
    with pytest.raises(ClientError) as refused:
        call()
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_running_or_successful_execution_is_not_redrivable(bench, worker, yard):
    machine = bench.machine({"Work": bench.task(worker, None, yard.payload("work"))})
    yard.holds("work")
    execution = bench.start(machine)
    bench.until(lambda: yard.is_held("work"))
    running = refusal(lambda: bench.redrive(execution))
    yard.lets_go("work")
    bench.ended(execution)
    succeeded = refusal(lambda: bench.redrive(execution))

    assert running == ("ExecutionNotRedrivable", "Execution is RUNNING and cannot be redriven")
    assert succeeded == ("ExecutionNotRedrivable", "Execution is SUCCEEDED and cannot be redriven")
