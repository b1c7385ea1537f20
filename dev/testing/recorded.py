"""What AWS answered: executions recorded on AWS, as small definitions with their outcomes.

The outcomes are those of the snapshots of a public emulator's tests (localstack/localstack, Apache-2.0,
``tests/aws/services/stepfunctions/**/*.snapshot.json``, recorded on AWS), without the causes of errors; the definitions
are written anew. A case has the name of its snapshot.
"""

import json
from dataclasses import dataclass
from typing import Any

RAISES = 'def handler(event, context):\n    raise Exception("Some exception was raised.")\n'
RAISES_ITS_OWN = (
    "class CustomException(Exception): pass\ndef handler(event, context):\n    raise CustomException()\n"
)
ANSWERS_TOO_MUCH = "def handler(event, context):\n    return 'x' * 270_000\n"
SLEEPS = "import time\ndef handler(event, context):\n    time.sleep(1.5)\n"
ECHOES = "def handler(event, context):\n    return event\n"

FAILURE = {"Error": "Exception"}
TOO_MUCH = {"Error": "States.DataLimitExceeded"}
QUERY = "States.QueryEvaluationError"


@dataclass(frozen=True)
class Case:
    """An execution: ``states`` with the input ``given``, and the ``output`` or the ``error``.

    ``FUNCTION`` in a Task stands for the ARN of a function with ``source``.
    """

    states: dict[str, Any]
    given: Any
    output: Any = None
    error: str | None = None
    source: str = ECHOES

    def outcome(self) -> tuple[Any, ...]:
        """Status, output and error, as `seen` returns them."""
        return "FAILED" if self.error else "SUCCEEDED", self.output, self.error


def seen(shown: dict[str, Any]) -> tuple[Any, ...]:
    """Return what an engine answered, from DescribeExecution, in the form of `Case.outcome`."""
    output = json.loads(shown["output"]) if shown["status"] == "SUCCEEDED" else None
    return shown["status"], _without_causes(output), shown.get("error")


def _without_causes(found: Any) -> Any:
    if isinstance(found, list):
        return [_without_causes(one) for one in found]
    if isinstance(found, dict):
        return {key: _without_causes(value) for key, value in found.items() if key != "Cause"}
    return found


def _end(kind: str, **fields: Any) -> dict[str, Any]:
    return {"Type": kind, **fields, "End": True}


def _map(items: Any, item: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    states = item or {"Item": _end("Pass")}
    processor = {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": next(iter(states)), "States": states}
    return _end("Map", Items=items, ItemProcessor=processor, **fields)


def _call(**fields: Any) -> dict[str, Any]:
    call = {"FunctionName": "FUNCTION", "Payload": "{% $states.input %}"}
    ends = {} if "Next" in fields else {"End": True}
    return {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": call, **ends, **fields}


def _caught(names: list[str], **fields: Any) -> list[dict[str, Any]]:
    return [{"ErrorEquals": names, "Next": "Caught", **fields}]


CAUGHT = {"Caught": _end("Pass")}
ALL = ["States.ALL"]
RETRIED = [{"ErrorEquals": ALL, "IntervalSeconds": 1, "MaxAttempts": 2}]
INPUT_AND_ERROR = {"error": {"stateInput": "{% $states.input %}", "stateError": "{% $states.errorOutput %}"}}
ASSIGNED = {"stateError": "{% $states.errorOutput %}"}
DUMMY = {"inputData": "dummy"}
ITEMS = {"items": [1, 2, 3]}
NOTHING = "{% $doesNotExist %}"

CASES: dict[str, Case] = {
    "Fail Error JSONata": Case(
        {"Fail": {"Type": "Fail", "Error": "{% $states.input.error %}"}},
        {"error": "Exception"},
        error="Exception",
    ),
    "Wait Seconds JSONata": Case(
        {"Wait": _end("Wait", Seconds="{% $states.input.waitSeconds %}")},
        {"waitSeconds": 0},
        {"waitSeconds": 0},
    ),
    "Map Items literal empty": Case({"Map": _map("{% [] %}")}, {}, []),
    "Map Items literal singleton": Case({"Map": _map("{% [0] %}")}, {}, [0]),
    "ItemSelector JSONata": Case(
        {
            "Start": {"Type": "Pass", "Assign": {"sample": ["Item1", "Item2"]}, "Next": "Map"},
            "Map": _map(
                "{% $sample %}",
                ItemSelector={
                    "value": "{% $states.context.Map.Item.Value %}",
                    "sample": "{% $sample %}",
                    "text": "text",
                },
            ),
        },
        {},
        [{"value": one, "sample": ["Item1", "Item2"], "text": "text"} for one in ("Item1", "Item2")],
    ),
    "Map MaxConcurrency expr": Case({"Map": _map("{% [1] %}", MaxConcurrency="{% $number('5') %}")}, {}, [1]),
    "$merge of inputs": Case(
        {"Merge": _end("Pass", Output="{% $merge([$states.input.part1, $states.input.part2]) %}")},
        {"part1": {"hello": "world"}, "part2": {"foo": "bar"}},
        {"hello": "world", "foo": "bar"},
    ),
    "Task Catch Output": Case(
        {"Call": _call(Catch=_caught(ALL, Output=INPUT_AND_ERROR)), **CAUGHT},
        DUMMY,
        {"error": {"stateInput": DUMMY, "stateError": FAILURE}},
        source=RAISES,
    ),
    "Task Catch Assign, no Output": Case(
        {
            "Call": _call(Catch=_caught(ALL, Assign=ASSIGNED)),
            "Caught": _end("Pass", Output={"error": "{% $stateError %}", "input": "{% $states.input %}"}),
        },
        DUMMY,
        {"error": FAILURE, "input": FAILURE},
        source=RAISES,
    ),
    "Task Retry then Catch": Case(
        {"Call": _call(Retry=RETRIED, Catch=_caught(ALL, Output=INPUT_AND_ERROR)), **CAUGHT},
        DUMMY,
        {"error": {"stateInput": DUMMY, "stateError": FAILURE}},
        source=RAISES,
    ),
    "Map, Catch inside": Case(
        {
            "Map": _map(
                "{% $states.input.items %}",
                {"Call": _call(Catch=_caught(ALL, Output={"result": INPUT_AND_ERROR["error"]})), **CAUGHT},
            )
        },
        ITEMS,
        [{"result": {"stateInput": one, "stateError": FAILURE}} for one in (1, 2, 3)],
        source=RAISES,
    ),
    "Choice Condition/Assign True": Case(
        {
            "Choice": {
                "Type": "Choice",
                "Choices": [
                    {"Condition": "{% $states.input.condition %}", "Assign": {"to": "here"}, "Next": "Done"}
                ],
                "Default": "Fail",
            },
            "Done": _end("Pass", Output={"to": "{% $to %}"}),
            "Fail": {"Type": "Fail", "Cause": "Condition is false"},
        },
        {"condition": True},
        {"to": "here"},
    ),
    "undefined OUTPUT": Case({"State": _end("Pass", Output=NOTHING)}, {}, error=QUERY),
    "undefined ARGUMENTS_FIELD": Case({"State": _call(Arguments={"FunctionName": NOTHING})}, {}, error=QUERY),
    "States.ALL catches DataLimitExceeded (task result)": Case(
        {"Call": _call(Catch=_caught(ALL)), **CAUGHT}, {}, TOO_MUCH, source=ANSWERS_TOO_MUCH
    ),
    "custom exception name": Case(
        {"Call": _call(Catch=_caught(["CustomException"])), **CAUGHT},
        {},
        {"Error": "CustomException"},
        source=RAISES_ITS_OWN,
    ),
    "Catch States.Timeout": Case(
        {"Call": _call(TimeoutSeconds=1, Catch=_caught(["States.Timeout"])), **CAUGHT},
        {},
        {"Error": "States.Timeout"},
        source=SLEEPS,
    ),
}
