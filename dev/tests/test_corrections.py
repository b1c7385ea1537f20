"""Corrections of the emulator that the tests on the deployed stack don't show, through the AWS API."""

from datetime import UTC, datetime

import pytest

from dev.local import corrections


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
    function = bench.function(RAISES)

    error, answer = bench.call(function)

    assert error == "Unhandled"
    assert (answer["errorType"], answer["errorMessage"]) == ("TooBad", "call 1")
    assert answer["requestId"]
    assert 'raise TooBad("call %d" % calls)' in answer["stackTrace"][-1]
    assert bench.call(function, {"fine": True}) == (None, 2), "the execution environment stays warm"


PRINTS = """
def handler(event, context):
    print("first line of " + event["name"], flush=True)
    if event.get("fails"):
        raise RuntimeError("at the end of " + event["name"])
"""


def test_the_log_of_an_invocation_has_all_its_lines(bench):
    function = bench.function(PRINTS)
    group = f"/aws/lambda/{function.rpartition(':')[2]}"
    for index in range(10):
        bench.call(function, {"name": f"call {index}", "fails": index % 2})
        events = bench.clients.logs.filter_log_events(logGroupName=group)["events"]
        log = "\n".join(event["message"] for event in events)
        assert f"first line of call {index}\n" in log
        assert (f"RuntimeError: at the end of call {index}\n" in log) is bool(index % 2)
        assert "end of the invocation's log" not in log


def test_a_filter_pattern_for_json_compares_fields(bench):
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

    assert matched("{ $.video = 1 }") == [0], "a number is not a prefix"
    assert matched('{ $.message = "b" || $.video = 1 }') == [0, 1]
    assert matched('{ $.message = "b" && $.video = 1 }') == []
    assert matched("") == [0, 1, 2, 3]
