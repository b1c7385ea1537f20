"""What operators see: alarms and their topics, the dashboard, and the saved queries."""

import json
import re

import pytest

from cdk.alarms import Watched, alarms
from cdk.queries import QUERIES
from cdk.stage import InvalidStage, load, stages_in
from tests.infra.conftest import ROOT, functions, of_type, synthesized
from tests.infra.published import Series
from tests.infra.references import written
from video_reclaim.metrics import METRICS

PAGE = {"NoSuccessfulRun", "OldestWait", "BacklogUnmeasured", "HeartbeatsUntrusted"}
TOPIC = "arn:aws:sns:ap-northeast-2:123456789012:operators"
QUIET_TOPIC = "arn:aws:sns:ap-northeast-2:123456789012:team"
NOT_DRAWN = "BacklogUnmeasured"  # it counts values, whatever they are


def alarms_of(template):
    found = of_type(template, "AWS::CloudWatch::Alarm").values()
    return {one["AlarmName"].split("-")[-1]: one for one in found}


def overridden(**sections):
    return synthesized("existing", json.dumps(sections)).template["Resources"]


def board_of(resources):
    (board,) = of_type(resources, "AWS::CloudWatch::Dashboard").values()
    return json.loads(written(board["DashboardBody"], resources))["widgets"]


def series_in(widget):
    """The series of a widget, hidden ones too: namespace, name, dimensions, and how it is drawn."""
    for *named, shown in widget["properties"].get("metrics", ()):
        if named:
            namespace, name, *dimensions = named
            yield (namespace, name, tuple(zip(dimensions[::2], dimensions[1::2], strict=True))), shown


def graphs_of(resources):
    return [one for one in board_of(resources) if one["properties"].get("view") == "timeSeries"]


class TestAlarms:
    def test_each_alarm_links_to_its_own_entry_in_the_runbook(self, template):
        headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
        for name, alarm in alarms_of(template).items():
            assert alarm["AlarmDescription"].endswith(f"#{name.lower()}") and name in headings

    @pytest.mark.parametrize(
        ("url", "warned"), [("https://wiki.example.com/runbook", False), ("docs/runbook.md", True)]
    )
    def test_links_that_open_nothing_are_warned_of(self, url, warned):
        made = synthesized("existing", json.dumps({"observability": {"runbookUrl": url}}))
        assert any("runbookUrl" in message for message in made.messages) is warned
        for alarm in alarms_of(made.template["Resources"]).values():
            assert f"Runbook: {url}#" in alarm["AlarmDescription"]

    @pytest.mark.parametrize(
        ("topics", "page", "notify"),
        [
            pytest.param({}, [TOPIC], [TOPIC], id="one-topic-for-all"),
            pytest.param({"notifyTopicArn": QUIET_TOPIC}, [TOPIC], [QUIET_TOPIC], id="one-by-severity"),
            pytest.param({"topicArn": None}, None, None, id="no-topic"),
        ],
    )
    def test_an_alarm_and_its_end_notify_the_topic_of_its_severity(self, topics, page, notify):
        for name, alarm in alarms_of(overridden(observability=topics)).items():
            expected = page if name in PAGE else notify
            assert alarm.get("AlarmActions") == alarm.get("OKActions") == expected, name

    def test_no_alarm_waits_for_runs_of_a_schedule_that_is_off(self):
        all_, without = alarms_of(overridden()), alarms_of(overridden(schedule={"enabled": False}))
        assert set(all_) - set(without) == {"NoSuccessfulRun", "BacklogUnmeasured"}

    def test_a_stage_sets_thresholds_and_disables_alarms_by_name(self):
        given = {"OldestWait": {"threshold": 900}, "RowsRefused": {"enabled": False}}
        given["DecisionHeld"] = {"threshold": 0}
        changed = alarms_of(overridden(observability={"alarms": given, "oldestWaitSeconds": 600}))
        assert (changed["OldestWait"]["Threshold"], changed["DecisionHeld"]["Threshold"]) == (900, 0)
        assert set(alarms_of(overridden())) - set(changed) == {"RowsRefused"}

    def test_an_unknown_alarm_is_refused_by_its_key(self):
        stage = load(stages_in(), "existing", '{"observability": {"alarms": {"OldWait": {}}}}')
        with pytest.raises(InvalidStage, match=r"observability\.alarms\.OldWait: must be one of NoSuccess"):
            alarms(stage, Watched("machine", "undelivered", "dead-letters"))


class TestMetrics:
    def test_dimensions_of_the_stage_are_on_every_metric_but_queue_depth(self):
        resources = overridden(metrics={"dimensions": {"Environment": "blue", "Site": "a"}})
        own = (("Environment", "blue"), ("Site", "a"))
        for widget in board_of(resources):
            for (namespace, name, dimensions), _ in series_in(widget):
                if namespace == "Academy/Workers":
                    assert dimensions == own or (name == "QueueDepth" and dimensions[0][0] == "WorkerType")
        for alarm in alarms_of(resources).values():
            if alarm["Namespace"] == "Academy/Workers":
                assert tuple((one["Name"], one["Value"]) for one in alarm["Dimensions"]) == own

    def test_the_document_lists_every_metric_and_its_alarm(self):
        lines = (ROOT / "docs" / "metrics.md").read_text().splitlines()
        rows = [
            [cell.strip(" `") for cell in line.strip("|").split(" | ")]
            for line in lines
            if line.startswith("| `")
        ]
        by_metric = {}
        for name, alarm in alarms_of(overridden()).items():
            by_metric.setdefault(alarm["MetricName"], []).append(name)
        assert rows == [
            [
                *(one.name, one.unit, one.statistic, one.dimension or "stage", one.meaning),
                ", ".join(by_metric.get(one.name, [])) or "none",
            ]
            for one in METRICS.values()
        ]


class TestDashboard:
    def test_every_metric_of_the_functions_is_drawn_and_none_that_nobody_publishes(self, template):
        series = Series(template)
        counts = dict.fromkeys(("reclaimed", "enqueued", "quarantined", "refused", "resent"), 1)
        own = set(series.own(failed=1, duplicates={"retried": 1}, **counts))  # sums of 0 are not published
        drawn = {series for widget in board_of(template) for series, _ in series_in(widget)}
        assert {one for one in drawn if one[0] == "Academy/Workers"} == own
        assert {one for one in drawn if one[0] == "AWS/States"} == set(series.executions()) - {
            one for one in series.executions() if one[1] == "ExecutionsStarted"
        } | {("AWS/States", "ExecutionTime", tuple(series.machine.items()))}

    def test_each_series_is_drawn_once_and_combined_as_it_is_meant(self, template):
        drawn = [found for graph in graphs_of(template) for found in series_in(graph)]
        assert len(drawn) == len({series for series, _ in drawn})
        for (namespace, name, _), shown in drawn:
            meant = "Sum" if name.startswith(("Errors", "Throttles", "Executions")) else "Maximum"
            if namespace == "Academy/Workers":  # a share: a decision is held or not
                meant = "Average" if name == "DecisionHeld" else METRICS[name].statistic
            assert shown["stat"] == meant, name

    def test_a_label_names_the_series_that_it_stands_beside(self, template):
        meant = {
            **{"videos in the backlog": "BacklogCount", "longest wait, seconds": "OldestBacklogAge"},
            **{"starts": "-undelivered", "videos": "-jobs-dlq", "in service": "GroupInServiceInstances"},
            **{"succeeded": "Succeeded", "failed": "Failed", "timed out": "TimedOut", "stopped": "Aborted"},
            **{"quarantined": "Quarantined", "row refused": "Refused", "no tenant": "WithoutTenant"},
            **{"message lost": "Resent", "what the override says": "Override", "Video": "Video"},
        }
        drawn = [found for widget in board_of(template) for found in series_in(widget)]
        labelled = {shown["label"]: str(series) for series, shown in drawn if "label" in shown}
        assert [label for label, part in meant.items() if part not in labelled[label]] == []

    def test_an_expression_is_worth_what_its_label_says(self, template):
        values = {"VideosEnqueued": 3, "VideosReclaimed": 5, "HeartbeatsTrusted": 1}
        values |= {"GroupInServiceInstances": 2, "GroupDesiredCapacity": 6, "DesiredWorkers": 9}
        worth = {}
        for graph in graphs_of(template):
            known = {shown["id"]: values[name] for (_, name, _), shown in series_in(graph) if "id" in shown}
            for one in (line[0] for line in graph["properties"]["metrics"] if isinstance(line[0], dict)):
                worth[one["label"]] = eval(one["expression"], {"FILL": max, "MAX": max}, known)
        assert worth == {
            **{"sent to the queue": 3, "not sent": 2, "who is alive: heartbeats are not trusted": 0},
            **{"asked for, not in service yet": 4, "decided, not asked for": 3},
        }

    def test_the_threshold_of_every_alarm_is_drawn_once_beside_its_metric(self):
        resources = overridden(observability={"alarms": {"OldestWait": {"threshold": 900}}})
        lines = {}
        for graph in graphs_of(resources):
            metrics = {name for (_, name, _), _ in series_in(graph)}
            for line in graph["properties"].get("annotations", {}).get("horizontal", ()):
                if isinstance(line, dict):
                    for name in line["label"].split(", "):
                        lines.setdefault(name, []).append((line["value"], metrics))
        assert set(lines) == set(alarms_of(resources)) - {NOT_DRAWN}
        for name, alarm in alarms_of(resources).items():
            if name != NOT_DRAWN:
                ((value, metrics),) = lines[name]
                assert alarm["MetricName"] in metrics
                assert value == alarm["Threshold"]

    def test_healthy_values_are_away_from_the_red_lines(self, template):
        """A line is below no healthy value but that of what must happen: the runs that succeed."""
        for graph in graphs_of(template):
            for line in graph["properties"].get("annotations", {}).get("horizontal", ()):
                healthy = 5 if "NoSuccessfulRun" in str(line) else 0
                assert isinstance(line, list) or abs(line["value"] - healthy) >= 1

    def test_lines_that_may_be_equal_are_stacked(self, template):
        for graph in graphs_of(template):
            shown = [one for one in graph["properties"]["metrics"] if one[-1].get("visible", True)]
            assert (
                len(shown) == 1
                or graph["properties"]["stacked"]
                or graph["properties"]["title"].endswith("seconds")
            )

    def test_no_two_widgets_overlap_and_all_are_of_the_stage_s_region(self, stage, template):
        widgets, cells = board_of(template), []
        for one in widgets:
            cells += [(one["x"] + x, one["y"] + y) for x in range(one["width"]) for y in range(one["height"])]
        assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23
        region = load(stages_in(), stage).region or "ap-northeast-2"  # what references.REGION writes out
        assert {one["properties"]["region"] for one in widgets if one["type"] != "alarm"} == {region}

    def test_it_lists_every_alarm_and_the_latest_decisions(self, stage, template):
        (states,) = [one for one in board_of(template) if one["type"] == "alarm"]
        assert len(set(states["properties"]["alarms"])) == len(alarms_of(template))
        (decisions,) = [one for one in board_of(template) if one["type"] == "log"]
        assert decisions["properties"]["query"].startswith(
            f"SOURCE '/video-reclaim-{stage}/PublishBacklog' | fields"
        )


class TestSavedQueries:
    def test_each_reads_the_logs_of_functions_that_write_what_it_shows(self, stage, template):
        """Each GB that is searched costs: a query of one function's lines reads no other's."""
        steps = set(functions(template))
        read = {name: set(query.functions) or steps for name, query in QUERIES.items()}
        assert (read["Reclaims by reason"], read["Decisions held"]) == ({"Reclaim"}, {"PublishBacklog"})
        for one in of_type(template, "AWS::Logs::QueryDefinition").values():
            folder, _, name = one["Name"].partition("/")
            groups = {template[group["Ref"]]["Properties"]["LogGroupName"] for group in one["LogGroupNames"]}
            assert folder == f"video-reclaim-{stage}"
            assert groups == {f"/video-reclaim-{stage}/{step}" for step in read[name]}

    def test_each_is_within_the_limits_of_logs_insights_and_ends(self):
        for query in QUERIES.values():
            assert len(query.text) <= 10_000
            assert re.search(r"\| limit \d{1,4}$|stats ", query.text)
