"""A worker group that the stage creates."""

import pytest

from tests.infra.conftest import of_type, synthesized
from tests.infra.references import granted, written
from tests.infra.test_places import synthesize
from tests.infra.test_stages import CREATE

NAME = "academy-video-worker-asg"


@pytest.fixture
def resources():
    return synthesized("greenfield").template["Resources"]


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
        finish = {"autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"}
        assert {"sqs:ReceiveMessage", "sqs:DeleteMessage", *finish} <= actions
        (template,) = of_type(resources, "AWS::EC2::LaunchTemplate").values()
        profile = written(template["LaunchTemplateData"]["IamInstanceProfile"]["Arn"], resources)
        assert profile.startswith("<WorkersProfile")
        given = "arn:aws:iam::123456789012:instance-profile/mine"
        assert not of_type(self.make(instanceProfileArn=given), "AWS::IAM::InstanceProfile")
