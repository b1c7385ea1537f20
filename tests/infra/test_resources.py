"""What a stage makes beside its functions: queues, outputs, names, and what is left when it is deleted."""

import json
import re

import pytest

from cdk.stage import load, stages_in
from tests.infra.conftest import STAGES, functions, of_type, synthesized
from tests.infra.references import written
from tests.infra.test_stages import CREATE, LEAST

TWO_WEEKS_S = 14 * 24 * 3600
NAMES = {
    *("AlarmName", "DashboardName", "FunctionName", "LogGroupName"),
    *("Name", "QueueName", "StateMachineName"),
}


@pytest.fixture(params=STAGES)
def made(request):
    """A stage, and the template that was made of it."""
    return load(stages_in(), request.param), synthesized(request.param).template


def test_beside_a_platform_no_queue_is_made_but_that_of_failed_starts():
    queues = of_type(synthesized("existing").template["Resources"], "AWS::SQS::Queue").values()
    assert [queue["QueueName"] for queue in queues] == ["video-reclaim-existing-undelivered"]


def test_nothing_is_looked_up(stage):
    result = synthesized(stage)
    assert "missing" not in json.loads((result.folder / "manifest.json").read_text())
    assert not re.search(r"dummy-value-for|12345\.dkr", json.dumps(result.template))


def test_queues_have_what_the_platform_asks_for(made):
    stage, template = made
    resources = template["Resources"]
    queues = of_type(resources, "AWS::SQS::Queue").values()
    created = {
        queue["QueueName"]: queue for queue in queues if not queue["QueueName"].endswith("undelivered")
    }
    assert set(created) == (set(stage.queues.names) if stage.queues.create else set())
    for queue in queues:
        assert (queue["MessageRetentionPeriod"], queue["SqsManagedSseEnabled"]) == (TWO_WEEKS_S, True)
        policy = queue.get("RedrivePolicy")
        assert (policy is not None) == (queue["QueueName"] == stage.queues.video)
        if policy:
            assert policy["maxReceiveCount"] == 3
            dead_letters = written(policy["deadLetterTargetArn"], resources).rpartition(":")[2]
            assert dead_letters == stage.queues.video_dead_letter
    # A worker extends it by its heartbeats; see docs/worker-contract.md.
    assert {queue["VisibilityTimeout"] for queue in created.values()} <= {300}


@pytest.mark.parametrize("retain", [True, False])
def test_queues_and_logs_are_tagged_and_kept_or_deleted_with_the_stack(retain):
    given = {**CREATE, "retain": retain, "terminationProtection": not retain, "tags": {"team": "video"}}
    made = synthesized("mine", stages={"mine": given})
    assert made.termination_protection is (not retain)
    for id_, one in made.template["Resources"].items():
        if one["Type"] in ("AWS::Logs::LogGroup", "AWS::SQS::Queue"):
            kept = retain and not id_.startswith("Schedule")  # the same starts come again
            assert one["DeletionPolicy"] == ("Retain" if kept else "Delete")
            found = {tag["Key"]: tag["Value"] for tag in one["Properties"]["Tags"]}
            assert found == {"application": "video-reclaim", "stage": "mine", "team": "video"}


def test_each_output_names_what_it_says(made):
    stage, template = made
    resources = template["Resources"]
    outputs = {name: written(output["Value"], resources) for name, output in template["Outputs"].items()}
    (machine_id,) = of_type(resources, "AWS::StepFunctions::StateMachine")
    (schedule_id,) = of_type(resources, "AWS::Scheduler::Schedule")
    for name, queue in (("QueueUrl", "video"), ("DeadLetterQueueUrl", "video_dead_letter")):
        url = outputs.pop(name)
        assert url.startswith("https://sqs.") and url.rpartition("/")[2] == getattr(stage.queues, queue)
    assert outputs == {
        "StateMachineArn": f"<{machine_id}>",
        "ScheduleName": f"<{schedule_id}>",
        "AutoScalingGroupName": stage.workers.group_name,
        "MetricNamespace": stage.metrics.namespace,
        **{f"{step}Function": one["FunctionName"] for step, one in functions(resources).items()},
    }


def names_in(template):
    """Every name of a resource, and what tells the metrics and the override apart."""
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        yield from (value for key, value in properties.items() if key in NAMES and isinstance(value, str))
        variables = properties.get("Environment", {}).get("Variables", {})
        told = ("METRICS_DIMENSIONS", "SCALING_OVERRIDE_PARAMETER", "STAGE_NAME")
        yield from (variables[key] for key in told if key in variables)


def test_two_stages_that_create_their_queues_have_no_name_in_common():
    mine, other = (
        set(names_in(synthesized(name, stages={name: CREATE}).template)) for name in ("mine", "other")
    )
    assert len(mine) == len(other) > 30
    assert mine & other == set()


PLACES = {"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1", "aws": "eu-west-1"}


def partitions_in(value):
    """Every partition that is written out in a template, and whether it refers to the deployment's own."""
    text = json.dumps(value)
    return set(re.findall(r"arn:(aws[\w-]*):", text)), "AWS::Partition" in text


@pytest.mark.parametrize("partition", PLACES)
def test_every_stage_is_of_one_partition(partition, stage, tmp_path):
    """They have networks, keys and topics, and sign in by IAM, by secret and by neither."""
    given, region = stages_in()[stage], PLACES[partition]
    text = json.dumps(given).replace(given["region"], region).replace("arn:aws:", f"arn:{partition}:")
    there = json.loads(text)
    (tmp_path / "roots.pem").write_text("roots")
    there["database"]["sslRootCert"] = str(tmp_path / "roots.pem")
    written, _ = partitions_in(synthesized(stage, stages={stage: there}).template)
    assert written <= {partition}
    assert written or "arn:" not in text


def test_without_a_region_the_partition_is_the_deployments():
    for values in (LEAST, CREATE):
        values = {**values, "database": {"host": "db", "name": "academy", "user": "u"}}
        assert partitions_in(synthesized("mine", stages={"mine": values}).template) == (set(), True)
