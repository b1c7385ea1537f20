"""Settle on a real account what AWS's documents leave open: ``python -m dev.settle`` (`make settle`).

It makes a CloudFormation stack (``stack.yaml``), looks at what AWS does, prints a table and removes the stack, also
that of an earlier run that was killed. It takes about 12 minutes and costs less than $0.20; with ``--group``
about ten minutes more, for one small instance in the default VPC. It needs credentials that may do this: an account
for experiments. The emulator answers too, where AWS_ENDPOINT_URL says so; what it can't show is told.
"""

import argparse
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from dev.local.signals import run_interruptible
from dev.settle.account import GROUP, PARAMETER, PREFIX, Account

DEFINITION = Path(__file__).parents[2] / "state_machines" / "reclaim_videos.asl.json"
BIG = 2**53 + 1
MANY = [10**18 + n for n in range(10_000)]
UNKNOWN = "not shown here"
_LIMIT_S = 600

Rows = Iterator[tuple[str, str, str]]
"""Behaviour, expected and seen."""


def bound_definition(account: Account) -> dict[str, Any]:
    """Return the workflow's definition with functions and a group that there are not."""
    function = f"arn:aws:lambda:{account.region}:{account.number}:function:{PREFIX}"
    values = {"AutoScalingGroupName": PREFIX, "MaxConcurrency": "5", "Partition": account.partition}
    text = re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], function), DEFINITION.read_text())
    definition: dict[str, Any] = json.loads(text)
    return definition


def settle_definition(account: Account) -> Rows:
    """The definition is valid, and each of its states does with mocks what it is for."""
    states, definition = account.client("stepfunctions"), bound_definition(account)
    found = states.validate_state_machine_definition(definition=json.dumps(definition))
    faults = [one["message"] for one in found["diagnostics"] if one["severity"] == "ERROR"]
    yield ("ValidateStateMachineDefinition", "OK", "; ".join([found["result"], *faults]))
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
        except ClientError as exc:
            answer = {"status": str(exc)}
        found = json.loads(answer[key]) if key == "output" and key in answer else answer.get(key)
        seen = (
            "as expected"
            if found == wanted
            else UNKNOWN
            if account.is_emulator
            else str(answer.get(key, answer))
        )
        yield (f"TestState {name}: {key}", _shortened(wanted), _shortened(seen))


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


def _shortened(value: object) -> str:
    """Return at most 60 characters of a value."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"


def settle_redrive(account: Account) -> Rows:
    """What a redrive of a Map does whose second item failed, and what a retry is told of itself."""
    states, ssm = account.client("stepfunctions"), account.client("ssm")
    arn = account.run("redriven")["executionArn"]
    ssm.put_parameter(Name=PARAMETER, Value="x", Type="String")
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
    yield "redrive of a failed item", "SUCCEEDED", shown["status"]
    yield "RetryCount of each attempt, then of the redrive's", "0 1 0", " ".join(asked) or UNKNOWN
    yield "variables after a redrive", "before", str(output.get("kept"))
    yield "the failed state alone runs again (5), not its iteration (6)", "5", str(len(entered) or UNKNOWN)
    yield "items that never started run once; RedriveCount is 1", "[1, 1, 3, 4, 5]", str(output.get("items"))


def settle_scaling_error(account: Account) -> Rows:
    """Name and cause of the error of a group that there is not."""
    shown, what = account.run("absent"), "SetDesiredCapacity, absent group"
    yield f"{what}: error", "AutoScaling.AutoScalingException", str(shown.get("error"))
    yield f"{what}: cause", "names the group", _shortened(str(shown.get("cause")))


def settle_metrics_and_schedule(account: Account, minutes: float, puts: int) -> Rows:
    """How soon a value can be read back, and where in its minutes a schedule starts: both at once."""
    began, until, took_s = datetime.now(UTC), time.monotonic() + 60 * minutes, []
    for n in range(puts):
        took_s.append(account.read_back(float(n + 1)))
        time.sleep(max(0.0, min(until - time.monotonic(), 60 * minutes / puts - took_s[-1])))
    time.sleep(max(0.0, until - time.monotonic()))
    known = sorted(one for one in took_s if one < float("inf"))
    seen = (
        f"{known[len(known) // 2]:.1f} s, {known[-1]:.1f} s, {puts - len(known)} never" if known else "never"
    )
    yield (f"put and read back, {puts} times: median, longest", "seconds", seen)
    scheduled = account.machine("scheduled")
    executions = account.client("stepfunctions").list_executions(stateMachineArn=scheduled)["executions"]
    starts = sorted(one["startDate"] for one in executions if one["startDate"] > began)
    apart = [f"{(b - a).total_seconds():.0f}" for a, b in itertools.pairwise(starts)]
    seen = (
        f"second {', '.join(f'{at.second}' for at in starts)}; apart {', '.join(apart)} s"
        if starts
        else "no start yet"
    )
    yield (f"starts of a schedule in {minutes:g} minutes", "any second, about 60 s apart", seen)


def settle_group(account: Account) -> Rows:
    """How an instance with a termination hook ends, from its start to its event."""
    scaling = account.client("autoscaling")

    def state() -> str:
        return next((one["LifecycleState"] for one in account.instances()), "gone")

    scaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=1)
    _until(lambda: state() == "InService")
    instance = account.instances()[0]["InstanceId"]
    time.sleep(60)  # until it sends messages
    scaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=0)
    waits = _until(lambda: state() if "Wait" in state() else "")
    yield "SetDesiredCapacity runs the hook", "Terminating:Wait", waits
    kept = _until(lambda: state() if state() in ("Terminating:Retained", "gone") else "")
    yield "after 60 s without an answer", "Terminating:Retained", kept
    account.client("ec2").terminate_instances(InstanceIds=[instance])
    ping, event = _last_messages(account)
    late = f"{(event - ping) / 1000:.1f} s" if event and ping else "not seen"
    yield "EC2 Instance Terminate Successful, after the end of its processes", "?", late


def _last_messages(account: Account) -> tuple[int, int]:
    """Return when the last ping and the event were sent, in milliseconds; 0 for never."""
    sqs, ping, event = account.client("sqs"), 0, 0
    url = sqs.get_queue_url(QueueName=f"{PREFIX}events")["QueueUrl"]
    give_up = time.monotonic() + _LIMIT_S
    while time.monotonic() < give_up:
        answer = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=5,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        found = answer.get("Messages", [])
        if event and not found:
            break
        for one in found:
            sent = int(one["Attributes"]["SentTimestamp"])
            if one["Body"] == "ping":
                ping = max(ping, sent)
            else:
                event = sent
            sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    return ping, event


def _until(condition: Callable[[], str | bool]) -> str:
    """Wait for something true, and return it; 'not in ten minutes' else."""
    give_up = time.monotonic() + _LIMIT_S
    while time.monotonic() < give_up:
        if found := condition():
            return str(found)
        time.sleep(1)
    return "not in ten minutes"


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
    account.remove()  # what a run that was killed has made
    try:
        account.make(group=given.group)
        parts = [
            settle_definition(account),
            settle_redrive(account),
            settle_scaling_error(account),
            settle_metrics_and_schedule(account, given.minutes, given.puts),
            *([settle_group(account)] if given.group else []),
        ]
        print("| behaviour | expected | seen |\n|---|---|---|", flush=True)
        for part in parts:
            try:
                for row in part:
                    print(f"| {' | '.join(row)} |".replace("\n", " "), flush=True)
            except ClientError as exc:
                print(f"| ? | | {exc} |", flush=True)
    finally:
        account.remove()
    return 0


if __name__ == "__main__":
    raise SystemExit(run_interruptible(main))
