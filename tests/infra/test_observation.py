"""The dashboard draws what is published, combined as it is meant, and every threshold where its alarm has it."""

import json

import pytest

from cdk.stage import load, stages_in
from tests.infra.conftest import STAGES, functions, of_type, synthesized
from tests.infra.published import Platform
from tests.infra.references import written
from tests.infra.test_operators import alarms_of
from video_reclaim.metrics import METRICS

COUNTED = ("Errors", "Throttles", "Executions")
"""AWS's metrics that count events, which add up; of the others the worst value counts."""
AUTO_SCALING = {"GroupDesiredCapacity", "GroupInServiceInstances"}


def board_of(resources):
    (board,) = of_type(resources, "AWS::CloudWatch::Dashboard").values()
    return json.loads(written(board["DashboardBody"], resources))["widgets"]


def series_in(widget):
    """The series of a widget: namespace, name, dimensions, and how it is drawn."""
    for namespace, name, *dimensions, shown in widget["properties"].get("metrics", ()):
        pairs = tuple(zip(dimensions[::2], dimensions[1::2], strict=True))
        yield (namespace, name, tuple(sorted(pairs))), shown


@pytest.fixture(params=STAGES)
def board(request):
    resources = synthesized(request.param).template["Resources"]
    return request.param, resources, board_of(resources)


def existing_series(resources):
    """Every series that the dashboard may draw: the functions put it, or AWS does for something that is there."""
    platform = Platform(resources)
    named = {one["Value"] for alarm in alarms_of(resources).values() for one in _plain(alarm, resources)}
    queues = {value for value in named if "undelivered" in value or value.endswith("dlq")}
    counts = dict.fromkeys(("reclaimed", "enqueued", "quarantined", "refused", "resent"), 1)
    own = platform.own(failed=1, duplicates={"retried": 1}, **counts)  # sums of 0 are not published
    steps = [function["FunctionName"] for function in functions(resources).values()]
    return (
        set(own)
        | set(platform.executions())
        | {("AWS/States", "ExecutionTime", tuple(platform.machine.items()))}
        | {("AWS/AutoScaling", name, (("AutoScalingGroupName", platform.group),)) for name in AUTO_SCALING}
        | {("AWS/SQS", "ApproximateNumberOfMessagesVisible", (("QueueName", name),)) for name in queues}
        | {
            ("AWS/Lambda", name, (("FunctionName", step),))
            for name in ("Errors", "Throttles", "Duration")
            for step in steps
        }
    )


def _plain(alarm, resources):
    return [{"Value": written(one["Value"], resources)} for one in alarm["Dimensions"]]


def test_every_series_that_there_is_is_drawn_and_no_other(board):
    _, resources, widgets = board
    drawn = {series for widget in widgets for series, _ in series_in(widget)}
    undrawn = {series for series in existing_series(resources) if series[1] == "ExecutionsAborted"}
    assert drawn == existing_series(resources) - undrawn


def test_each_graph_draws_a_series_once(board):
    for widget in board[2]:
        drawn = [series for series, _ in series_in(widget)]
        assert len(drawn) == len(set(drawn))


def test_what_an_operator_asks_first_is_answered_at_the_top(board):
    """How much waits and for how long, how many workers there should be and are, and whether heartbeats count."""
    (now,) = [one for one in board[2] if one["properties"].get("view") == "singleValue"]
    asked = {
        "BacklogCount",
        "OldestBacklogAge",
        "DesiredWorkers",
        "GroupInServiceInstances",
        "HeartbeatsTrusted",
    }
    assert {name for (_, name, _), _ in series_in(now)} == asked
    assert now["y"] < min(one["y"] for one in board[2] if one["properties"].get("view") == "timeSeries")


def test_each_series_is_combined_as_it_is_meant(board):
    for widget in board[2]:
        for (namespace, name, _), shown in series_in(widget):
            if namespace != "Academy/Workers":
                meant = "Sum" if name.startswith(COUNTED) else "Maximum"
            elif name == "DecisionHeld":
                meant = "Average"  # a share: a decision is held or not
            else:
                meant = METRICS[name].statistic
            assert shown["stat"] == meant, name


def test_graphs_show_each_minute_and_shares_enough_of_them(board):
    for widget in board[2]:
        properties = widget["properties"]
        if properties.get("view") == "timeSeries":
            shares = any(shown["stat"] == "Average" for _, shown in series_in(widget))
            assert properties["period"] == (900 if shares else 60), properties["title"]


def test_current_values_are_of_the_last_round(board):
    name, _, widgets = board
    (now,) = [one for one in widgets if one["properties"].get("view") == "singleValue"]
    assert now["properties"]["period"] == 60 * load(stages_in(), name).schedule.rate_minutes


def test_everything_is_of_the_stage_s_own_region(board):
    name, _, widgets = board
    region = load(stages_in(), name).region or "ap-northeast-2"  # what references.REGION writes out
    drawn = [one["properties"] for one in widgets if one["type"] != "alarm"]
    assert {one["region"] for one in drawn} == {region}


def test_each_alarm_is_listed_once(board):
    _, resources, widgets = board
    (states,) = [one for one in widgets if one["type"] == "alarm"]
    alarms = {f"<{id_}.Arn>" for id_ in of_type(resources, "AWS::CloudWatch::Alarm")}
    assert set(states["properties"]["alarms"]) == alarms
    assert len(states["properties"]["alarms"]) == len(alarms)


def test_a_threshold_is_drawn_where_the_alarm_s_series_is(board):
    _, resources, widgets = board
    lines = {
        (series, line["value"])
        for widget in widgets
        for line in widget["properties"].get("annotations", {}).get("horizontal", ())
        for series, _ in series_in(widget)
    }
    for name, alarm in alarms_of(resources).items():
        if name in ("BacklogUnmeasured", "DecisionHeld"):
            continue  # the one counts values, whatever they are; the graph of the other shows a share
        dimensions = tuple((one["Name"], written(one["Value"], resources)) for one in alarm["Dimensions"])
        assert ((alarm["Namespace"], alarm["MetricName"], dimensions), alarm["Threshold"]) in lines, name


def test_no_line_is_drawn_that_no_alarm_has(board):
    _, resources, widgets = board
    thresholds = {alarm["Threshold"] for alarm in alarms_of(resources).values()}
    for widget in widgets:
        for line in widget["properties"].get("annotations", {}).get("horizontal", ()):
            assert line["value"] in thresholds
