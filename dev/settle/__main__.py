"""Settle on a real account what AWS's documents leave open: ``python -m dev.settle`` (`make settle`).

It makes a few resources whose names begin with `PREFIX`, looks at what AWS does, prints a table and removes them,
also those of an earlier run that was killed. It takes about 12 minutes and costs less than $0.20; with ``--group``
about ten minutes more, for one small instance in the default VPC. It needs credentials that may do this: an account
for experiments. The emulator answers too, where AWS_ENDPOINT_URL says so; what it can't show is told.
"""

import argparse
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from dev.local.signals import run_interruptible
from dev.settle.group import settle_group
from dev.settle.resources import PREFIX, Account, remove

DEFINITION = Path(__file__).parents[2] / "state_machines" / "reclaim_videos.asl.json"
BIG = 2**53 + 1
MANY = [10**18 + n for n in range(10_000)]
UNKNOWN = "not shown here"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    behaviour: str
    expected: str
    seen: str


def bound_definition(account: Account) -> dict[str, Any]:
    """Return the workflow's definition with functions and a group that there are not."""
    function = f"arn:aws:lambda:{account.region}:{account.number}:function:{PREFIX}"
    values = {"AutoScalingGroupName": PREFIX, "MaxConcurrency": "5", "Partition": account.partition}
    text = re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], function), DEFINITION.read_text())
    definition: dict[str, Any] = json.loads(text)
    return definition


def settle_definition(account: Account) -> Iterator[Row]:
    """The definition is valid, and each of its states does with mocks what it is for."""
    states, definition = account.client("stepfunctions"), bound_definition(account)
    found = states.validate_state_machine_definition(definition=json.dumps(definition))
    faults = [one["message"] for one in found["diagnostics"] if one["severity"] == "ERROR"]
    yield Row("ValidateStateMachineDefinition", "OK", "; ".join([found["result"], *faults]))
    for name, given, variables, result, key, wanted in STATES:
        mocked = {"result": json.dumps(result), "fieldValidationMode": "NONE"}
        try:
            answer = states.test_state(
                definition=json.dumps(definition),
                stateName=name,
                input=json.dumps(given),
                variables=json.dumps(RECORD | variables),
                context=json.dumps(CONTEXT),
                **({} if result is None else {"mock": mocked}),
            )
            seen = answer.get(key, f"{answer['status']} {answer.get('error', '')}: {answer.get('cause', '')}")
            seen = "as expected" if _same(seen, wanted) else UNKNOWN if account.is_emulator else str(seen)
        except ClientError as exc:
            seen = UNKNOWN if account.is_emulator else str(exc)
        yield Row(f"TestState {name}: {key}", shortened(wanted), shortened(seen))


def _listed(batches: list[list[int]]) -> dict[str, Any]:
    return {"Payload": {"run": {}, "batches": batches, "confirmAfterS": 0}}


CONTEXT = {"Execution": {"Id": "e", "Input": {}, "StartTime": "2026-01-01T00:00:00Z", "RedriveCount": 0}}
RECORD = {
    "run": {"stale": {}},
    "target": {"needed": False},
    "failed": [],
    "confirmAfterS": 0,
    "notListed": {},
}
PASS = {"results": [], "retried": False}
PUBLISHED = {"Payload": {"run": {}, "setDesiredCapacity": {"needed": False}}}
DONE = {"did": {}, "error": "", "ids": []}
COUNTED = {"results": [{"did": {}, "error": "", "failed": 0}], "retried": False}
TARGET = {"target": {"to": 2, "redrives": 0}}
TIMED_OUT = {"notListed": {"Error": "States.Timeout", "Cause": ""}}
# By state: input, variables, mocked result, what is looked at in the answer, and what it should be.
STATES: list[tuple[str, Any, dict[str, Any], Any, str, Any]] = [
    ("ListStaleVideos", {}, {}, _listed([[BIG]]), "output", [[BIG]]),
    ("ListStaleVideos", {}, {}, _listed([MANY]), "output", [MANY]),
    ("ReclaimVideos", [[BIG]], {}, [DONE], "output", COUNTED),
    ("PublishBacklog", PASS, {}, PUBLISHED, "nextState", "WhatIsLeft"),
    ("WhatIsLeft", {}, {}, None, "nextState", "Report"),
    ("WhatIsLeft", {}, {"failed": [{"videos": MANY}]}, None, "nextState", "RetryFailedVideos"),
    ("SetDesiredCapacity", {}, TARGET, {}, "nextState", "WhatIsLeft"),
    ("RetryFailedVideos", {}, {"failed": [{"videos": [BIG]}]}, [{}], "nextState", "PublishBacklog"),
    ("ConfirmSilence", {}, {"confirmAfterS": 1}, None, "nextState", "ListStaleVideos"),
    ("NotListed", {}, TIMED_OUT, None, "error", "ListStaleVideos.Timeout"),
    ("Report", {}, {}, None, "output", {"stale": {}}),
]


def _same(seen: object, wanted: object) -> bool:
    if seen == wanted:
        return True
    try:
        return isinstance(seen, str) and bool(json.loads(seen) == wanted)
    except ValueError:
        return False


def shortened(value: object) -> str:
    """Return at most 60 characters of a value."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"


def settle_redrive(account: Account) -> Iterator[Row]:
    """What a redrive of a Map does whose second item failed, and what a retry is told of itself."""
    states, ssm = account.client("stepfunctions"), account.client("ssm")
    task = {
        "Type": "Task",
        "Resource": f"arn:{account.partition}:states:::aws-sdk:ssm:getParameter",
        "Arguments": {"Name": f"{{% '/{PREFIX}/' & $string($states.context.State.RetryCount) %}}"},
        "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}],
        "Output": "{% $states.context.Execution.RedriveCount %}",
        "End": True,
    }
    items = {
        "First": {"Type": "Pass", "Next": "IsTheSecond"},
        "IsTheSecond": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $states.input = 2 %}", "Next": "Ask"}],
            "Default": "Done",
        },
        "Ask": task,
        "Done": {"Type": "Pass", "End": True},
    }
    machine = account.machine(
        {
            "Start": {"Type": "Pass", "Assign": {"kept": "before"}, "Next": "Map"},
            "Map": {
                "Type": "Map",
                "Items": [1, 2, 3, 4, 5],
                "MaxConcurrency": 1,
                "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "First", "States": items},
                "Next": "Report",
            },
            "Report": {
                "Type": "Pass",
                "Output": {"kept": "{% $kept %}", "items": "{% $states.input %}"},
                "End": True,
            },
        }
    )
    arn = account.run(machine)["executionArn"]
    ssm.put_parameter(Name=f"/{PREFIX}/0", Value="x", Type="String")
    states.redrive_execution(executionArn=arn)
    shown = account.ended(arn)
    pages = states.get_paginator("get_execution_history").paginate(executionArn=arn)
    events = [event for page in pages for event in page["events"]]
    asked = [
        json.loads(event["taskScheduledEventDetails"]["parameters"])["Name"].rpartition("/")[2]
        for event in events
        if event.get("taskScheduledEventDetails", {}).get("parameters")
    ]
    entered = [event for event in events if event.get("stateEnteredEventDetails", {}).get("name") == "First"]
    output = json.loads(shown.get("output", "{}"))
    yield Row("redrive of a failed item", "SUCCEEDED", shown["status"])
    yield Row("RetryCount of each attempt, then of the redrive's", "0 1 0", " ".join(asked) or UNKNOWN)
    yield Row("variables after a redrive", "before", str(output.get("kept")))
    yield Row(
        "the failed state alone runs again (5), not its iteration (6)",
        "5",
        str(len(entered)) if entered else UNKNOWN,
    )
    yield Row(
        "items that never started run once; RedriveCount is 1", "[1, 1, 3, 4, 5]", str(output.get("items"))
    )


def settle_scaling_error(account: Account) -> Iterator[Row]:
    """Name and cause of the error of a group that there is not."""
    arguments = {"AutoScalingGroupName": f"{PREFIX}absent", "DesiredCapacity": 1}
    task = {
        "Type": "Task",
        "Resource": f"arn:{account.partition}:states:::aws-sdk:autoscaling:setDesiredCapacity",
        "Arguments": arguments,
        "End": True,
    }
    shown = account.run(account.machine({"Set": task}))
    yield Row(
        "SetDesiredCapacity, absent group: error", "AutoScaling.AutoScalingException", str(shown.get("error"))
    )
    yield Row(
        "SetDesiredCapacity, absent group: cause", "names the group", shortened(str(shown.get("cause")))
    )


def settle_metrics_and_schedule(account: Account, minutes: float, puts: int) -> Iterator[Row]:
    """How soon a value can be read back, and where in its minutes a schedule starts: both at once."""
    machine = account.machine({"Done": {"Type": "Pass", "End": True}})
    account.schedule(machine)
    until, took_s = time.monotonic() + 60 * minutes, []
    for n in range(puts):
        took_s.append(account.read_back(float(n + 1)))
        time.sleep(max(0.0, min(until - time.monotonic(), 60 * minutes / puts - took_s[-1])))
    time.sleep(max(0.0, until - time.monotonic()))
    known = sorted(one for one in took_s if one < float("inf"))
    seen = (
        f"{known[len(known) // 2]:.1f} s, {known[-1]:.1f} s, {puts - len(known)} never" if known else "never"
    )
    yield Row(f"put and read back, {puts} times: median, longest", "seconds", seen)
    executions = account.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
    starts = sorted(one["startDate"] for one in executions)
    apart = [f"{(b - a).total_seconds():.0f}" for a, b in itertools.pairwise(starts)]
    seen = (
        f"second {', '.join(f'{at.second}' for at in starts)}; apart {', '.join(apart)} s"
        if starts
        else "no start yet"
    )
    yield Row(f"starts of a schedule in {minutes:g} minutes", "any second, about 60 s apart", seen)


def main() -> int:
    """Settle, print, remove."""
    parser = argparse.ArgumentParser(prog="make settle", description=__doc__)
    parser.add_argument(
        "--group", action="store_true", help="start one small instance with a lifecycle hook too"
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long the schedule is watched")
    parser.add_argument("--puts", type=int, default=20, help="how many values are put and read back")
    given = parser.parse_args()
    account = Account(boto3.Session())
    remove(account)  # of a run that was killed
    parts: list[Callable[[], Iterator[Row]]] = [
        lambda: settle_definition(account),
        lambda: settle_redrive(account),
        lambda: settle_scaling_error(account),
        lambda: settle_metrics_and_schedule(account, given.minutes, given.puts),
        *([lambda: (Row(*row) for row in settle_group(account))] if given.group else []),
    ]
    try:
        print("| behaviour | expected | seen |\n|---|---|---|", flush=True)
        for part in parts:
            try:
                for row in part():
                    print(f"| {row.behaviour} | {row.expected} | {row.seen} |".replace("\n", " "), flush=True)
            except ClientError as exc:
                print(f"| ? | | {exc} |", flush=True)
    finally:
        remove(account)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_interruptible(main))
