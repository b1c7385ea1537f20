"""What a stage's settings are in the resources that it makes, and what its outputs name."""

import importlib
import json

import pytest

from cdk.stage import load, stages_in
from tests.infra.conftest import STAGES, functions, machine_of, of_type, synthesized
from tests.infra.references import written
from tests.infra.test_example import template_of_example

DAYS = {"ONE_WEEK": 7, "ONE_MONTH": 30, "THREE_MONTHS": 90, "ONE_YEAR": 365}
TWO_WEEKS_S = 14 * 24 * 3600


@pytest.fixture(params=STAGES)
def made(request):
    """A stage, and the template that was made of it."""
    return load(stages_in(), request.param), synthesized(request.param).template


@pytest.mark.parametrize("retention", DAYS)
def test_logs_are_kept_as_long_as_the_stage_says(retention):
    given = json.dumps({"observability": {"logRetention": retention}})
    groups = of_type(synthesized("existing", given).template["Resources"], "AWS::Logs::LogGroup").values()
    assert {group["RetentionInDays"] for group in groups} == {DAYS[retention]}


class TestFunctions:
    def test_each_writes_into_a_log_group_of_its_own(self, made):
        resources = made[1]["Resources"]
        groups = of_type(resources, "AWS::Logs::LogGroup")
        for step, function in functions(resources).items():
            assert groups[function["LoggingConfig"]["LogGroup"]["Ref"]]["LogGroupName"].endswith(f"/{step}")

    def test_each_has_a_role_of_its_own(self, made):
        roles = [json.dumps(function["Role"]) for function in functions(made[1]["Resources"]).values()]
        assert len(set(roles)) == len(roles) == 4

    def test_each_has_the_memory_that_the_stage_says(self, made):
        stage, template = made
        memory = {function["MemorySize"] for function in functions(template["Resources"]).values()}
        assert memory == {stage.functions.memory_mb}

    def test_each_is_the_handler_of_its_step(self, made):
        for step, function in functions(made[1]["Resources"]).items():
            module, _, name = function["Handler"].partition(".")
            assert callable(getattr(importlib.import_module(module), name))
            assert module.replace("_", "") == step.lower()

    def test_each_has_every_layer(self, made):
        resources = made[1]["Resources"]
        layers = sorted(of_type(resources, "AWS::Lambda::LayerVersion"))
        for function in functions(resources).values():
            assert sorted(layer["Ref"] for layer in function["Layers"]) == layers

    def test_the_layer_is_for_the_functions(self, made):
        resources = made[1]["Resources"]
        for layer in of_type(resources, "AWS::Lambda::LayerVersion").values():
            for function in functions(resources).values():
                assert layer.get("CompatibleRuntimes", [function["Runtime"]]) == [function["Runtime"]]
                assert layer.get("CompatibleArchitectures", ["arm64"]) == function["Architectures"]

    def test_each_ends_while_the_alarm_still_counts_the_round(self, made):
        """NoSuccessfulRun has five minutes' patience: no single function may use up a third of it."""
        for function in functions(made[1]["Resources"]).values():
            assert 10 < function["Timeout"] <= 100


class TestQueues:
    def test_messages_are_kept_for_two_weeks_as_long_as_sqs_can(self, made):
        for queue in of_type(made[1]["Resources"], "AWS::SQS::Queue").values():
            assert queue["MessageRetentionPeriod"] == TWO_WEEKS_S

    def test_messages_are_encrypted(self, made):
        for queue in of_type(made[1]["Resources"], "AWS::SQS::Queue").values():
            assert queue["SqsManagedSseEnabled"] is True

    def test_what_is_created_has_the_stage_s_names(self, made):
        stage, template = made
        queues = {queue["QueueName"] for queue in of_type(template["Resources"], "AWS::SQS::Queue").values()}
        assert {name for name in queues if not name.endswith("undelivered")} == (
            set(stage.queues.names) if stage.queues.create else set()
        )

    def test_only_the_video_queue_has_dead_letters_and_they_are_in_the_queue_that_is_watched(self, made):
        stage, template = made
        resources = template["Resources"]
        for queue in of_type(resources, "AWS::SQS::Queue").values():
            policy = queue.get("RedrivePolicy")
            assert (policy is not None) == (queue["QueueName"] == stage.queues.video)
            if policy:
                name = written(policy["deadLetterTargetArn"], resources).rpartition(":")[2]
                assert name == stage.queues.video_dead_letter

    def test_a_message_is_hidden_while_a_worker_starts(self, made):
        """The worker extends it by its heartbeats; see docs/worker-contract.md."""
        for queue in of_type(made[1]["Resources"], "AWS::SQS::Queue").values():
            if not queue["QueueName"].endswith("undelivered"):
                assert queue["VisibilityTimeout"] == 300


def test_what_is_deleted_with_the_stack(made):
    stage, template = made
    of_stage = "Retain" if stage.retain else "Delete"
    for id_, one in template["Resources"].items():
        if one["Type"] == "AWS::Logs::LogGroup" or id_.startswith("Queues"):
            assert one.get("DeletionPolicy", "Delete") == of_stage
        elif one["Type"] == "AWS::SQS::Queue":
            assert one["DeletionPolicy"] == "Delete", "the same starts come again"


class TestWorkers:
    @pytest.fixture(params=[name for name in STAGES if load(stages_in(), name).workers.create])
    def workers(self, request):
        stage = load(stages_in(), request.param)
        return stage, stage.workers.create, synthesized(request.param).template["Resources"]

    def test_the_group_has_the_stage_s_limits_and_place(self, workers):
        stage, create, resources = workers
        (group,) = of_type(resources, "AWS::AutoScaling::AutoScalingGroup").values()
        assert group["AutoScalingGroupName"] == stage.workers.group_name
        assert (int(group["MinSize"]), int(group["MaxSize"])) == (create.min, create.max)
        assert group.get("VPCZoneIdentifier", []) == create.subnet_ids
        assert group.get("AvailabilityZones", []) == create.availability_zones

    def test_its_instances_are_what_the_stage_says(self, workers):
        _, create, resources = workers
        ((id_, template),) = of_type(resources, "AWS::EC2::LaunchTemplate").items()
        (group,) = of_type(resources, "AWS::AutoScaling::AutoScalingGroup").values()
        latest = {"Fn::GetAtt": [id_, "LatestVersionNumber"]}
        assert group["LaunchTemplate"] == {"LaunchTemplateId": {"Ref": id_}, "Version": latest}
        data = template["LaunchTemplateData"]
        assert (data["ImageId"], data["InstanceType"]) == (create.image_id, create.instance_type)
        assert data.get("SecurityGroupIds", []) == create.security_group_ids
        profile = written(data["IamInstanceProfile"]["Arn"], resources)
        assert profile == (create.instance_profile_arn or profile)
        assert create.instance_profile_arn or profile.startswith("<WorkersProfile")

    def test_its_disks_are_encrypted_and_its_metadata_needs_a_session(self, workers):
        _, create, resources = workers
        (template,) = of_type(resources, "AWS::EC2::LaunchTemplate").values()
        data = template["LaunchTemplateData"]
        (disk,) = data["BlockDeviceMappings"]
        assert disk["DeviceName"] == create.root_device
        assert (disk["Ebs"]["Encrypted"], disk["Ebs"]["VolumeSize"]) == (True, create.disk_gib)
        assert disk["Ebs"]["VolumeType"] == "gp3"
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        assert data["Monitoring"] == {"Enabled": True}, "each minute, as the group's metrics are"

    def test_the_metrics_of_the_dashboard_are_collected_each_minute(self, workers):
        (group,) = of_type(workers[2], "AWS::AutoScaling::AutoScalingGroup").values()
        (collected,) = group["MetricsCollection"]
        assert collected["Granularity"] == "1Minute"
        drawn = {"GroupDesiredCapacity", "GroupInServiceInstances"}
        assert drawn < set(collected["Metrics"]), "and the instances that are retained, for docs/runbook.md"
        assert "GroupTerminatingRetainedInstances" in collected["Metrics"]


def test_each_output_names_what_it_says(made):
    stage, template = made
    resources = template["Resources"]
    outputs = {name: written(output["Value"], resources) for name, output in template["Outputs"].items()}
    (machine_id,) = of_type(resources, "AWS::StepFunctions::StateMachine")
    (schedule_id,) = of_type(resources, "AWS::Scheduler::Schedule")
    for name, queue in (
        ("QueueUrl", stage.queues.video),
        ("DeadLetterQueueUrl", stage.queues.video_dead_letter),
    ):
        url = outputs.pop(name)
        assert url.startswith("https://sqs.") and url.rpartition("/")[2] == queue
    assert outputs == {
        "StateMachineArn": f"<{machine_id}>",
        "ScheduleName": f"<{schedule_id}>",
        "AutoScalingGroupName": stage.workers.group_name,
        "MetricNamespace": stage.metrics.namespace,
        **{f"{step}Function": one["FunctionName"] for step, one in functions(resources).items()},
    }


class TestExample:
    @pytest.fixture
    def resources(self):
        return template_of_example()["Resources"]

    def test_the_workflow_s_data_is_encrypted_with_the_key_and_the_functions_may_answer_for_a_while(
        self, resources
    ):
        encryption = machine_of(resources)["EncryptionConfiguration"]
        assert encryption["Type"] == "CUSTOMER_MANAGED_KMS_KEY"
        assert encryption.get("KmsDataKeyReusePeriodSeconds", 300) >= 60, "a call to KMS costs"

    def test_the_functions_sit_in_private_subnets_in_a_group_of_their_own(self, resources):
        private = {
            id_
            for id_, subnet in of_type(resources, "AWS::EC2::Subnet").items()
            if not subnet["MapPublicIpOnLaunch"]
        }
        groups = {
            id_ for id_ in of_type(resources, "AWS::EC2::SecurityGroup") if id_.startswith("VideoReclaim")
        }
        for function in functions(resources).values():
            assert {subnet["Ref"] for subnet in function["VpcConfig"]["SubnetIds"]} == private
            placed = {group["Fn::GetAtt"][0] for group in function["VpcConfig"]["SecurityGroupIds"]}
            assert placed == groups

    def test_the_functions_may_call_out(self, resources):
        for id_, group in of_type(resources, "AWS::EC2::SecurityGroup").items():
            if id_.startswith("VideoReclaim"):
                (out,) = group["SecurityGroupEgress"]
                assert (out["CidrIp"], out["IpProtocol"]) == ("0.0.0.0/0", "-1")
                assert "SecurityGroupIngress" not in group
