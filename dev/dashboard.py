"""The operators' dashboard on a simulated day: ``python -m dev.dashboard`` (`make dashboard`).

It draws docs/dashboard.png from the dashboard's definition in the template, series by series, under the names
that are published. The day comes from the fleet of `simulation` under the functions' own decision: uploads by
day, two courses at once, Spot interruptions all along. From 03:00 Redis is away for 25 minutes, from 14:30
PostgreSQL for 12: those executions fail and are redriven afterwards. At 19:00 a video is given up.
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dev.definition import ROOT, synthesize, widgets
from dev.simulation.fleet import FleetSimulation
from dev.simulation.policies import Reclaim, View
from dev.simulation.traces import DAY_S, HOUR_S, make_trace, schedule

PICTURE = ROOT / "docs" / "dashboard.png"
SEED = 7
REDIS_AWAY_S = (3 * HOUR_S, 3 * HOUR_S + 25 * 60)
POSTGRES_AWAY_S = (14.5 * HOUR_S, 14.5 * HOUR_S + 12 * 60)
REDRIVEN_S = POSTGRES_AWAY_S[1] + 5 * 60
QUARANTINE_S = 19 * HOUR_S
INTERRUPTIONS_A_MINUTE = 0.002
"""Of each busy worker: one in eight hours."""

TYPICAL_MS = {"ListStaleVideos": 60, "Reclaim": 90, "Enqueue": 180, "PublishBacklog": 260}

Key = tuple[str, str, str]
"""Namespace, metric, and what tells its series apart: worker type, function or queue; else ''."""


class Day(FleetSimulation):
    """The simulated fleet; each minute it puts down what would be published of it."""

    def __init__(self) -> None:
        outages_s = (("database", *POSTGRES_AWAY_S),)
        trace = replace(
            make_trace("diurnal with bursts", SEED, 1),
            outages_s=outages_s,
            runs=schedule(DAY_S, outages_s, np.random.default_rng(SEED)),
        )
        self.decider = _Watched(self)
        super().__init__(trace, self.decider, "protected", SEED)
        self.chance = random.Random(SEED)
        self.reclaims = 0
        self.sent_s: dict[int, float] = {}
        self.others = {"AI": 0, "Messaging": 0}
        self.put: dict[Key, list[tuple[float, float]]] = {}

    def _receive(self, job: int) -> None:
        self.sent_s[job] = self.now_s
        super()._receive(job)

    def _reclaim(self, job: int) -> None:
        self.reclaims += 1
        super()._reclaim(job)

    def measure(self, view: View) -> None:
        """Interrupt some busy workers, then publish what this run has measured."""
        for worker in [one for one in self.group.members if one.job is not None]:
            if self.chance.random() < INTERRUPTIONS_A_MINUTE:
                self.group.interrupt(worker)
        self._publish(view)

    def _publish(self, view: View) -> None:
        listed = view.uploaded is not None
        redis = not _within(self.now_s, REDIS_AWAY_S)
        reclaims, self.reclaims = (self.reclaims, 0) if listed else (0, self.reclaims)
        videos = [job for job in self.waiting if job >= 0]  # the others are deletions
        waited_s = self.now_s - min((self.sent_s[job] for job in videos), default=self.now_s)
        decision = self.decider.decision  # of the minute before: this one's is yet to be made
        quarantined = float(QUARANTINE_S <= self.now_s < QUARANTINE_S + 60)
        own = {
            "BacklogCount": view.uploaded + (view.processing or 0) if view.uploaded is not None else None,
            "OldestBacklogAge": waited_s if listed else None,
            "VideosReclaimed": reclaims,
            "VideosEnqueued": reclaims,
            "VideosFailed": 0,
            "VideosQuarantined": quarantined,
            "VideosRefused": 0,
            "MessagesLost": 0,
            "VideosResent": 0,
            "DuplicatesSent": 0,
            "HeartbeatsTrusted": float(redis) if listed else None,
            "DesiredWorkers": decision.desired if decision else None,
            "DecisionHeld": float(decision.held) if decision else None,
            "OverrideUnclear": 0.0,
        }
        self._note("Academy/Workers", {name: value for name, value in own.items() if value is not None})
        for kind in self.others:
            if self.chance.random() < 0.03:
                self.others[kind] = max(0, self.others[kind] + self.chance.choice((-1, -1, 1, 2)))
        depths = {"Video": view.visible or 0, **self.others}
        for kind, depth in depths.items():
            self._note("Academy/Workers", {"QueueDepth": depth}, kind)
        group = {"GroupDesiredCapacity": view.desired, "GroupInServiceInstances": view.in_service}
        self._note("AWS/AutoScaling", group)
        self._run(listed, reclaims)

    def _run(self, listed: bool, reclaims: int) -> None:
        redriven = (POSTGRES_AWAY_S[1] - POSTGRES_AWAY_S[0]) // 60 if 0 <= self.now_s - REDRIVEN_S < 60 else 0
        calls = {
            "ListStaleVideos": 1 if listed else 6,  # three attempts, and three more when all else is done
            "Reclaim": reclaims,
            "Enqueue": reclaims,
            "PublishBacklog": 1,
        }
        for step, n in calls.items():
            failed = n if step == "ListStaleVideos" and not listed else 0
            self._note("AWS/Lambda", {"Errors": failed, "Throttles": 0}, step)
            if n:
                typical_ms = 5_000 if failed else TYPICAL_MS[step]  # the patience for a connection
                self._note("AWS/Lambda", {"Duration": typical_ms * self.chance.lognormvariate(0, 0.25)}, step)
        slowest_ms = 700 + 300 * bool(reclaims) if listed else 40_000
        outcomes = {
            "ExecutionsStarted": 1,
            "ExecutionsSucceeded": int(listed) + redriven,
            "ExecutionsFailed": int(not listed),
            "ExecutionsTimedOut": 0,
            "ExecutionsRedriven": redriven,
            "ExecutionTime": slowest_ms * self.chance.lognormvariate(0, 0.2),
        }
        self._note("AWS/States", outcomes)
        for queue in ("starts", "videos"):
            self._note("AWS/SQS", {"ApproximateNumberOfMessagesVisible": 0}, queue)

    def _note(self, namespace: str, values: Mapping[str, float], which: str = "") -> None:
        for name, value in values.items():
            self.put.setdefault((namespace, name, which), []).append((self.now_s, value))


class _Watched(Reclaim):
    """Our own decision, on a day that is published."""

    def __init__(self, day: Day) -> None:
        super().__init__()
        self.day = day

    def ask(self, view: View) -> int:
        self.day.measure(view)
        return super().ask(view)


def _within(at_s: float, span_s: tuple[float, float]) -> bool:
    return span_s[0] <= at_s < span_s[1]


def draw(graphs: list[dict[str, Any]], put: Mapping[Key, list[tuple[float, float]]]) -> Figure:
    """Draw every graph at its place on the dashboard.

    Raises:
        KeyError: a graph shows what the day does not hold.
    """
    top = min(graph["y"] for graph in graphs)
    rows = 1 + max((graph["y"] - top) // graph["height"] for graph in graphs)
    figure, axes = plt.subplots(rows, 3, figsize=(18, 3.4 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.set_visible(False)
    for graph in graphs:
        axis = axes[(graph["y"] - top) // graph["height"]][graph["x"] // graph["width"]]
        axis.set_visible(True)
        axis.set_title(graph["properties"]["title"], loc="left", fontsize=10)
        for series in graph["properties"]["metrics"]:
            at_s, values = _points(put[key_of(series)], graph["properties"]["period"], series[-1]["stat"])
            label = series[-1].get("label", series[1])
            axis.plot([s / HOUR_S for s in at_s], values, linewidth=0.9, label=label, drawstyle="steps-post")
        axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=3, frameon=False)
        if all(float(value).is_integer() for line in axis.lines for value in line.get_ydata()):
            axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        for line in graph["properties"].get("annotations", {}).get("horizontal", ()):
            _draw_threshold(axis, line)
        axis.set_xlim(0, DAY_S / HOUR_S)
        axis.set_xticks(range(0, 25, 4), [f"{hour:02}:00" for hour in range(0, 25, 4)])
        axis.set_ylim(0, max(1.05, axis.get_ylim()[1]))
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=8)
    figure.suptitle("video-reclaim: the dashboard's own graphs, on a simulated day", fontsize=12)
    return figure


def _draw_threshold(axis: Axes, line: Mapping[str, Any]) -> None:
    """Draw the line of an alarm, its label above it."""
    axis.axhline(line["value"], color=line["color"], linewidth=0.8, linestyle="--")
    axis.annotate(
        line["label"],
        (0.01, line["value"]),
        (0, 1),
        axis.get_yaxis_transform(),
        "offset points",
        va="bottom",
        fontsize=6,
        color=line["color"],
    )
    axis.set_ylim(top=max(axis.get_ylim()[1], 1.2 * line["value"]))


def _points(put: list[tuple[float, float]], period_s: int, stat: str) -> tuple[list[float], list[float]]:
    """Combine the points of each period as CloudWatch does: the average, or the points of a minute as they are."""
    if stat != "Average":
        return [at_s for at_s, _ in put], [value for _, value in put]
    periods: dict[float, list[float]] = {}
    for at_s, value in put:
        periods.setdefault(at_s // period_s * period_s, []).append(value)
    return list(periods), [sum(values) / len(values) for values in periods.values()]


def key_of(series: list[Any]) -> Key:
    """Which of the day's points a series of the dashboard shows."""
    namespace, name, *dimensions, shown = series
    if namespace == "AWS/SQS":
        return namespace, name, shown["label"]
    which = dict(zip(dimensions[::2], dimensions[1::2], strict=True))
    return namespace, name, which.get("WorkerType", which.get("FunctionName", "").rsplit("-", 1)[-1])


def main() -> None:
    """Live the day, and draw it."""
    day = Day()
    day.run()
    figure = draw(widgets(synthesize("existing")), day.put)
    # Without the program's version inside, the same day gives the same file.
    figure.savefig(PICTURE, dpi=90, metadata={"Software": None})
    print(PICTURE)


if __name__ == "__main__":
    main()
