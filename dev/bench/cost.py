"""What the app costs a month: ``python -m dev.bench.cost`` (`make cost`) writes docs/cost.md.

States entered are counted along the state machine's definition, and what else is paid for is read from the
synthesized template. How long functions run is measured on the local stack.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from textwrap import fill
from time import perf_counter
from typing import Any

from dev.bench.definition import ROOT, synthesize, widgets

DOCUMENT = ROOT / "docs" / "cost.md"
DEFINITION = ROOT / "state_machines" / "reclaim_videos.asl.json"

DAYS = 30.4
PRICED = "November 2026, us-east-1, USD"
PRICES = {
    "state transitions": 0.025 / 1_000,
    "Lambda requests": 0.20 / 1_000_000,
    "Lambda GB-seconds (arm64)": 0.0000133334,
    "SQS requests": 0.40 / 1_000_000,
    "Scheduler starts": 1.00 / 1_000_000,
    "custom metrics": 0.30,
    "metrics read back": 0.01 / 1_000,
    "PutMetricData requests": 0.01 / 1_000,
    "alarms": 0.10,
    "dashboards": 3.00,
    "log GB": 0.50,
    "X-Ray traces": 5.00 / 1_000_000,
}
FREE = {"state transitions": 4_000, "Scheduler starts": 14_000_000, "X-Ray traces": 100_000}
"""What an account has free each month, if nothing else in it uses that."""

SLOWER = 1_769 / 512
"""A function of 512 MB has 1/3.5 of a core; measured time is stretched as if all of it were computing."""

LOG_BYTES_A_STATE = 1_200
"""Two events a state, three more for a task, without execution data."""

LOG_BYTES_A_CALL = 1_500
"""The function's own line, and Lambda's three."""

SINGLE_ITEMS, LARGEST_ITEM, ENTRIES_A_CALL = 40, 100, 10


@dataclass(frozen=True)
class Day:
    """A kind of day: how many runs a day find how many stale videos; all other runs find none."""

    name: str
    runs: int
    videos_a_run: int


IDLE = Day("idle", 0, 0)
DAYS_SHOWN = (IDLE, Day("ordinary", 10, 2), Day("stormy", 20, 500))


@dataclass(frozen=True)
class Deployment:
    """What a template says of a deployment.

    Attributes:
        runs_a_day: executions that the schedule starts.
        memory_gb: of each function.
        queues: queues whose depth is asked for.
        fixed: what is paid for by the month whatever happens.
    """

    runs_a_day: int
    memory_gb: float
    queues: int
    fixed: Mapping[str, float]


def transitions(machine: Mapping[str, Any], choices: Mapping[str, list[str]], items: int = 0) -> Counter[str]:
    """Count how often each state of the definition is entered on one way through it.

    Args:
        machine: the definition, or an item processor.
        choices: per Choice, the states that it goes to, one after another.
        items: how many items each Map on the way has.
    """
    left = {name: list(targets) for name, targets in choices.items()}
    entered: Counter[str] = Counter()
    name = machine["StartAt"]
    while True:
        entered[name] += 1
        state = machine["States"][name]
        if state["Type"] == "Map":
            inside = transitions(state["ItemProcessor"], choices)
            entered.update({inner: n * items for inner, n in inside.items()})
        if state.get("End"):
            return entered
        if state["Type"] == "Choice":
            name = left[name].pop(0)
            assert name in {state["Default"], *(choice["Next"] for choice in state["Choices"])}
        else:
            name = state["Next"]


def batched(videos: int) -> tuple[int, int]:
    """How many items a run makes of its stale videos, and how many videos are in each."""
    size = min(LARGEST_ITEM, ceil(videos / SINGLE_ITEMS))
    return (ceil(videos / size), size) if videos else (0, 0)


def run_of(machine: Mapping[str, Any], videos: int) -> Counter[str]:
    """The states that a run enters which finds this many stale videos and, finding any, sizes the fleet."""
    if not videos:
        return transitions(machine, {"AnyStale": ["PublishBacklog"], "WhatIsLeft": ["Report"]})
    items, _ = batched(videos)
    ways = {
        "AnyStale": ["ReclaimVideos"],
        "AnyReclaimed": ["Enqueue"],
        "WhatIsLeft": ["SetDesiredCapacity", "Report"],
    }
    return transitions(machine, ways, items)


def used(
    deployment: Deployment, machine: Mapping[str, Any], durations_s: Mapping[str, float], videos: int
) -> dict[str, float]:
    """What one run uses, by what is paid for."""
    entered = run_of(machine, videos)
    calls = {step: entered[step] for step in durations_s}
    items, size = batched(videos)
    sent = items * ceil(size / ENTRIES_A_CALL)
    gb_s = sum(n * durations_s[step] * SLOWER * deployment.memory_gb for step, n in calls.items())
    log_bytes = entered.total() * LOG_BYTES_A_STATE + sum(calls.values()) * LOG_BYTES_A_CALL
    return {
        "state transitions": entered.total(),
        "Lambda requests": sum(calls.values()),
        "Lambda GB-seconds (arm64)": gb_s,
        "SQS requests": deployment.queues + sent,
        "Scheduler starts": 1,
        "metrics read back": 2,
        "PutMetricData requests": 2,
        "log GB": log_bytes / 1e9,
        "X-Ray traces": 1,
    }


def monthly(
    deployment: Deployment, machine: Mapping[str, Any], durations_s: Mapping[str, float], day: Day
) -> dict[str, tuple[float, float]]:
    """By what is paid for: how much of it in a month of such days, and what that costs."""
    amounts = dict.fromkeys(PRICES, 0.0) | dict(deployment.fixed)
    for runs, videos in ((deployment.runs_a_day - day.runs, 0), (day.runs, day.videos_a_run)):
        for name, amount in used(deployment, machine, durations_s, videos).items():
            amounts[name] += amount * runs * DAYS
    return {
        name: (amounts[name], max(0.0, amounts[name] - FREE.get(name, 0)) * price)
        for name, price in PRICES.items()
    }


def deployed(stage: str = "existing") -> tuple[Deployment, Mapping[str, Any]]:
    """Synthesize a stage; return what its template says, and the state machine's definition."""
    template = synthesize(stage)
    resources: dict[str, Any] = template["Resources"]
    kinds = Counter(one["Type"] for one in resources.values())
    functions = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::Lambda::Function"]
    (schedule,) = (one["Properties"] for one in resources.values() if one["Type"].endswith("::Schedule"))
    variables = next(
        one["Environment"]["Variables"]
        for one in functions
        if "METRIC_NAMESPACE" in one["Environment"]["Variables"]
    )
    shown = {
        tuple(map(str, series[:-1]))
        for graph in widgets(template)
        for series in graph["properties"]["metrics"]
    }
    own = {series for series in shown if series[0] == variables["METRIC_NAMESPACE"]}
    fixed = {
        "custom metrics": float(len(own)),
        "alarms": float(kinds["AWS::CloudWatch::Alarm"]),
        "dashboards": float(kinds["AWS::CloudWatch::Dashboard"]),
    }
    deployment = Deployment(
        runs_a_day=24 * 60 // int(schedule["ScheduleExpression"].split("(")[1].split()[0]),
        memory_gb=max(one["MemorySize"] for one in functions) / 1024,
        queues=json.dumps(variables["QUEUE_URLS"]).count("https://"),
        fixed=fixed,
    )
    return deployment, json.loads(DEFINITION.read_text())


def measure(repeats: int = 7) -> dict[str, float]:
    """Time each function's warm call on the local stack, in seconds: 100 stale videos, in one batch."""
    import psycopg2

    from dev.local.launch import running

    with tempfile.TemporaryDirectory() as home, running(Path(home)) as started:
        stack = started.stack
        times: dict[str, list[float]] = {step: [] for step in stack.functions}

        def call(step: str, payload: Mapping[str, Any]) -> dict[str, Any]:
            began_s = perf_counter()
            answer = stack.clients.functions.invoke(
                FunctionName=stack.functions[step], Payload=json.dumps(payload)
            )
            times[step].append(perf_counter() - began_s)
            given: dict[str, Any] = json.loads(answer["Payload"].read())
            return given

        with closing(psycopg2.connect(stack.postgres_dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(_STUCK)
            for turn in range(repeats + 1):  # the first is cold
                cursor.execute(_STUCK_AGAIN)
                listed = call("ListStaleVideos", {})
                execution = f"{stack.state_machine_arn.replace('stateMachine', 'execution')}:cost-{turn}"
                videos = [video for batch in listed["batches"] for video in batch]
                taken = call("Reclaim", {"videos": videos, "execution": execution, "insist": True})
                call("Enqueue", {**taken, "insist": True})
                call("PublishBacklog", {"run": listed["run"], "results": [], "retried": False})
    return {step: median(of_step[1:]) for step, of_step in times.items()}


_STUCK = """
INSERT INTO core_tenant (id, code) VALUES (1, 'cost');
INSERT INTO lectures_lecture (id, tenant_id) VALUES (1, 1);
INSERT INTO lectures_session (id, lecture_id) VALUES (1, 1);
INSERT INTO video_video (session_id, file_key, status, leased_by, created_at, updated_at)
SELECT 1, 'cost.mp4', 'PROCESSING', '', now(), now() FROM generate_series(1, 100);
"""

_STUCK_AGAIN = """
UPDATE video_video SET status = 'PROCESSING', leased_by = 'w', leased_until = now() - interval '1 minute',
processing_started_at = now() - interval '1 hour'
"""


def report(deployment: Deployment, machine: Mapping[str, Any], durations_s: Mapping[str, float]) -> str:
    """The document."""
    days = {day: monthly(deployment, machine, durations_s, day) for day in DAYS_SHOWN}
    kinds = "; ".join(
        f"*{day.name}*: {day.runs} runs a day find {day.videos_a_run} stale videos each"
        for day in DAYS_SHOWN
        if day.runs
    )
    together, naive = for_a_thousand(deployment, machine, durations_s)
    endpoints = 5 * 2 * 0.01 * 24 * DAYS
    measured = "; ".join(f"{step} {1_000 * seconds:.0f} ms" for step, seconds in durations_s.items())
    parts = [
        "# What it costs",
        "Written by `make cost` (`python -m dev.bench.cost`) from the state machine's definition, "
        "the template "
        "of the stage `existing`, and durations measured on the local stack. "
        f"Prices: {PRICED}; check them for your region. "
        f"One run every {24 * 60 // deployment.runs_a_day} min, {DAYS} days.",
        _table(days),
        f"{kinds}. All other runs, and those of *idle* days, find none.",
        f"- An idle run enters {run_of(machine, 0).total()} states; one that puts 1,000 videos back "
        f"{run_of(machine, 1_000).total()}.",
        f"- 1,000 videos put back in one run cost ${together:.4f}; one Lambda call a video and step, "
        f"the naive way, ${naive:.4f}: {naive / together:.0f} times as much.",
        "- Taken off: the free tier of Step Functions (4,000 transitions), Scheduler (14 million starts) "
        "and X-Ray (100,000 traces), as if nothing else in the account used it. Not taken off: those of "
        "Lambda, SQS and CloudWatch, which the platform most likely uses up itself.",
        "- Not in it: what exists anyway (workers, database, Redis, NAT, the platform's own queues and "
        "secrets). A VPC without NAT needs interface endpoints ([deploying](deploying.md)), at about $0.01 "
        f"per zone-hour: five of them in two zones are ${endpoints:.0f} a month, far more than all of the "
        "above.",
        "- `QueueDepth` was published before this project; its metrics are counted all the same. "
        "`schedule.rateMinutes: 2` halves whatever is paid by the run, and notices everything up to a minute "
        "later.",
        f"Measured, median of warm calls with 100 videos: {measured}. A function of 512 MB has a share of "
        f"a core, so each is counted {SLOWER:.1f} times. Logs are estimated: {LOG_BYTES_A_STATE:,} bytes a "
        f"state without execution data, {LOG_BYTES_A_CALL:,} bytes a call.",
    ]
    text = "\n\n".join(part if part.startswith(("#", "|")) else _wrapped(part) for part in parts)
    return text.replace("\n\n- ", "\n- ").replace("none.\n- ", "none.\n\n- ") + "\n"


def for_a_thousand(
    deployment: Deployment, machine: Mapping[str, Any], durations_s: Mapping[str, float]
) -> tuple[float, float]:
    """What 1,000 videos add to a run, in dollars: in batches, and with a call for each video and step."""
    idle, busy = (used(deployment, machine, durations_s, videos) for videos in (0, 1_000))
    together = sum((busy[name] - idle[name]) * PRICES[name] for name in busy)
    gb_s = 2 * durations_s["Reclaim"] * SLOWER * deployment.memory_gb
    naive = 3 * PRICES["state transitions"] + 2 * PRICES["Lambda requests"] + PRICES["SQS requests"]
    return together, 1_000 * (naive + gb_s * PRICES["Lambda GB-seconds (arm64)"])


def _table(days: Mapping[Day, Mapping[str, tuple[float, float]]]) -> str:
    lines = [
        "| a month of | amount, idle | " + " | ".join(f"{day.name}, $" for day in days) + " |",
        "|---|--:|" + "--:|" * len(days),
    ]
    for name in PRICES:
        amount = days[IDLE][name][0]
        costs = " | ".join(f"{of_day[name][1]:.2f}" for of_day in days.values())
        lines.append(f"| {name} | {amount:,.{0 if amount >= 1 else 2}f} | {costs} |")
    totals = " | ".join(f"**{sum(cost for _, cost in of_day.values()):.2f}**" for of_day in days.values())
    return "\n".join([*lines, f"| **all** | | {totals} |"])


def _wrapped(text: str) -> str:
    return fill(text, 118, subsequent_indent="  " if text.startswith("- ") else "", break_on_hyphens=False)


def main() -> None:
    """Measure, count, write the document, and print it."""
    durations_s = measure()
    deployment, machine = deployed()
    text = report(deployment, machine, durations_s)
    DOCUMENT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
