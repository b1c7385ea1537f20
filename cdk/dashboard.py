"""The dashboard: alarms, current values, the fleet and its decisions, the videos, and the executions.

In a graph each line has one meaning and none lies on another: values that add up are stacked, and of two that are
mostly equal one is drawn as what it lacks of the other. Healthy values are away from the red lines of the alarms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from .alarms import Alarm, OperatorAlarms, Watched
from .metrics import METRICS
from .queries import DECISIONS
from .stage import Stage

Series = list[Any]
"""CloudWatch's own form: namespace, metric, dimension names and values, and how it is drawn; or an expression."""
Widget = dict[str, Any]

_WIDTH, _HEIGHT, _PER_ROW = 8, 6, 3
_TOP = 5  # height of the widgets above the graphs
_ALARM_COLOR, _NORMAL_COLOR = "#d62728", "#2ca02c"
_SELDOM_HELD = 0.2  # share: a source that can't be read now and then is normal


@dataclass(frozen=True)
class Graph:
    """Series over time.

    Attributes:
        title: with the unit where the values are not counts.
        series: what is drawn; hidden ones are what expressions rest on.
        alarms: whose thresholds are drawn; each once on the dashboard.
        at: where the line of an alarm is drawn, if that is not its threshold.
        normal: up to where values are normal; drawn in green.
        period_s: time that one point stands for.
        stacked: the series add up.
    """

    title: str
    series: list[Series]
    alarms: Sequence[str] = ()
    at: Mapping[str, float] = field(default_factory=dict)
    normal: float | None = None
    period_s: int = 60
    stacked: bool = False


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
        steps: Sequence[str],
        alarms: OperatorAlarms,
    ) -> None:
        super().__init__(scope, id_)
        stack, functions = Stack.of(self), {step: f"{prefix}-{step}" for step in steps}
        graphs = [*_fleet(stage, watched), *_videos(stage, watched), *_runs(stage, watched, functions)]
        bottom = _TOP + -(-len(graphs) // _PER_ROW) * _HEIGHT
        widgets = [
            _alarm_states(alarms.by_name),
            _current_values(stage, watched, stack.region),
            *(_widget(graph, alarms.thresholds, stack.region, n) for n, graph in enumerate(graphs)),
            _latest_decisions(f"/{prefix}/PublishBacklog", stack.region, y=bottom),
        ]
        body = {"start": "-PT6H", "periodOverride": "inherit", "widgets": widgets}
        self.dashboard = cloudwatch.CfnDashboard(
            self, "Dashboard", dashboard_name=prefix, dashboard_body=stack.to_json_string(body)
        )


def _fleet(stage: Stage, watched: Watched) -> list[Graph]:
    group = {"AutoScalingGroupName": stage.workers.group_name}

    def own(metric: str, **how: Any) -> Series:  # noqa: ANN401 (how it is drawn)
        return _own(stage, metric, watched.dimensions, **how)

    held = own("DecisionHeld", stat="Average", label="share of the decisions of 15 minutes")
    return [
        Graph("Backlog: videos that wait or are being transcoded", [own("BacklogCount")]),
        Graph("Messages in the video queue, deletions among them", [own("VideoMessages")]),
        Graph("Longest wait: seconds", [own("OldestBacklogAge")], ["OldestWait"]),
        Graph(
            "Workers: together what was decided",
            [
                _series("AWS/AutoScaling", "GroupInServiceInstances", group, label="in service", id="m1"),
                _math("MAX([desired - m1, 0])", "asked for, not in service yet"),
                _math("MAX([decided - desired, 0])", "decided, not asked for"),
                _hidden(_series("AWS/AutoScaling", "GroupDesiredCapacity", group, id="desired")),
                _hidden(own("DesiredWorkers", id="decided")),
            ],
            stacked=True,
        ),
        Graph("Decisions held: share", [held], ["DecisionHeld"], normal=_SELDOM_HELD, period_s=900),
        Graph(
            "Idle workers while videos wait", [own("IdleWorkersWhileWaiting")], ["WorkersIdle"], period_s=300
        ),
        Graph(
            "Videos waiting at the group's maximum", [own("WaitingAtMaximum")], ["AtMaximum"], period_s=300
        ),
        Graph(
            "Messages in the queues, by worker type",
            [_own(stage, "QueueDepth", {"WorkerType": kind}, label=kind) for kind in watched.worker_types],
            stacked=True,
        ),
    ]


def _videos(stage: Stage, watched: Watched) -> list[Graph]:
    def each(names: Mapping[str, str]) -> list[Series]:
        return [_own(stage, name, watched.dimensions, label=label) for name, label in names.items()]

    return [
        Graph(
            "Videos taken from dead workers",
            [
                _hidden(_own(stage, "VideosEnqueued", watched.dimensions, id="sent")),
                _hidden(_own(stage, "VideosReclaimed", watched.dimensions, id="taken")),
                _math("FILL(sent, 0)", "sent to the queue"),
                _math("MAX([FILL(taken, 0) - FILL(sent, 0), 0])", "not sent"),
            ],
            stacked=True,
        ),
        Graph(
            "Tried again or sent twice: videos",
            each({"VideosFailed": "failed in a pass", "DuplicatesSent": "possibly sent twice"}),
            stacked=True,
        ),
        Graph(
            "Videos that need somebody",
            [
                *each({"VideosQuarantined": "quarantined", "VideosRefused": "row refused"}),
                *each({"VideosWithoutTenant": "no tenant", "VideosResent": "message lost"}),
            ],
            ["VideosQuarantined", "RowsRefused", "TenantUnknown", "MessagesLost"],
            stacked=True,
        ),
        Graph(
            "Not known: 1 is yes",
            [
                _hidden(_own(stage, "HeartbeatsTrusted", watched.dimensions, id="trusted")),
                _math("1 - trusted", "who is alive: heartbeats are not trusted"),
                *each({"OverrideUnclear": "what the override says"}),
            ],
            ["HeartbeatsUntrusted", "OverrideUnclear"],
            at={"HeartbeatsUntrusted": 1},
            stacked=True,
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
            ["StartsUndelivered", "VideoDeadLetters"],
            stacked=True,
        ),
    ]


def _runs(stage: Stage, watched: Watched, functions: Mapping[str, str]) -> list[Graph]:
    machine = {"StateMachineArn": watched.state_machine_arn}

    def of_functions(metric: str, stat: str) -> list[Series]:
        return [
            _series("AWS/Lambda", metric, {"FunctionName": function}, stat=stat, label=f"{step} {metric}")
            for step, function in functions.items()
        ]

    def ended(**labels: str) -> list[Series]:
        return [
            _series("AWS/States", f"Executions{how}", machine, stat="Sum", label=label)
            for how, label in labels.items()
        ]

    return [
        Graph(
            "Executions that succeeded in five rounds",
            ended(Succeeded="succeeded"),
            ["NoSuccessfulRun"],
            period_s=300 * stage.schedule.rate_minutes,
        ),
        Graph(
            "Executions that did not",
            ended(Failed="failed", TimedOut="timed out"),
            ["ExecutionFailed", "ExecutionTimedOut"],
            stacked=True,
        ),
        Graph("Executions stopped or redriven", ended(Aborted="stopped", Redriven="redriven"), stacked=True),
        Graph("Executions: milliseconds", [_series("AWS/States", "ExecutionTime", machine)]),
        Graph(
            "Functions: errors and throttles",
            of_functions("Errors", "Sum") + of_functions("Throttles", "Sum"),
            stacked=True,
        ),
        Graph("Functions: milliseconds", of_functions("Duration", "Maximum")),
    ]


def _own(stage: Stage, metric: str, dimensions: Mapping[str, str], *, stat: str = "", **shown: str) -> Series:
    return _series(
        stage.metrics.namespace, metric, dimensions, stat=stat or METRICS[metric].statistic, **shown
    )


def _series(
    namespace: str, metric: str, dimensions: Mapping[str, str], *, stat: str = "Maximum", **shown: str
) -> Series:
    named = [part for pair in sorted(dimensions.items()) for part in pair]
    return [namespace, metric, *named, {"stat": stat, **shown}]


def _hidden(series: Series) -> Series:
    return [*series[:-1], {**series[-1], "visible": False}]


def _math(expression: str, label: str) -> Series:
    return [{"expression": expression, "label": label}]


def _widget(graph: Graph, thresholds: Sequence[Alarm], region: str, position: int) -> Widget:
    names: dict[float, list[str]] = {}
    for alarm in (alarm for alarm in thresholds if alarm.name in graph.alarms):
        names.setdefault(graph.at.get(alarm.name, alarm.threshold), []).append(alarm.name)
    lines: list[Any] = [
        {"label": ", ".join(each), "value": value, "color": _ALARM_COLOR} for value, each in names.items()
    ]
    if graph.normal is not None:
        lines.append([{"label": "normal", "value": 0, "color": _NORMAL_COLOR}, {"value": graph.normal}])
    return {
        "type": "metric",
        **{"x": position % _PER_ROW * _WIDTH, "y": _TOP + position // _PER_ROW * _HEIGHT},
        **{"width": _WIDTH, "height": _HEIGHT},
        "properties": {
            "title": graph.title,
            "view": "timeSeries",
            "stacked": graph.stacked,
            "region": region,
            "period": graph.period_s,
            "yAxis": {"left": {"min": 0}},
            "metrics": graph.series,
            **({"annotations": {"horizontal": lines}} if lines else {}),
        },
    }


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
