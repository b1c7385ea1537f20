"""What the app costs a month: counted along the workflow's states and the synthesized template.

``python -m dev.cost`` (`make cost`) writes docs/cost.md. It measures nothing: the durations of the functions are
those of the stored benchmark run, so the same checkout gives the same document.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from dev.bench import report
from dev.local import ROOT
from video_reclaim.metrics import METRICS
from video_reclaim.rules.batching import MAX_BATCH_SIZE, batches

DOCUMENT = ROOT / "docs" / "cost.md"

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

SLOWER = 1_769 / 512
"""A function of 512 MB has 1/3.5 of a core; measured time is multiplied as if all of it were computing."""

LOG_BYTES_A_STATE = 1_200
"""Two events a state, three more for a task, without execution data."""

LOG_BYTES_A_CALL = 1_500
"""The function's own lines, and Lambda's three."""

LOG_BYTES_A_VIDEO = 1_350
"""Three lines about a silent video that is put back, measured: "suspect" 510, "reclaimed" 520, "enqueued" 320."""

METRICS_OF_A_BUSY_RUN = 2
"""VideosReclaimed and VideosEnqueued: sums are published only when they are not 0."""

ENTRIES_A_CALL = 10

IDLE_ROUTE = ("ListStaleVideos", "ReclaimVideos", "PublishBacklog", "WhatIsLeft", "Report")
_LOOK = ("ListStaleVideos", "ReclaimVideos", "PublishBacklog", "WhatIsLeft")
BUSY_ROUTE = (*_LOOK, "ConfirmSilence", *_LOOK, "SetDesiredCapacity", "WhatIsLeft", "Report")
"""The states of a run that finds silent videos: it looks twice, reclaims at the second look, and sizes the group."""

ITEM_STATES = ("Reclaim", "Enqueue")


@dataclass(frozen=True)
class Day:
    """A kind of day: how many runs find how many stale videos each; all other runs find none."""

    name: str
    runs: int
    videos_a_run: int


IDLE = Day("idle", 0, 0)
DAYS_SHOWN = (IDLE, Day("ordinary", 10, 2), Day("stormy", 20, 500))


@dataclass(frozen=True)
class Footprint:
    """What a stage and its template say of what will be paid for."""

    runs_a_day: int  # executions that the schedule starts
    memory_gb: float  # of each function
    queues: int  # number of queues whose depth is read
    fixed: Mapping[
        str, float
    ]  # paid by the month whatever happens; of the metrics, those that every run publishes


def entered(videos: int) -> Counter[str]:
    """Count how often a run that puts this many silent videos back enters each state."""
    items = dict.fromkeys(ITEM_STATES, len(batches(range(videos))))
    return Counter(BUSY_ROUTE if videos else IDLE_ROUTE) + Counter(items)


def used(footprint: Footprint, durations_s: Mapping[str, float], videos: int) -> dict[str, float]:
    """Return what one run uses, by what is paid for."""
    states = entered(videos)
    calls = {step: states[step] for step in durations_s}
    published = calls["PublishBacklog"]
    sent = sum(ceil(len(batch) / ENTRIES_A_CALL) for batch in batches(range(videos)))
    gb_s = sum(n * durations_s[step] * SLOWER * footprint.memory_gb for step, n in calls.items())
    log_bytes = states.total() * LOG_BYTES_A_STATE + sum(calls.values()) * LOG_BYTES_A_CALL
    return {
        "state transitions": states.total(),
        "Lambda requests": sum(calls.values()),
        "Lambda GB-seconds (arm64)": gb_s,
        "SQS requests": footprint.queues * published + sent,
        "Scheduler starts": 1,
        "metrics read back": published,
        "PutMetricData requests": 2 * published,
        "log GB": (log_bytes + videos * LOG_BYTES_A_VIDEO) / 1e9,
        "X-Ray traces": 1,
    }


def monthly(
    footprint: Footprint, durations_s: Mapping[str, float], day: Day
) -> dict[str, tuple[float, float]]:
    """Return, by what is paid for, how much of it a month of such days uses, and what that costs."""
    amounts = dict.fromkeys(PRICES, 0.0) | dict(footprint.fixed)
    if day.videos_a_run:
        # CloudWatch charges a metric for the hours in which it is published. At most one such run an hour counts.
        amounts["custom metrics"] += METRICS_OF_A_BUSY_RUN * min(24, day.runs) / 24
    for runs, videos in ((footprint.runs_a_day - day.runs, 0), (day.runs, day.videos_a_run)):
        for name, amount in used(footprint, durations_s, videos).items():
            amounts[name] += amount * runs * DAYS
    return {
        name: (amounts[name], max(0.0, amounts[name] - FREE.get(name, 0)) * price)
        for name, price in PRICES.items()
    }


def read_footprint(name: str = "existing") -> Footprint:
    """Synthesize a stage in this process, offline; return what it and its template say."""
    import aws_cdk

    from cdk.stack import VideoReclaimStack
    from cdk.stage import load, stages_in

    stage = load(stages_in(), name)
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = aws_cdk.App(context=context, builtin_cloud_formation_validation=False)
    VideoReclaimStack(app, name=name, stage=stage)
    template = json.loads(Path(app.synth().stacks[0].template_full_path).read_text())
    resources: list[dict[str, Any]] = list(template["Resources"].values())
    kinds = Counter(one["Type"] for one in resources)
    published = [metric for metric in METRICS.values() if metric.statistic != "Sum"]
    depths = {"Video": [stage.queues.video], **stage.queues.others}
    return Footprint(
        runs_a_day=24 * 60 // stage.schedule.rate_minutes,
        memory_gb=max(one["Properties"].get("MemorySize", 0) for one in resources) / 1024,
        queues=sum(map(len, depths.values())),
        fixed={
            "custom metrics": float(sum(len(depths) if one.dimension else 1 for one in published)),
            "alarms": float(kinds["AWS::CloudWatch::Alarm"]),
            "dashboards": float(kinds["AWS::CloudWatch::Dashboard"]),
        },
    )


def document(footprint: Footprint, durations_s: Mapping[str, float]) -> str:
    """Return the tables of docs/cost.md as Markdown."""
    days = {day: monthly(footprint, durations_s, day) for day in DAYS_SHOWN}
    heads = ("a month of", "amount, idle", *(f"{day.name}, $" for day in days))
    rows = [
        (
            name,
            f"{amount:,.{0 if amount >= 1 or not amount else 2}f}",
            *(f"{of[name][1]:.2f}" for of in days.values()),
        )
        for name, (amount, _) in days[IDLE].items()
    ]
    totals = (f"**{sum(usd for _, usd in of_day.values()):.2f}**" for of_day in days.values())
    endpoints_usd = 5 * 2 * ENDPOINT_HOUR * 24 * DAYS
    facts = {
        "one run every": f"{24 * 60 // footprint.runs_a_day} min, {DAYS} days a month",
        "prices": PRICED,
        **{
            f"*{day.name}* days": f"{day.runs} runs find {day.videos_a_run} silent videos each"
            for day in days
            if day.runs
        },
        "states entered by a run": f"{entered(0).total()}, and {entered(1_000).total()} if it puts 1,000 videos back",
        f"warm calls with {MAX_BATCH_SIZE} videos, medians on the local stack": ", ".join(
            f"{step} {1_000 * seconds:.0f} ms" for step, seconds in durations_s.items()
        ),
        "factor for the share of a core of a function with 512 MB": f"{SLOWER:.1f}",
        "interface endpoints of a VPC without NAT, five in two zones": f"${endpoints_usd:.0f} a month",
        "logs, estimated": f"{LOG_BYTES_A_STATE:,} bytes per state, {LOG_BYTES_A_CALL:,} per call, "
        f"{LOG_BYTES_A_VIDEO:,} per video put back",
    }
    tables = report.table(heads, [*rows, ("**all**", "", *totals)]), report.table(("", ""), facts.items())
    return "\n\n".join(tables)


def main() -> None:
    """Count, write the document, and print its tables."""
    text = document(read_footprint(), report.load()["cost"].facts)
    report.write(DOCUMENT, {"cost": text})
    print(text)


if __name__ == "__main__":
    main()
