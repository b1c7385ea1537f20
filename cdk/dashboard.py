"""The dashboard: is it running, is the work getting done, is the fleet the right size."""

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from cdk.alarms import Watched
from cdk.stage import Stage

Series = list[Any]
"""CloudWatch's own form: namespace, metric, dimension names and values, and how it is drawn."""

_WIDTH, _HEIGHT, _PER_ROW = 8, 6, 3


class OperatorDashboard(Construct):
    """One page of graphs, a minute to a point."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        prefix: str,
        stage: Stage,
        watched: Watched,
        functions: Sequence[str],
    ) -> None:
        super().__init__(scope, id_)
        stack = Stack.of(self)
        graphs = {
            **_work(stage, watched.dimensions),
            **_fleet(stage, watched.dimensions),
            **_runs(watched, {name: f"{prefix}-{name}" for name in functions}),
        }
        widgets = [
            _widget(title, series, stack.region, position)
            for position, (title, series) in enumerate(graphs.items())
        ]
        body = {"start": "-PT6H", "periodOverride": "inherit", "widgets": widgets}
        cloudwatch.CfnDashboard(
            self, "Dashboard", dashboard_name=prefix, dashboard_body=stack.to_json_string(body)
        )


def _work(stage: Stage, dimensions: Mapping[str, str]) -> dict[str, list[Series]]:
    namespace = stage.metrics.namespace

    def depth(worker_type: str, label: str) -> Series:
        return _series(namespace, "QueueDepth", {"WorkerType": worker_type}, label=label)

    outcomes = ("VideosReclaimed", "VideosEnqueued", "VideosFailed", "VideosQuarantined", "VideosRefused")
    return {
        "Backlog: videos": [
            _series(namespace, "BacklogCount", dimensions),
            depth("Video", "visible in SQS"),
        ],
        "Oldest wait: seconds": [_series(namespace, "OldestBacklogAge", dimensions)],
        "What became of videos": [_series(namespace, name, dimensions, stat="Sum") for name in outcomes],
        "Heartbeats trusted: 0 is no": [_series(namespace, "HeartbeatsTrusted", dimensions, stat="Minimum")],
        "Queue depth by worker type": [depth(kind, kind) for kind in ("Video", *stage.queues.others)],
    }


def _fleet(stage: Stage, dimensions: Mapping[str, str]) -> dict[str, list[Series]]:
    namespace, group = stage.metrics.namespace, {"AutoScalingGroupName": stage.workers.group_name}
    return {
        "Workers": [
            _series(namespace, "DesiredWorkers", dimensions),
            _series("AWS/AutoScaling", "GroupDesiredCapacity", group),
            _series("AWS/AutoScaling", "GroupInServiceInstances", group),
        ],
        "Decisions held, override unclear: 1 is yes": [
            _series(namespace, name, dimensions) for name in ("DecisionHeld", "OverrideUnclear")
        ],
    }


def _runs(watched: Watched, functions: Mapping[str, str]) -> dict[str, list[Series]]:
    machine = {"StateMachineArn": watched.state_machine_arn}
    dead = {"starts": watched.undelivered_queue, "videos": watched.video_dead_letter_queue}

    def of_functions(metric: str, stat: str) -> list[Series]:
        return [
            _series("AWS/Lambda", metric, {"FunctionName": function}, stat=stat, label=f"{step} {metric}")
            for step, function in functions.items()
        ]

    return {
        "Executions": [
            _series("AWS/States", f"Executions{outcome}", machine, stat="Sum")
            for outcome in ("Started", "Succeeded", "Failed", "TimedOut", "Redriven")
        ],
        "Executions: milliseconds": [_series("AWS/States", "ExecutionTime", machine)],
        "Functions: errors and throttles": of_functions("Errors", "Sum") + of_functions("Throttles", "Sum"),
        "Functions: milliseconds": of_functions("Duration", "Maximum"),
        "Dead letters": [
            _series("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": name}, label=label)
            for label, name in dead.items()
        ],
    }


def _series(
    namespace: str, metric: str, dimensions: Mapping[str, str], *, stat: str = "Maximum", label: str = ""
) -> Series:
    named = [part for pair in sorted(dimensions.items()) for part in pair]
    return [namespace, metric, *named, {"stat": stat} | ({"label": label} if label else {})]


def _widget(title: str, series: list[Series], region: str, position: int) -> Mapping[str, object]:
    return {
        "type": "metric",
        "x": position % _PER_ROW * _WIDTH,
        "y": position // _PER_ROW * _HEIGHT,
        "width": _WIDTH,
        "height": _HEIGHT,
        "properties": {
            "title": title,
            "view": "timeSeries",
            "region": region,
            "period": 60,
            "yAxis": {"left": {"min": 0}},
            "metrics": series,
        },
    }
