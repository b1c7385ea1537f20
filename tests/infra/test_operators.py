"""What operators see: alarms, topics, dashboard and saved queries."""

import json
import re

import pytest

from cdk.alarms import Watched, alarms
from cdk.queries import QUERIES
from cdk.stage import InvalidStage, load, stages_in
from tests.infra.conftest import ROOT, functions, of_type, synthesized
from video_reclaim.metrics import METRICS

PAGE = {"NoSuccessfulRun", "OldestWait", "BacklogUnmeasured", "HeartbeatsUntrusted"}
NOTIFY = {
    "ExecutionFailed",
    "ExecutionTimedOut",
    "VideosQuarantined",
    "MessagesLost",
    "OverrideUnclear",
    "RowsRefused",
    "TenantUnknown",
    "WorkersIdle",
    "DecisionHeld",
    "AtMaximum",
    "StartsUndelivered",
    "VideoDeadLetters",
}
TOPIC = "arn:aws:sns:ap-northeast-2:123456789012:operators"
QUIET_TOPIC = "arn:aws:sns:ap-northeast-2:123456789012:team"


def alarms_of(template):
    return {
        one["AlarmName"].split("-")[-1]: one for one in of_type(template, "AWS::CloudWatch::Alarm").values()
    }


def overridden(**sections):
    return synthesized("existing", json.dumps(sections)).template["Resources"]


def widgets_of(template):
    (board,) = of_type(template, "AWS::CloudWatch::Dashboard").values()
    body = board["DashboardBody"]
    text = (
        body
        if isinstance(body, str)
        else "".join(part if isinstance(part, str) else "token" for part in body["Fn::Join"][1])
    )
    return json.loads(text)["widgets"]


def series_of(template):
    return [series for widget in widgets_of(template) for series in widget["properties"].get("metrics", ())]


class TestAlarms:
    def test_each_condition_has_its_alarm(self, template):
        assert set(alarms_of(template)) == PAGE | NOTIFY

    def test_each_alarm_links_to_its_own_entry_in_the_runbook(self, stage, template):
        url = stages_in()[stage].get("observability", {}).get("runbookUrl", "docs/runbook.md")
        headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
        for name, alarm in alarms_of(template).items():
            assert alarm["AlarmDescription"].endswith(f"{url}#{name.lower()}")
            assert name in headings

    @pytest.mark.parametrize(
        ("topics", "page", "notify"),
        [
            pytest.param({}, [TOPIC], [TOPIC], id="one-topic-for-all"),
            pytest.param({"notifyTopicArn": QUIET_TOPIC}, [TOPIC], [QUIET_TOPIC], id="one-by-severity"),
            pytest.param({"topicArn": None}, None, None, id="no-topic"),
        ],
    )
    def test_an_alarm_notifies_the_topic_of_its_severity(self, topics, page, notify):
        for name, alarm in alarms_of(overridden(observability=topics)).items():
            expected = page if name in PAGE else notify
            assert alarm.get("AlarmActions") == alarm.get("OKActions") == expected, name

    def test_whoever_hears_of_an_alarm_hears_of_its_end(self, template):
        for name, alarm in alarms_of(template).items():
            assert alarm.get("OKActions") == alarm.get("AlarmActions"), name

    def test_no_alarm_waits_for_runs_of_a_schedule_that_is_off(self):
        resources = overridden(schedule={"enabled": False})
        assert set(alarms_of(resources)) == (PAGE | NOTIFY) - {"NoSuccessfulRun", "BacklogUnmeasured"}

    def test_a_stage_sets_thresholds_and_disables_alarms_by_name(self):
        given = {"OldestWait": {"threshold": 900}, "RowsRefused": {"enabled": False}}
        changed = alarms_of(overridden(observability={"alarms": given, "oldestWaitSeconds": 600}))
        assert changed["OldestWait"]["Threshold"] == 900
        assert set(changed) == (PAGE | NOTIFY) - {"RowsRefused"}

    def test_oldest_wait_seconds_is_the_threshold_where_none_is_given_by_name(self):
        resources = overridden(observability={"oldestWaitSeconds": 600, "alarms": {"OldestWait": {}}})
        assert alarms_of(resources)["OldestWait"]["Threshold"] == 600

    def test_an_unknown_alarm_is_refused_by_its_key(self):
        stage = load(stages_in(), "existing", '{"observability": {"alarms": {"OldWait": {}}}}')
        with pytest.raises(InvalidStage, match=r"observability\.alarms\.OldWait: must be one of NoSuccess"):
            alarms(stage, Watched("machine", "undelivered", "dead-letters"))


class TestMetrics:
    def test_alarms_and_dashboard_look_at_the_metrics_that_the_functions_put(self, template):
        shown = {name for namespace, name, *_ in series_of(template) if namespace == "Academy/Workers"}
        alarmed = {
            alarm["MetricName"]
            for alarm in alarms_of(template).values()
            if alarm["Namespace"] == "Academy/Workers"
        }
        assert alarmed <= shown == set(METRICS)

    def test_dimensions_of_the_stage_are_on_every_metric_but_queue_depth(self):
        resources = overridden(metrics={"dimensions": {"Environment": "blue", "Site": "a"}})
        for namespace, name, *rest in series_of(resources):
            if namespace == "Academy/Workers":
                wanted = ["WorkerType"] if name == "QueueDepth" else ["Environment", "Site"]
                assert rest[:-1:2] == wanted, name
        for alarm in alarms_of(resources).values():
            if alarm["Namespace"] == "Academy/Workers":
                assert alarm["Dimensions"] == [
                    {"Name": "Environment", "Value": "blue"},
                    {"Name": "Site", "Value": "a"},
                ]

    def test_the_document_lists_every_metric_and_its_alarm(self):
        rows = [
            tuple(cell.strip().strip("`") for cell in line.strip("|").split(" | "))
            for line in (ROOT / "docs" / "metrics.md").read_text().splitlines()
            if line.startswith("| `")
        ]
        by_metric = {}
        for name, alarm in alarms_of(synthesized("existing").template["Resources"]).items():
            by_metric.setdefault(alarm["MetricName"], []).append(name)
        assert rows == [
            (
                metric.name,
                metric.unit,
                metric.statistic,
                metric.dimension or "stage",
                metric.meaning,
                ", ".join(by_metric.get(metric.name, [])) or "none",
            )
            for metric in METRICS.values()
        ]


class TestDashboard:
    def test_it_shows_the_fleet_from_auto_scaling_itself(self, template):
        shown = {(namespace, name) for namespace, name, *_ in series_of(template)}
        assert ("AWS/AutoScaling", "GroupInServiceInstances") in shown
        assert {("AWS/States", f"Executions{what}") for what in ("Started", "Failed", "Redriven")} <= shown
        assert {("AWS/Lambda", "Errors"), ("AWS/Lambda", "Duration")} <= shown

    def test_it_draws_the_thresholds_of_the_alarms(self):
        resources = overridden(observability={"alarms": {"OldestWait": {"threshold": 900}}})
        lines = {
            widget["properties"]["title"]: [
                (line["label"], line["value"]) for line in widget["properties"]["annotations"]["horizontal"]
            ]
            for widget in widgets_of(resources)
            if "annotations" in widget["properties"]
        }
        assert lines["Longest wait: seconds"] == [("OldestWait >= 900", 900)]
        drawn = {
            name for shown in lines.values() for label, _ in shown for name in re.findall(r"[A-Z]\w+", label)
        }
        # The graph of the one shows a share, and no value of the other breaches.
        assert drawn == (PAGE | NOTIFY) - {"DecisionHeld", "BacklogUnmeasured"}

    def test_no_two_widgets_overlap(self, template):
        cells = [
            (x, y)
            for one in widgets_of(template)
            for x in range(one["x"], one["x"] + one["width"])
            for y in range(one["y"], one["y"] + one["height"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) == 23

    def test_it_lists_every_alarm_and_the_latest_decisions(self, stage, template):
        (states,) = [one for one in widgets_of(template) if one["type"] == "alarm"]
        assert len(states["properties"]["alarms"]) == len(alarms_of(template))
        (decisions,) = [one for one in widgets_of(template) if one["type"] == "log"]
        query = decisions["properties"]["query"]
        assert query.startswith(f"SOURCE '/video-reclaim-{stage}/PublishBacklog' | fields")


class TestSavedQueries:
    def test_each_query_reads_logs_of_the_functions(self, stage, template):
        groups = {
            group["LogGroupName"]
            for group in of_type(template, "AWS::Logs::LogGroup").values()
            if "LogGroupName" in group
        }
        saved = of_type(template, "AWS::Logs::QueryDefinition").values()
        assert {one["Name"] for one in saved} == {f"video-reclaim-{stage}/{name}" for name in QUERIES}
        for one in saved:
            read = {template[group["Ref"]]["Properties"]["LogGroupName"] for group in one["LogGroupNames"]}
            assert read
            assert read <= groups

    def test_each_query_is_within_the_limits_of_logs_insights(self):
        for query in QUERIES.values():
            assert len(query.text) <= 10_000
            assert set(query.functions) <= set(functions(synthesized("existing").template["Resources"]))
