"""RedriveExecution in the emulator behaves as AWS documents it."""

import json
import time

import pytest
from botocore.exceptions import ClientError

# Writes each call to a file; other files tell it what to do in calls with a name: hold, fail, break, mend.
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
        if told("fail"):
            raise Broken("late")
        return "late " + name
    if told("broken"):
        if told("mend"):
            (folder / ("broken-" + name)).unlink()
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

    def tell(self, word, *names):
        for name in names:
            (self.folder / f"{word}-{name}").touch()

    def breaks(self, *names):
        self.tell("broken", *names)

    def mends(self, *names):
        for name in names:
            (self.folder / f"broken-{name}").unlink()

    def holds(self, name):
        """Let the next call wait until `lets_go`."""
        self.tell("hold", name)

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


def over(items, states, **settings):
    """Return a Map state over ``items``; each is the input of its states."""
    return {
        "Type": "Map",
        "Items": items,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "INLINE"},
            "StartAt": next(iter(states)),
            "States": states,
        },
        **({} if "Next" in settings else {"End": True}),
        **settings,
    }


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


def test_the_history_has_no_second_entry_of_the_resumed_state(bench, worker, yard):
    machine = bench.machine(
        {
            "First": bench.task(worker, "Second", yard.payload("first")),
            "Second": bench.task(worker, None, yard.payload("second")),
        }
    )
    yard.breaks("second")
    failed = bench.run(machine)
    before = bench.history(failed["executionArn"])
    yard.mends("second")

    bench.redrive(failed["executionArn"])
    bench.ended(failed["executionArn"])

    after = bench.history(failed["executionArn"])
    assert after[: len(before)] == before
    assert after[len(before) :] == [
        "ExecutionRedriven",
        "TaskScheduled",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]


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
    assert bench.history(failed["executionArn"])[-2:] == ["MapStateExited", "ExecutionSucceeded"]


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


@pytest.mark.parametrize("late", ["answer", "failure"])
def test_a_late_result_does_not_end_a_redriven_execution(bench, worker, yard, late):
    name = "{% 'work-' & $string($states.context.Execution.RedriveCount) %}"
    machine = bench.machine({"Work": bench.task(worker, None, yard.payload(name))})
    yard.holds("work-0")
    yard.holds("work-1")
    execution = bench.start(machine)
    bench.until(lambda: yard.is_held("work-0"))
    bench.clients.stepfunctions.stop_execution(executionArn=execution)
    bench.redrive(execution)
    bench.until(lambda: yard.is_held("work-1"))

    if late == "failure":
        yard.tell("fail", "work-0")
    yard.lets_go("work-0")
    bench.until(lambda: "late work-0" in yard.calls())
    time.sleep(0.3)  # in which the emulator could handle it
    assert bench.describe(execution)["status"] == "RUNNING"
    yard.lets_go("work-1")

    assert json.loads(bench.ended(execution)["output"]) == "late work-1"
    assert bench.history(execution).count("TaskSucceeded") == 1


def test_an_execution_times_out_and_its_redrive_has_the_full_time(bench, worker, yard):
    machine = bench.machine(
        {
            "First": bench.task(worker, "Work", yard.payload("first")),
            "Work": bench.task(worker, None, yard.payload("work")),
        },
        TimeoutSeconds=4,
    )
    bench.call(worker, yard.payload("first"))  # a cold start would be part of the time
    yard.holds("work")
    timed_out = bench.run(machine)
    assert (timed_out["status"], timed_out["error"]) == ("TIMED_OUT", "States.Timeout")
    assert bench.history(timed_out["executionArn"])[-1] == "ExecutionTimedOut"
    yard.lets_go("work")
    yard.calls()

    bench.redrive(timed_out["executionArn"])

    assert bench.ended(timed_out["executionArn"])["status"] == "SUCCEEDED"
    assert "first" not in yard.calls()


def test_the_context_object_counts_redrives(bench, worker, yard):
    shown = "{% $states.context.Execution.{'count': RedriveCount, 'timed': $exists(RedriveTime)} %}"
    machine = bench.machine(
        {
            "Before": {"Type": "Pass", "Assign": {"before": shown}, "Next": "Work"},
            "Work": bench.task(worker, "After", yard.payload("work")),
            "After": {"Type": "Pass", "Output": f"{{% [$before, {shown[3:-3]}] %}}", "End": True},
        }
    )
    yard.breaks("work")
    failed = bench.run(machine)
    yard.mends("work")

    bench.redrive(failed["executionArn"])

    assert json.loads(bench.ended(failed["executionArn"])["output"]) == [
        {"count": 0, "timed": False},
        {"count": 1, "timed": True},
    ]


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
