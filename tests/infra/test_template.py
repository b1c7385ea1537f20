"""What a stage's template makes, tells its functions, and leaves alone."""

import ast
import json
import re
from dataclasses import fields

import pytest

from cdk.stage import stages_in
from tests.infra.conftest import MACHINE, ROOT, STAGES, of_type, synthesized
from video_reclaim import settings

READS = {
    "ListStaleVideos": {"DatabaseSettings", "RedisSettings", "StalenessSettings"},
    "Reclaim": {"DatabaseSettings", "RedisSettings", "StalenessSettings", "ReclaimSettings"},
    "Enqueue": {"DatabaseSettings", "QueueSettings"},
    "PublishBacklog": {"DatabaseSettings", "BacklogSettings"},
}

OWN = {
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::Function",
    "AWS::Lambda::LayerVersion",
    "AWS::Logs::LogGroup",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
    "AWS::StepFunctions::StateMachine",
}
ALARMS = {
    "NoSuccessfulRun",
    "ExecutionFailed",
    "ExecutionTimedOut",
    "OldestWait",
    "VideosQuarantined",
    "HeartbeatsUntrusted",
    "StartsUndelivered",
    "VideoDeadLetters",
}


def functions(resources):
    """The four functions' properties by step."""
    return {
        one["FunctionName"].split("-")[-1]: one
        for one in of_type(resources, "AWS::Lambda::Function").values()
        if "FunctionName" in one
    }


def states(machine):
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states(state["ItemProcessor"])


class TestFunctions:
    def test_the_code_reads_what_this_test_says_it_reads(self):
        found = {}
        for step in READS:
            module = re.sub(r"(?<!^)(?=[A-Z])", "_", step).lower()
            source = (ROOT / "functions" / f"{module}.py").read_text()
            found[step] = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
            found[step] = {n for n in found[step] if n.endswith("Settings")} | {"DatabaseSettings"}
            if "heartbeats" in source.split('"""')[2]:
                found[step].add("RedisSettings")
        assert found == READS

    def test_each_is_told_every_setting_that_it_reads_and_nothing_else(self, template):
        for step, function in functions(template).items():
            read = {f.name.upper() for kind in READS[step] for f in fields(getattr(settings, kind))}
            assert set(function["Environment"]["Variables"]) == read, step

    def test_a_task_outlasts_its_function_and_that_its_database_and_redis(self, template):
        called = functions(template)
        tasks = [s for _, s in states(json.loads(MACHINE)) if s.get("Resource", "").endswith("lambda:invoke")]
        assert tasks
        for task in tasks:
            function = called[re.fullmatch(r"\$\{(\w+)Arn\}", task["Arguments"]["FunctionName"])[1]]
            variables = function["Environment"]["Variables"]
            connect_s = int(variables["DATABASE_CONNECT_SECONDS"])
            statement_s = int(variables["DATABASE_STATEMENT_SECONDS"])
            assert task["TimeoutSeconds"] > function["Timeout"]
            assert (
                function["Timeout"] > statement_s + connect_s + statement_s
            )  # dead, made anew, and asked again
            assert 3 * int(variables.get("REDIS_TIMEOUT_SECONDS", 0)) < function["Timeout"]

    def test_the_handoff_outlasts_the_execution(self, template):
        longest_s = json.loads(MACHINE)["TimeoutSeconds"]
        for step in ("Reclaim", "Enqueue"):
            variables = functions(template)[step]["Environment"]["Variables"]
            assert int(variables["HANDOFF_SECONDS"]) >= longest_s

    def test_all_run_on_one_asset_on_arm_with_logs_kept_for_a_while(self, template):
        four = functions(template)
        assert set(four) == set(READS)
        assert {json.dumps(one["Code"]) for one in four.values()} == {json.dumps(four["Reclaim"]["Code"])}
        assert {(one["Runtime"], *one["Architectures"]) for one in four.values()} == {("python3.13", "arm64")}
        assert {one["TracingConfig"]["Mode"] for one in four.values()} == {"Active"}
        groups = of_type(template, "AWS::Logs::LogGroup")
        assert all(0 < group["RetentionInDays"] <= 366 for group in groups.values())
        for one in four.values():
            assert one["LoggingConfig"]["LogGroup"]["Ref"] in groups

    def test_all_that_touch_the_database_sit_in_the_network_that_the_stage_names(self, stage, template):
        network = stages_in()[stage].get("network")
        for one in functions(template).values():
            placed = one.get("VpcConfig")
            assert placed == (
                network
                and {"SubnetIds": network["subnetIds"], "SecurityGroupIds": network["securityGroupIds"]}
            )

    def test_the_database_is_verified_against_roots_that_are_shipped(self):
        resources = synthesized("existing").template["Resources"]
        layers = of_type(resources, "AWS::Lambda::LayerVersion")
        for one in functions(resources).values():
            variables = one["Environment"]["Variables"]
            assert (variables["DATABASE_SSLMODE"], variables["DATABASE_SSLROOTCERT"]) == (
                "verify-full",
                "/opt/rds.pem",
            )
            assert len(one["Layers"]) == 2
        assert any(layer["Description"].startswith("Roots") for layer in layers.values())
        assert (ROOT / "cdk" / "certificates" / "rds.pem").read_text().count("BEGIN CERTIFICATE") > 80


class TestWorkflow:
    def test_logs_everything_but_execution_data_unless_asked(self, stage, template):
        (machine,) = of_type(template, "AWS::StepFunctions::StateMachine").values()
        logging = machine["LoggingConfiguration"]
        asked = stages_in()[stage].get("observability", {}).get("logExecutionData", False)
        assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", asked)
        assert machine["TracingConfiguration"] == {"Enabled": True}

    def test_real_stages_keep_execution_data_out_of_logs(self):
        for name in ("greenfield", "existing"):
            (machine,) = of_type(
                synthesized(name).template["Resources"], "AWS::StepFunctions::StateMachine"
            ).values()
            assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False

    def test_every_placeholder_of_the_definition_is_filled_and_no_other(self, template):
        (machine,) = of_type(template, "AWS::StepFunctions::StateMachine").values()
        assert set(re.findall(r"\$\{(\w+)\}", MACHINE)) == set(machine["DefinitionSubstitutions"])


class TestWhatIsMade:
    def test_beside_a_platform_nothing_is_made_that_it_has_already(self):
        resources = synthesized("existing").template["Resources"]
        assert {one["Type"] for one in resources.values()} == OWN
        queues = of_type(resources, "AWS::SQS::Queue")
        assert [queue["QueueName"] for queue in queues.values()] == ["video-reclaim-existing-undelivered"]

    @pytest.mark.parametrize("stage", STAGES)
    def test_nothing_is_looked_up(self, stage):
        result = synthesized(stage)
        assert "missing" not in json.loads((result.folder / "manifest.json").read_text())
        assert not re.search(r"dummy-value-for|12345\.dkr", json.dumps(result.template))

    def test_queues_that_are_made_have_the_platforms_settings(self):
        queues = {
            queue["QueueName"]: queue
            for queue in of_type(synthesized("greenfield").template["Resources"], "AWS::SQS::Queue").values()
        }
        jobs = queues["academy-video-jobs"]
        assert (jobs["VisibilityTimeout"], jobs["RedrivePolicy"]["maxReceiveCount"]) == (300, 3)
        assert "academy-video-jobs-dlq" in queues

    def test_a_worker_group_that_is_made_protects_its_workers(self):
        resources = synthesized("greenfield").template["Resources"]
        (group,) = of_type(resources, "AWS::AutoScaling::AutoScalingGroup").values()
        assert group["NewInstancesProtectedFromScaleIn"] is True
        assert "DesiredCapacity" not in group
        (suspended,) = of_type(resources, "Custom::SuspendRebalancing").values()
        for moment in ("Create", "Update"):
            call = json.loads(suspended[moment])
            assert (call["action"], call["parameters"]) == (
                "suspendProcesses",
                {"AutoScalingGroupName": "academy-video-worker-asg", "ScalingProcesses": ["AZRebalance"]},
            )
        assert "Delete" not in suspended

    def test_a_group_in_one_zone_has_nothing_to_rebalance(self):
        assert not of_type(synthesized("local").template["Resources"], "Custom::SuspendRebalancing")


class TestWhatOperatorsSee:
    def alarms(self, template):
        return {
            one["AlarmName"].split("-")[-1]: one
            for one in of_type(template, "AWS::CloudWatch::Alarm").values()
        }

    def test_there_is_an_alarm_for_each_thing_that_nobody_would_notice(self, template):
        assert set(self.alarms(template)) == ALARMS

    def test_each_alarm_links_to_its_own_entry_in_the_runbook(self, stage, template):
        url = stages_in()[stage].get("observability", {}).get("runbookUrl", "docs/runbook.md")
        headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
        for name, alarm in self.alarms(template).items():
            assert alarm["AlarmDescription"].endswith(f"{url}#{name.lower()}")
            assert name in headings

    def test_alarms_ring_at_the_topic_that_the_stage_names(self, stage, template):
        topic = stages_in()[stage].get("observability", {}).get("topicArn")
        for alarm in self.alarms(template).values():
            assert alarm.get("AlarmActions") == alarm.get("OKActions") == ([topic] if topic else None)

    def test_silence_of_five_minutes_rings(self, template):
        alarm = self.alarms(template)["NoSuccessfulRun"]
        assert (alarm["Period"] * alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (300, "breaching")

    def test_nobody_misses_runs_that_are_switched_off(self):
        resources = synthesized("existing", '{"schedule": {"enabled": false}}').template["Resources"]
        assert set(self.alarms(resources)) == ALARMS - {"NoSuccessfulRun"}

    def test_a_slower_schedule_is_given_more_time(self):
        resources = synthesized("existing", '{"schedule": {"rateMinutes": 10}}').template["Resources"]
        for name in ("NoSuccessfulRun", "OldestWait", "HeartbeatsUntrusted"):
            assert self.alarms(resources)[name]["Period"] == 600

    def test_own_metrics_are_the_ones_that_the_functions_put(self, template):
        put = set(re.findall(r'"([A-Z]\w+)"', (ROOT / "functions/video_reclaim/backlog.py").read_text())) - {
            "Count",
            "Seconds",
            "Video",
            "WorkerType",
            "QUEUE_URLS",
            "InvalidSetting",
        }
        put = {name for name in put if not name.isupper() and "_" not in name}
        shown = {name for namespace, name, *_ in self.series(template) if namespace == "Academy/Workers"}
        alarmed = {
            alarm["MetricName"]
            for alarm in self.alarms(template).values()
            if alarm["Namespace"] == "Academy/Workers"
        }
        assert alarmed <= shown == put

    def test_the_dashboard_shows_the_fleet_from_auto_scaling_itself(self, template):
        shown = {(namespace, name) for namespace, name, *_ in self.series(template)}
        assert ("AWS/AutoScaling", "GroupInServiceInstances") in shown
        assert {("AWS/States", f"Executions{what}") for what in ("Started", "Failed", "Redriven")} <= shown
        assert {("AWS/Lambda", "Errors"), ("AWS/Lambda", "Duration")} <= shown

    def test_dimensions_of_the_stage_are_on_every_metric_but_queue_depth(self):
        overrides = '{"metrics": {"dimensions": {"Environment": "blue", "Site": "a"}}}'
        resources = synthesized("existing", overrides).template["Resources"]
        for namespace, name, *rest in self.series(resources):
            if namespace == "Academy/Workers":
                wanted = ["WorkerType"] if name == "QueueDepth" else ["Environment", "Site"]
                assert rest[:-1:2] == wanted, name
        for alarm in self.alarms(resources).values():
            if alarm["Namespace"] == "Academy/Workers":
                assert alarm["Dimensions"] == [
                    {"Name": "Environment", "Value": "blue"},
                    {"Name": "Site", "Value": "a"},
                ]

    def series(self, template):
        (board,) = of_type(template, "AWS::CloudWatch::Dashboard").values()
        body = board["DashboardBody"]
        text = (
            body
            if isinstance(body, str)
            else "".join(part if isinstance(part, str) else "token" for part in body["Fn::Join"][1])
        )
        return [
            series for widget in json.loads(text)["widgets"] for series in widget["properties"]["metrics"]
        ]


class TestChange:
    def test_the_same_sources_give_the_same_template(self, stage):
        first = json.dumps(synthesized(stage).template, sort_keys=True)
        synthesized.cache_clear()
        assert json.dumps(synthesized(stage).template, sort_keys=True) == first

    def test_another_definition_changes_the_state_machine_alone(self, monkeypatch, tmp_path):
        from cdk import workflow

        before = synthesized("existing").template["Resources"]
        changed = tmp_path / "changed.asl.json"
        changed.write_text(MACHINE.replace('"MaxAttempts": 6', '"MaxAttempts": 5', 1))
        monkeypatch.setattr(workflow, "DEFINITION", changed)
        after = synthesized("existing", '{"tags": {}}').template["Resources"]
        assert [before[id_]["Type"] for id_ in before if before[id_] != after.get(id_)] == [
            "AWS::StepFunctions::StateMachine"
        ]
        assert before.keys() == after.keys()

    def test_other_code_changes_the_functions_alone(self, monkeypatch, tmp_path):
        import shutil

        from cdk import functions as constructs

        before = synthesized("existing").template["Resources"]
        shutil.copytree(ROOT / "functions", tmp_path / "functions")
        handler = tmp_path / "functions" / "enqueue.py"
        handler.write_text(handler.read_text() + "\n# changed\n")
        monkeypatch.setattr(constructs, "ROOT", tmp_path)
        after = synthesized("existing", '{"tags":  {}}').template["Resources"]
        changed = [id_ for id_ in before if before[id_] != after.get(id_)]
        assert {before[id_]["Type"] for id_ in changed} == {"AWS::Lambda::Function"}
        assert all(
            {
                key
                for key in before[id_]["Properties"]
                if before[id_]["Properties"][key] != after[id_]["Properties"][key]
            }
            == {"Code"}
            for id_ in changed
        )
