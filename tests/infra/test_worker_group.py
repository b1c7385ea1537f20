"""A created worker group: what it is, and that it can be removed whatever its instances do."""

import importlib.util
import json
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws

from tests.infra.conftest import ROOT, of_type, synthesized
from tests.infra.test_permissions import GROUP, granted, written
from tests.infra.test_places import synthesize
from tests.infra.test_stages import CREATE

NAME, REGION = "academy-video-worker-asg", "eu-west-1"
HOOK = {"LifecycleHookName": "drain", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING"}


@pytest.fixture
def resources():
    return synthesized("greenfield").template["Resources"]


@pytest.fixture
def prepare(monkeypatch):
    """The custom resource's function, as CloudFormation calls it; it answers into ``sent``."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    spec = importlib.util.spec_from_file_location("index", ROOT / "cdk" / "worker_group" / "index.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sent, used = [], set()

    class Answered:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(
        module.urllib.request,
        "urlopen",
        lambda request, timeout: sent.append(json.loads(request.data)) or Answered(),
    )

    def call(kind, group=NAME, zones="2"):
        session = boto3.Session("test", "test", region_name=REGION)
        session.events.register(
            "provide-client-params.*.*", lambda model, **_: used.add(f"autoscaling:{model.name}")
        )
        monkeypatch.setattr(module.boto3, "client", session.client)
        properties = {"AutoScalingGroupName": group, "Zones": zones}
        ids = {"StackId": "s", "RequestId": "r", "LogicalResourceId": "l", "ResponseURL": "https://answer"}
        module.handler({"RequestType": kind, "ResourceProperties": properties, **ids}, None)
        return sent[-1]

    return SimpleNamespace(call=call, used=used)


@pytest.fixture
def scaling():
    """A group of 60 protected instances with a termination lifecycle hook."""
    with mock_aws():
        client = boto3.client("autoscaling", region_name=REGION)
        client.create_launch_configuration(
            LaunchConfigurationName="w", ImageId="ami-1", InstanceType="t3.micro"
        )
        client.create_auto_scaling_group(
            AutoScalingGroupName=NAME,
            LaunchConfigurationName="w",
            MinSize=1,
            MaxSize=60,
            DesiredCapacity=60,
            AvailabilityZones=[f"{REGION}a"],
            NewInstancesProtectedFromScaleIn=True,
        )
        client.put_lifecycle_hook(AutoScalingGroupName=NAME, **HOOK)
        yield client


def group(scaling):
    (found,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])["AutoScalingGroups"]
    return found


def test_before_it_is_deleted_nothing_holds_its_instances(scaling, prepare):
    assert prepare.call("Delete")["Status"] == "SUCCESS"
    left = group(scaling)
    assert (left["MinSize"], left["DesiredCapacity"], left["NewInstancesProtectedFromScaleIn"]) == (
        0,
        0,
        False,
    )
    assert not [one for one in left["Instances"] if one["ProtectedFromScaleIn"]]
    assert scaling.describe_lifecycle_hooks(AutoScalingGroupName=NAME)["LifecycleHooks"] == []


def test_a_group_that_is_gone_holds_nothing_up(scaling, prepare):
    assert prepare.call("Delete", group="gone")["Status"] == "SUCCESS"


@pytest.mark.parametrize(("zones", "suspended"), [("2", ["AZRebalance"]), ("1", [])])
def test_rebalancing_is_suspended_where_there_are_zones_to_balance(scaling, prepare, zones, suspended):
    for kind in ("Create", "Update"):
        assert prepare.call(kind, zones=zones)["Status"] == "SUCCESS"
        assert [one["ProcessName"] for one in group(scaling)["SuspendedProcesses"]] == suspended


def test_a_failure_is_an_answer_with_its_reason(scaling, prepare):
    answer = prepare.call("Create", group="gone")
    assert answer["Status"] == "FAILED"
    assert "gone" in answer["Reason"] or "not found" in answer["Reason"]


def test_it_may_do_what_it_does_and_nothing_more(scaling, prepare, resources):
    for kind in ("Create", "Delete"):
        prepare.call(kind)
    (role,) = [id_ for id_ in of_type(resources, "AWS::IAM::Role") if id_.startswith("WorkersPrepareRole")]
    pairs = {pair for pair in granted(resources, role) if pair[0].startswith("autoscaling:")}
    assert {action for action, _ in pairs} == prepare.used
    narrow = {resource.split(":", 5)[5] for action, resource in pairs if ":Describe" not in action}
    assert narrow == {GROUP.split(":", 5)[5]}


def test_it_is_created_last_and_prepared_after_that(resources):
    (id_,) = of_type(resources, "AWS::AutoScaling::AutoScalingGroup")
    # The schedule, which is among the others, waits for its role.
    own = ("Workers", "Queues", "SchedulerRole")
    others = {one for one in resources if not one.startswith(own)}
    assert others <= set(resources[id_]["DependsOn"])
    (prepared,) = [one for one in resources.values() if one["Type"] == "Custom::PreparedWorkerGroup"]
    assert id_ in prepared["DependsOn"]


def test_volumes_have_the_tags_of_the_stage(resources):
    (template,) = of_type(resources, "AWS::EC2::LaunchTemplate").values()
    (volume,) = template["LaunchTemplateData"]["TagSpecifications"]
    tags = {tag["Key"]: tag["Value"] for tag in volume["Tags"]}
    assert volume["ResourceType"] == "volume"
    assert tags == {"Name": NAME, "application": "video-reclaim", "stage": "greenfield"}


class TestOptions:
    def make(self, **workers):
        create = {**CREATE["workers"]["create"], **workers}
        return synthesize({**CREATE, "workers": {"create": create}})[1]["Resources"]

    def test_spot_and_more_instance_types_without_weights(self):
        resources = self.make(spot=True, moreInstanceTypes=["c7g.2xlarge"], onDemandBase=1)
        (made,) = of_type(resources, "AWS::AutoScaling::AutoScalingGroup").values()
        policy = made["MixedInstancesPolicy"]
        kinds = policy["LaunchTemplate"]["Overrides"]
        assert kinds == [{"InstanceType": "c7g.large"}, {"InstanceType": "c7g.2xlarge"}]
        distribution = policy["InstancesDistribution"]
        assert (
            distribution["OnDemandBaseCapacity"],
            distribution["OnDemandPercentageAboveBaseCapacity"],
        ) == (1, 0)
        assert "LaunchTemplate" not in made

    def test_a_profile_with_what_the_contract_needs_where_none_is_given(self):
        resources = self.make()
        (role,) = [id_ for id_ in of_type(resources, "AWS::IAM::Role") if id_.startswith("WorkersRole")]
        actions = {action for action, _ in granted(resources, role)}
        assert {"sqs:ReceiveMessage", "sqs:DeleteMessage", "autoscaling:SetInstanceProtection"} <= actions
        (template,) = of_type(resources, "AWS::EC2::LaunchTemplate").values()
        profile = written(template["LaunchTemplateData"]["IamInstanceProfile"]["Arn"], resources)
        assert profile.startswith("<WorkersProfile")
        given = "arn:aws:iam::123456789012:instance-profile/mine"
        assert not of_type(self.make(instanceProfileArn=given), "AWS::IAM::InstanceProfile")
