"""Each correction of the emulator, through the AWS API; without the correction its test fails."""

import json
from datetime import UTC, datetime

import pytest

from dev.local import corrections
from dev.local.emulator import REGION


def test_another_version_of_ministack_does_not_start(monkeypatch):
    monkeypatch.setattr(corrections, "VERSION", "1.0.0")
    with pytest.raises(corrections.EmulatorChanged, match="review"):
        corrections.apply()


RAISES = """
calls = 0

class TooBad(Exception): pass

def handler(event, context):
    global calls
    calls += 1
    if event.get("fine"):
        return calls
    raise TooBad("call %d" % calls)
"""


def test_an_exception_has_its_class_name_and_its_stack_trace(bench):
    error, answer = bench.call(bench.function(RAISES))

    assert error == "Unhandled"
    assert (answer["errorType"], answer["errorMessage"]) == ("TooBad", "call 1")
    assert answer["requestId"]
    assert 'raise TooBad("call %d" % calls)' in answer["stackTrace"][-1]


def test_an_exception_keeps_the_execution_environment_warm(bench):
    function = bench.function(RAISES)

    bench.call(function)

    assert bench.call(function, {"fine": True}) == (None, 2)


def test_retry_and_catch_match_the_class_name_of_an_exception(bench):
    caught = [{"ErrorEquals": ["TooBad"], "Next": "Caught", "Output": "{% $states.errorOutput %}"}]
    machine = bench.machine(
        {
            "Work": bench.task(
                bench.function(RAISES),
                None,
                Retry=[{"ErrorEquals": ["TooBad"], "IntervalSeconds": 1, "MaxAttempts": 1}],
                Catch=caught,
            ),
            "Caught": {"Type": "Succeed"},
        }
    )

    shown = json.loads(bench.run(machine)["output"])

    assert shown["Error"] == "TooBad"
    cause = json.loads(shown["Cause"])
    assert (cause["errorType"], cause["errorMessage"]) == ("TooBad", "call 2")
    assert cause["stackTrace"]


PRINTS = """


def handler(event, context):
    print("first line of " + event["name"], flush=True)
    if event.get("fails"):
        raise RuntimeError("at the end of " + event["name"])
"""


def test_the_log_of_an_invocation_has_all_its_lines(bench):
    function = bench.function(PRINTS)
    for index in range(20):
        bench.call(function, {"name": f"call {index}", "fails": index % 2})

    name = function.rpartition(":")[2]
    events = bench.clients.logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
    texts = [event["message"] for event in events]
    for index in range(20):
        assert any(f"first line of call {index}\n" in text + "\n" for text in texts)
    assert sum("RuntimeError: at the end of" in text for text in texts) == 10
    assert not any("end of the invocation's log" in text for text in texts)


@pytest.fixture
def group(bench):
    """The name of a group of 1 to 3 instances, with 1 desired."""
    name = bench.name()
    bench.clients.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        MinSize=1,
        MaxSize=3,
        DesiredCapacity=1,
        LaunchConfigurationName="any",
        AvailabilityZones=[f"{REGION}a"],
    )
    return name


def test_a_task_sets_a_groups_desired_capacity(bench, group):
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:autoscaling:setDesiredCapacity",
        "Arguments": {"AutoScalingGroupName": group, "DesiredCapacity": "{% 1 + 1 %}"},
        "End": True,
    }

    ended = bench.run(bench.machine({"Scale": task}))

    shown = bench.clients.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])
    assert (ended["status"], shown["AutoScalingGroups"][0]["DesiredCapacity"]) == ("SUCCEEDED", 2)


@pytest.fixture(scope="module")
def log_group(bench):
    """Make a log group with four lines; return a function that gives those that a pattern matches."""
    logs, name = bench.clients.logs, f"/{bench.name()}"
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="one")
    lines = ['{"video": 1, "message": "a"}', '{"video": 12, "message": "b"}', "video 1", '["a", 1]']
    at_ms = int(datetime.now(UTC).timestamp() * 1000)
    events = [{"timestamp": at_ms + number, "message": line} for number, line in enumerate(lines)]
    logs.put_log_events(logGroupName=name, logStreamName="one", logEvents=events)

    def matched(pattern):
        found = logs.filter_log_events(logGroupName=name, filterPattern=pattern)["events"]
        return [lines.index(event["message"]) for event in found]

    return matched


def test_a_filter_pattern_for_json_compares_fields(log_group):
    assert log_group("{ $.video = 1 }") == [0], "a number is not a prefix"
    assert log_group('{ $.message = "b" || $.video = 1 }') == [0, 1]
    assert log_group('{ $.message = "b" && $.video = 1 }') == []
    assert log_group("") == [0, 1, 2, 3]
