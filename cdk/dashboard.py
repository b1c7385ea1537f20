"""The dashboard: alarms, current values, the fleet and its decisions, the videos, and the executions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from .alarms import Alarm, Watched
from .metrics import METRICS
from .queries import DECISIONS
from .stage import Stage

Series = list[Any]
"""CloudWatch's own form: namespace, metric, dimension names and values, and how it is drawn."""
Widget = dict[str, Any]

_WIDTH, _HEIGHT, _PER_ROW = 8, 6, 3
_TOP = 5
"""Height of the widgets above the graphs."""
_ALARM_COLOR = "#d62728"


@dataclass(frozen=True)
class Graph:
    """Series over time.

    Attributes:
        title: with the unit where the values are not counts.
        series: what is drawn.
        period_s: time that one point stands for.
    """

    title: str
    series: list[Series]
    period_s: int = 60


class OperatorDashboard(Construct):
    """One page: the state now in the first row, then graphs of the last 6 hours, then the latest decisions."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        prefix: str,
        stage: Stage,
        watched: Watched,
        functions: Mapping[str, str],
        alarms: Mapping[str, cloudwatch.CfnAlarm],
        thresholds: Sequence[Alarm],
        decisions_log: str,
    ) -> None:
        super().__init__(scope, id_)
        stack = Stack.of(self)
        graphs = [*_fleet(stage, watched.dimensions), *_videos(stage, watched), *_runs(watched, functions)]
        bottom = _TOP + -(-len(graphs) // _PER_ROW) * _HEIGHT
        widgets = [
            _alarm_states(alarms),
            _current_values(stage, watched, stack.region),
            *(_widget(graph, thresholds, stack.region, n) for n, graph in enumerate(graphs)),
            _latest_decisions(decisions_log, stack.region, y=bottom),
        ]
        body = {"start": "-PT6H", "periodOverride": "inherit", "widgets": widgets}
        self.dashboard = cloudwatch.CfnDashboard(
            self, "Dashboard", dashboard_name=prefix, dashboard_body=stack.to_json_string(body)
        )


def _fleet(stage: Stage, dimensions: Mapping[str, str]) -> list[Graph]:
    group = {"AutoScalingGroupName": stage.workers.group_name}
    return [
        Graph(
            "Backlog: videos",
            [
                _own(stage, "BacklogCount", dimensions),
                _own(stage, "QueueDepth", {"WorkerType": "Video"}, label="visible in SQS"),
            ],
        ),
        Graph("Longest wait: seconds", [_own(stage, "OldestBacklogAge", dimensions)]),
        Graph(
            "Workers",
            [
                _own(stage, "DesiredWorkers", dimensions, label="decided"),
                _series("AWS/AutoScaling", "GroupDesiredCapacity", group, label="desired capacity"),
                _series("AWS/AutoScaling", "GroupInServiceInstances", group, label="in service"),
            ],
        ),
    ]


def _videos(stage: Stage, watched: Watched) -> list[Graph]:
    outcomes = [name for name in METRICS if name.startswith("Videos") or name == "DuplicatesSent"]
    # The metric is 0 or 1 each round; a share of a longer period is readable.
    held = _own(stage, "DecisionHeld", watched.dimensions, stat="Average", label="share of decisions")
    return [
        Graph("Outcomes: videos", [_own(stage, name, watched.dimensions) for name in outcomes]),
        Graph("Decisions held: share of 15 minutes", [held], period_s=900),
        Graph(
            "Waiting beside idle workers, or at the maximum",
            [
                _own(stage, name, watched.dimensions)
                for name in ("IdleWorkersWhileWaiting", "WaitingAtMaximum")
            ],
        ),
        Graph(
            "Heartbeats trusted, override unclear: 1 is yes",
            [_own(stage, name, watched.dimensions) for name in ("HeartbeatsTrusted", "OverrideUnclear")],
        ),
        Graph(
            "Queue depth by worker type",
            [_own(stage, "QueueDepth", {"WorkerType": kind}, label=kind) for kind in watched.worker_types],
        ),
        Graph(
            "Dead letters",
            [
                _series("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": name}, label=label)
                for label, name in (
                    ("starts", watched.undelivered_queue),
                    ("videos", watched.video_dead_letter_queue),
                )
            ],
        ),
    ]


def _runs(watched: Watched, functions: Mapping[str, str]) -> list[Graph]:
    machine = {"StateMachineArn": watched.state_machine_arn}

    def of_functions(metric: str, stat: str) -> list[Series]:
        return [
            _series("AWS/Lambda", metric, {"FunctionName": function}, stat=stat, label=f"{step} {metric}")
            for step, function in functions.items()
        ]

    outcomes = ("Started", "Succeeded", "Failed", "TimedOut", "Redriven")
    return [
        Graph(
            "Executions",
            [_series("AWS/States", f"Executions{one}", machine, stat="Sum", label=one) for one in outcomes],
        ),
        Graph("Executions: milliseconds", [_series("AWS/States", "ExecutionTime", machine)]),
        Graph(
            "Functions: errors and throttles",
            of_functions("Errors", "Sum") + of_functions("Throttles", "Sum"),
        ),
        Graph("Functions: milliseconds", of_functions("Duration", "Maximum")),
    ]


def _own(
    stage: Stage, metric: str, dimensions: Mapping[str, str], *, stat: str = "", label: str = ""
) -> Series:
    statistic = stat or METRICS[metric].statistic
    return _series(stage.metrics.namespace, metric, dimensions, stat=statistic, label=label)


def _series(
    namespace: str, metric: str, dimensions: Mapping[str, str], *, stat: str = "Maximum", label: str = ""
) -> Series:
    named = [part for pair in sorted(dimensions.items()) for part in pair]
    return [namespace, metric, *named, {"stat": stat} | ({"label": label} if label else {})]


def _widget(graph: Graph, thresholds: Sequence[Alarm], region: str, position: int) -> Widget:
    lines = _threshold_lines(graph, thresholds)
    return {
        "type": "metric",
        "x": position % _PER_ROW * _WIDTH,
        "y": _TOP + position // _PER_ROW * _HEIGHT,
        "width": _WIDTH,
        "height": _HEIGHT,
        "properties": {
            "title": graph.title,
            "view": "timeSeries",
            "region": region,
            "period": graph.period_s,
            "yAxis": {"left": {"min": 0}},
            "metrics": graph.series,
            **({"annotations": {"horizontal": lines}} if lines else {}),
        },
    }


def _threshold_lines(graph: Graph, thresholds: Sequence[Alarm]) -> list[dict[str, Any]]:
    """Return one line for each threshold of the alarms that look at the graph's series by the same statistic."""
    shown = {(*series[:-1], series[-1]["stat"]) for series in graph.series}
    by_value: dict[float, list[str]] = {}
    for alarm in thresholds:
        named = [part for pair in sorted(alarm.dimensions.items()) for part in pair]
        if (*alarm.metric, *named, alarm.statistic) in shown:
            by_value.setdefault(alarm.threshold, []).append(
                f"{alarm.name} {alarm.comparison} {alarm.threshold:g}"
            )
    return [
        {"label": ", ".join(labels), "value": value, "color": _ALARM_COLOR}
        for value, labels in by_value.items()
    ]


def _alarm_states(alarms: Mapping[str, cloudwatch.CfnAlarm]) -> Widget:
    return {
        "type": "alarm",
        **{"x": 0, "y": 0, "width": 24, "height": 2},
        "properties": {"title": "Alarms", "alarms": [alarm.attr_arn for alarm in alarms.values()]},
    }


def _current_values(stage: Stage, watched: Watched, region: str) -> Widget:
    group = {"AutoScalingGroupName": stage.workers.group_name}
    return {
        "type": "metric",
        **{"x": 0, "y": 2, "width": 24, "height": _TOP - 2},
        "properties": {
            "title": "Now",
            "view": "singleValue",
            "region": region,
            "period": 60 * stage.schedule.rate_minutes,
            "metrics": [
                _own(stage, "BacklogCount", watched.dimensions, label="videos in the backlog"),
                _own(stage, "OldestBacklogAge", watched.dimensions, label="longest wait, seconds"),
                _own(stage, "DesiredWorkers", watched.dimensions, label="workers decided"),
                _series("AWS/AutoScaling", "GroupInServiceInstances", group, label="workers in service"),
                _own(stage, "HeartbeatsTrusted", watched.dimensions, label="heartbeats trusted (1 is yes)"),
            ],
        },
    }


def _latest_decisions(log_group: str, region: str, *, y: int) -> Widget:
    return {
        "type": "log",
        **{"x": 0, "y": y, "width": 24, "height": 7},
        "properties": {
            "title": "Latest decisions",
            "view": "table",
            "region": region,
            "query": f"SOURCE '{log_group}' | {DECISIONS}",
        },
    }
