"""What a stage's template makes, tells its functions, and leaves alone."""

import ast
import json
import re

import msgspec
import pytest

from cdk.stage import StageFile, stages_in
from tests.infra.conftest import DEFINITION, ROOT, STAGES, assemble_anew, functions, of_type, synthesized
from video_reclaim import settings
from video_reclaim.settings import variable

READS = {
    "ListStaleVideos": {"Database", "Redis", "Reclaiming", "Schedule", "Queues", "Workers"},
    "Reclaim": {"Database", "Redis", "Reclaiming"},
    "Enqueue": {"Database", "Redis", "Reclaiming", "Queues"},
    "PublishBacklog": {"Database", "Queues", "Metrics", "Scaling", "Workers", "Schedule"},
}
SECTIONS = {
    name: section
    for name, section in vars(settings).items()
    if isinstance(section, type) and issubclass(section, msgspec.Struct)
}
OPTIONAL = {
    variable(section, field.name)
    for section in SECTIONS.values()
    for field in msgspec.structs.fields(section)
    if not field.required
}
NOT_IN_A_STAGE = {
    "Database": {"statement_seconds"},  # follows from the function's timeout
    "Queues": {"urls"},  # known once the queues are
}

OWN = {
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::Events::Rule",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::Function",
    "AWS::Lambda::LayerVersion",
    "AWS::Logs::LogGroup",
    "AWS::Logs::QueryDefinition",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
    "AWS::StepFunctions::StateMachine",
}


class TestFunctions:
    def test_the_code_reads_what_this_test_says_it_reads(self):
        by_adapter = {"store": "Database", "heartbeats": "Redis"}
        for step, sections in READS.items():
            module = re.sub(r"(?<!^)(?=[A-Z])", "_", step).lower()
            calls = [
                n
                for n in ast.walk(ast.parse((ROOT / "functions" / f"{module}.py").read_text()))
                if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            ]
            read = {call.args[0].id for call in calls if call.func.id == "read"}
            read |= {by_adapter[call.func.id] for call in calls if call.func.id in by_adapter}
            assert read == sections, step

    def test_each_has_every_variable_that_it_reads_and_no_other(self, template):
        for step, function in functions(template).items():
            read = {
                variable(section, field.name)
                for section in (getattr(settings, name) for name in READS[step])
                for field in msgspec.structs.fields(section)
            }
            given = set(function["Environment"]["Variables"])
            assert given <= read, step
            assert read - given <= OPTIONAL, step

    @pytest.mark.parametrize("name", SECTIONS)
    def test_a_section_of_the_settings_has_the_keys_of_the_stage(self, name):
        keys = StageFile.model_fields[name.lower()].annotation.model_fields
        told = {key for key, field in keys.items() if not field.exclude} if name != "Queues" else set()
        read = {field.name for field in msgspec.structs.fields(SECTIONS[name])}
        assert read == told | NOT_IN_A_STAGE.get(name, set())

    @pytest.mark.parametrize("step", READS)
    def test_the_settings_can_be_read_from_the_variables(self, step):
        resources = synthesized("existing").template["Resources"]
        given = functions(resources)[step]["Environment"]["Variables"]
        given = given | {"QUEUES_URLS": '{"Video": ["url"]}'}
        for name in READS[step]:
            settings.read(getattr(settings, name), given)

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
            assert variables["DATABASE_SSL_MODE"] == "verify-full"
            assert variables["DATABASE_SSL_ROOT_CERT"] == "rds.pem"
            assert len(one["Layers"]) == 2
        assert any(layer["Description"].startswith("Roots") for layer in layers.values())
        assert (ROOT / "cdk" / "certificates" / "rds.pem").read_text().count("BEGIN CERTIFICATE") > 80


class TestCreatedResources:
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

    @pytest.mark.parametrize("stage", ["greenfield", "local"])
    def test_a_worker_group_that_is_made_lets_a_busy_worker_finish(self, stage):
        resources = synthesized(stage).template["Resources"]
        ((group_id, group),) = of_type(resources, "AWS::AutoScaling::AutoScalingGroup").items()
        ((_, hook),) = of_type(resources, "AWS::AutoScaling::LifecycleHook").items()
        assert hook["AutoScalingGroupName"] == {"Ref": group_id}
        assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
        assert hook["DefaultResult"] == "ABANDON"
        # AWS: 100 heartbeat timeouts, or 48 hours. A worker's lease is the longest encode.
        assert min(100 * hook["HeartbeatTimeout"], 48 * 3600) >= 14_400
        assert group["InstanceLifecyclePolicy"] == {"RetentionTriggers": {"TerminateHookAbandon": "retain"}}

    @pytest.mark.parametrize("stage", ["greenfield", "local"])
    def test_nothing_that_is_made_keeps_a_worker_group_from_being_deleted(self, stage):
        resources = synthesized(stage).template["Resources"]
        (group,) = of_type(resources, "AWS::AutoScaling::AutoScalingGroup").values()
        assert not group.get("NewInstancesProtectedFromScaleIn"), "aws-cdk#18179: the deletion would hang"
        assert "LifecycleHookSpecificationList" not in group, "such a hook would outlive the stack's deletion"
        assert "DesiredCapacity" not in group


class TestChange:
    def test_the_same_sources_give_the_same_template(self, stage):
        again = assemble_anew(json.dumps(stages_in()), stage)
        assert json.dumps(again, sort_keys=True) == json.dumps(synthesized(stage).template, sort_keys=True)

    def test_another_definition_changes_the_state_machine_alone(self, monkeypatch, tmp_path):
        from cdk import workflow

        before = synthesized("existing").template["Resources"]
        changed = tmp_path / "changed.asl.json"
        changed.write_text(DEFINITION.read_text().replace('"MaxAttempts": 6', '"MaxAttempts": 5', 1))
        monkeypatch.setattr(workflow, "DEFINITION", changed)
        after = assemble_anew(json.dumps(stages_in()), "existing")["Resources"]
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
        after = assemble_anew(json.dumps(stages_in()), "existing")["Resources"]
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
