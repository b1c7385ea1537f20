"""What the app costs a month: counted along the state machine's definition and the synthesized template.

``python -m dev.cost`` (`make cost`) writes docs/cost.md. It measures nothing: the durations of the functions are
those of the stored benchmark run, so the same checkout gives the same document.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from dev.bench import compare, report
from dev.definition import ROOT, synthesize, widgets
from video_reclaim.metrics import METRICS

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
ENDPOINT_HOUR = 0.01
FREE = {"state transitions": 4_000, "Scheduler starts": 14_000_000, "X-Ray traces": 100_000}
"""What an account has free each month, if nothing else in it uses that."""

FORMER_ALARMS = 8
"""Number of alarms of version 0.1.0. The cost of those added since is listed apart."""

SLOWER = 1_769 / 512
"""A function of 512 MB has 1/3.5 of a core; measured time is multiplied as if all of it were computing."""

LOG_BYTES_A_STATE = 1_200
"""Two events a state, three more for a task, without execution data."""

LOG_BYTES_A_CALL = 1_500
"""The function's own lines, and Lambda's three."""

LOG_BYTES_A_VIDEO = 1_350
"""Three lines about a silent video that is put back, bytes: "first miss" 510, "reclaimed" 520, "enqueued" 320.

One whose lease has expired has no "first miss". A test compares this with the lines that the functions write.
"""

METRICS_OF_A_BUSY_RUN = 2
"""VideosReclaimed and VideosEnqueued: sums are published only when they are not 0."""

SINGLE_ITEMS, LARGEST_ITEM, ENTRIES_A_CALL = 40, 150, 10


@dataclass(frozen=True)
class Day:
    """A kind of day: how many runs find how many stale videos each; all other runs find none."""

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
        queues: number of queues whose depth is read.
        fixed: amounts that are paid by the month whatever happens; of the metrics, those that every run publishes.
    """

    runs_a_day: int
    memory_gb: float
    queues: int
    fixed: Mapping[str, float]


def transitions(
    machine: Mapping[str, Any], choices: Mapping[str, list[str]], items: Mapping[str, list[int]]
) -> Counter[str]:
    """Count how often each state of the definition is entered on one way through it.

    Args:
        machine: the definition, or an item processor.
        choices: per Choice, the states that it goes to, one after another.
        items: per Map, the number of items, one visit after another; absent for none.
    """
    targets = {name: list(states) for name, states in choices.items()}
    counts = {name: list(visits) for name, visits in items.items()}
    entered: Counter[str] = Counter()
    name = machine["StartAt"]
    while True:
        entered[name] += 1
        state = machine["States"][name]
        if state["Type"] == "Map" and (count := counts[name].pop(0) if counts.get(name) else 0):
            inside = transitions(state["ItemProcessor"], choices, {})
            entered.update({inner: n * count for inner, n in inside.items()})
        if state.get("End"):
            return entered
        if state["Type"] == "Choice":
            name = targets[name].pop(0)
            assert name in {state["Default"], *(choice["Next"] for choice in state["Choices"])}
        else:
            name = state["Next"]


def batched(videos: int) -> tuple[int, int]:
    """Return how many items a run makes of its stale videos, and how many videos each has at most."""
    size = min(LARGEST_ITEM, ceil(videos / SINGLE_ITEMS))
    return (ceil(videos / size), size) if videos else (0, 0)


def run_of(machine: Mapping[str, Any], videos: int) -> Counter[str]:
    """Return the states that a run enters.

    One that finds silent videos looks twice, reclaims at the second look, and then sizes the fleet.
    """
    if not videos:
        return transitions(machine, {"WhatIsLeft": ["Report"]}, {})
    items, _ = batched(videos)
    ways = {"WhatIsLeft": ["ConfirmSilence", "SetDesiredCapacity", "Report"]}
    return transitions(machine, ways, {"ReclaimVideos": [0, items]})


def used(
    deployment: Deployment, machine: Mapping[str, Any], durations_s: Mapping[str, float], videos: int
) -> dict[str, float]:
    """Return what one run uses, by what is paid for."""
    entered = run_of(machine, videos)
    calls = {step: entered[step] for step in durations_s}
    published = calls["PublishBacklog"]
    items, size = batched(videos)
    gb_s = sum(n * durations_s[step] * SLOWER * deployment.memory_gb for step, n in calls.items())
    log_bytes = entered.total() * LOG_BYTES_A_STATE + sum(calls.values()) * LOG_BYTES_A_CALL
    return {
        "state transitions": entered.total(),
        "Lambda requests": sum(calls.values()),
        "Lambda GB-seconds (arm64)": gb_s,
        "SQS requests": deployment.queues * published + items * ceil(size / ENTRIES_A_CALL),
        "Scheduler starts": 1,
        "metrics read back": published,
        "PutMetricData requests": 2 * published,
        "log GB": (log_bytes + videos * LOG_BYTES_A_VIDEO) / 1e9,
        "X-Ray traces": 1,
    }


def monthly(
    deployment: Deployment, machine: Mapping[str, Any], durations_s: Mapping[str, float], day: Day
) -> dict[str, tuple[float, float]]:
    """Return, by what is paid for, how much of it a month of such days uses, and what that costs."""
    amounts = dict.fromkeys(PRICES, 0.0) | dict(deployment.fixed)
    if day.videos_a_run:
        # CloudWatch charges a metric for the hours in which it is published. At most one such run an hour counts.
        amounts["custom metrics"] += METRICS_OF_A_BUSY_RUN * min(24, day.runs) / 24
    for runs, videos in ((deployment.runs_a_day - day.runs, 0), (day.runs, day.videos_a_run)):
        for name, amount in used(deployment, machine, durations_s, videos).items():
            amounts[name] += amount * runs * DAYS
    paid = {
        name: (amounts[name], max(0.0, amounts[name] - FREE.get(name, 0)) * price)
        for name, price in PRICES.items()
    }
    former = min(amounts["alarms"], FORMER_ALARMS)
    later = amounts["alarms"] - former
    paid["alarms"] = former, former * PRICES["alarms"]
    return paid | {LATER_ALARMS: (later, later * PRICES["alarms"])}


LATER_ALARMS = "alarms added since version 0.1.0"


def for_a_thousand(
    deployment: Deployment, machine: Mapping[str, Any], durations_s: Mapping[str, float]
) -> tuple[float, float]:
    """Return what 1,000 videos add to a run, in dollars: in batches, and with a call per video and step."""
    idle, busy = (used(deployment, machine, durations_s, videos) for videos in (0, 1_000))
    together = sum((busy[name] - idle[name]) * PRICES[name] for name in busy)
    gb_s = 2 * durations_s["Reclaim"] * SLOWER * deployment.memory_gb
    naive = 3 * PRICES["state transitions"] + 2 * PRICES["Lambda requests"] + PRICES["SQS requests"]
    return together, 1_000 * (naive + gb_s * PRICES["Lambda GB-seconds (arm64)"])


def read_deployment(stage: str = "existing") -> tuple[Deployment, Mapping[str, Any]]:
    """Synthesize a stage; return what its template says, and the state machine's definition."""
    template = synthesize(stage)
    resources: dict[str, Any] = template["Resources"]
    kinds = Counter(one["Type"] for one in resources.values())
    functions = [one["Properties"] for one in resources.values() if one["Type"] == "AWS::Lambda::Function"]
    (schedule,) = (one["Properties"] for one in resources.values() if one["Type"].endswith("::Schedule"))
    variables: dict[str, Any] = {}
    for function in functions:
        variables |= function.get("Environment", {}).get("Variables", {})
    shown = {
        tuple(map(str, series[:-1]))
        for graph in widgets(template)
        for series in graph["properties"].get("metrics", ())
    }
    ours = [series for series in shown if series[0] == variables["METRICS_NAMESPACE"]]
    fixed = {
        "custom metrics": float(sum(METRICS[series[1]].statistic != "Sum" for series in ours)),
        "alarms": float(kinds["AWS::CloudWatch::Alarm"]),
        "dashboards": float(kinds["AWS::CloudWatch::Dashboard"]),
    }
    deployment = Deployment(
        runs_a_day=24 * 60 // int(schedule["ScheduleExpression"].split("(")[1].split()[0]),
        memory_gb=max(one["MemorySize"] for one in functions) / 1024,
        queues=json.dumps(variables["QUEUES_URLS"]).count("https://"),
        fixed=fixed,
    )
    return deployment, json.loads(DEFINITION.read_text())


def document(deployment: Deployment, machine: Mapping[str, Any], durations_s: Mapping[str, float]) -> str:
    """Return the tables of docs/cost.md as Markdown."""
    days = {day: monthly(deployment, machine, durations_s, day) for day in DAYS_SHOWN}
    heads = ("a month of", "amount, idle", *(f"{day.name}, $" for day in days))
    lines = [f"| {' | '.join(heads)} |", "|---|" + "--:|" * (len(heads) - 1)]
    for name, (amount, _) in days[IDLE].items():
        costs = " | ".join(f"{of_day[name][1]:.2f}" for of_day in days.values())
        lines.append(f"| {name} | {amount:,.{0 if amount >= 1 or not amount else 2}f} | {costs} |")
    totals = " | ".join(f"**{sum(cost for _, cost in of_day.values()):.2f}**" for of_day in days.values())
    together, naive = for_a_thousand(deployment, machine, durations_s)
    endpoints = 5 * 2 * ENDPOINT_HOUR * 24 * DAYS
    measured = ", ".join(f"{step} {1_000 * seconds:.0f} ms" for step, seconds in durations_s.items())
    facts = {
        "one run every": f"{24 * 60 // deployment.runs_a_day} min, {DAYS} days a month",
        "prices": PRICED,
        **{
            f"*{day.name}* days": f"{day.runs} runs find {day.videos_a_run} silent videos each"
            for day in days
            if day.runs
        },
        "states entered by an idle run": f"{run_of(machine, 0).total()}",
        "states entered by a run that puts 1,000 silent videos back": f"{run_of(machine, 1_000).total()}",
        "1,000 videos put back in one run": f"${together:.4f}",
        "the same with one Lambda call per video and step": f"${naive:.4f}, {naive / together:.0f} times as much",
        f"warm calls with {LARGEST_ITEM} videos, medians on the local stack": measured,
        "factor for the share of a core of a function with 512 MB": f"{SLOWER:.1f}",
        "interface endpoints of a VPC without NAT, five in two zones": f"${endpoints:.0f} a month",
        "logs, estimated": f"{LOG_BYTES_A_STATE:,} bytes per state, {LOG_BYTES_A_CALL:,} per call, "
        f"{LOG_BYTES_A_VIDEO:,} per video put back",
    }
    rows = [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join([*lines, f"| **all** | | {totals} |", "", "| | |", "|---|---|", *rows])


def main() -> None:
    """Count, write the document, and print its tables."""
    text = document(*read_deployment(), report.load(compare.BASELINE).sections["cost"].facts)
    report.write(DOCUMENT, {"cost": text})
    print(text)


if __name__ == "__main__":
    main()
