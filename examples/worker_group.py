"""A worker group for a platform that has none yet: busy workers finish before their instances end.

Beside other constructs of an app of yours, or deployed by itself, for a stage that names the group:

    cdk deploy --app '.venv/bin/python -m examples.worker_group' VideoWorkers
"""

from collections.abc import Mapping, Sequence

from aws_cdk import App, Environment, Fn, Stack, Tags
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

_METRICS = ["GroupDesiredCapacity", "GroupInServiceInstances", "GroupTerminatingRetainedInstances"]
# An action lasts at most 100 of these timeouts, or 48 hours (AWS, "Amazon EC2 Auto Scaling lifecycle hooks"):
# 16 hours, four times as long as a worker's lease.
_HEARTBEAT_TIMEOUT_S = 600


class WorkerGroup(Construct):
    """An Auto Scaling group with a termination lifecycle hook, so that a worker finishes before its instance ends.

    The hook holds for every termination that Auto Scaling decides, zone rebalancing among them (AWS, "Amazon EC2
    Auto Scaling lifecycle hooks"), so instances are not protected and no process is suspended. An instance whose
    worker stopped answering is retained, not ended (AWS, "Configure instance retention"). The group's size
    belongs to the workflow: a deployment sets no desired capacity.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        group_name: str,
        queue: sqs.IQueue,
        image_id: str,
        instance_types: Sequence[str],
        subnet_ids: Sequence[str],
        security_group_ids: Sequence[str] = (),
        spot: bool = False,
        min_size: int = 1,
        max_size: int = 20,
        disk_gib: int = 100,
        user_data: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Create the group.

        :param scope: parent.
        :param id_: id within the parent.
        :param group_name: name, as the stage's ``workers.groupName``.
        :param queue: the video queue.
        :param image_id: the AMI, or ``resolve:ssm:`` and the name of a parameter that holds it.
        :param instance_types: any of these is launched; each counts as one worker.
        :param subnet_ids: subnets of the instances.
        :param security_group_ids: their security groups.
        :param spot: whether instances are Spot.
        :param min_size: the fewest instances.
        :param max_size: the most.
        :param disk_gib: size of the encrypted root volume, ``/dev/xvda``.
        :param user_data: the script that instances run at their start.
        :param tags: tags of the instances' volumes, which have none of the group's.
        """
        super().__init__(scope, id_)
        self._group_name = group_name
        template = self._template(image_id, queue, security_group_ids, disk_gib, user_data, tags or {})
        group = autoscaling.CfnAutoScalingGroup
        self.group = group(
            self,
            "Group",
            auto_scaling_group_name=group_name,
            min_size=str(min_size),
            max_size=str(max_size),
            vpc_zone_identifier=list(subnet_ids),
            # Without weights: a group whose instances count differently can't be sized by videos.
            mixed_instances_policy=group.MixedInstancesPolicyProperty(
                launch_template=group.LaunchTemplateProperty(
                    launch_template_specification=group.LaunchTemplateSpecificationProperty(
                        launch_template_id=template.ref, version=template.attr_latest_version_number
                    ),
                    overrides=[
                        group.LaunchTemplateOverridesProperty(instance_type=kind) for kind in instance_types
                    ],
                ),
                instances_distribution=group.InstancesDistributionProperty(
                    on_demand_percentage_above_base_capacity=0 if spot else 100,
                    spot_allocation_strategy="price-capacity-optimized",
                ),
            ),
            # Given, not left out: an update keeps the value of what a template doesn't name.
            new_instances_protected_from_scale_in=False,
            instance_lifecycle_policy=group.InstanceLifecyclePolicyProperty(
                retention_triggers=group.RetentionTriggersProperty(terminate_hook_abandon="retain")
            ),
            metrics_collection=[group.MetricsCollectionProperty(granularity="1Minute", metrics=_METRICS)],
        )
        Tags.of(self.group).add("Name", group_name)
        # Not the group's LifecycleHookSpecificationList: when the stack is deleted, a hook of its own goes first
        # and its waiting instances end (AWS, "DeleteLifecycleHook"). The group's deletion then waits for none.
        autoscaling.CfnLifecycleHook(
            self,
            "FinishEncode",
            auto_scaling_group_name=self.group.ref,
            lifecycle_hook_name="finish-encode",
            lifecycle_transition="autoscaling:EC2_INSTANCE_TERMINATING",
            default_result="ABANDON",
            heartbeat_timeout=_HEARTBEAT_TIMEOUT_S,
        )

    def _template(
        self,
        image_id: str,
        queue: sqs.IQueue,
        security_group_ids: Sequence[str],
        disk_gib: int,
        user_data: str,
        tags: Mapping[str, str],
    ) -> ec2.CfnLaunchTemplate:
        of = ec2.CfnLaunchTemplate
        volume_tags = [
            {"key": key, "value": value} for key, value in {"Name": self._group_name, **tags}.items()
        ]
        profile = iam.CfnInstanceProfile(self, "Profile", roles=[self._role(queue).role_name])
        return of(
            self,
            "LaunchTemplate",
            launch_template_data=of.LaunchTemplateDataProperty(
                image_id=image_id,
                security_group_ids=list(security_group_ids) or None,
                iam_instance_profile=of.IamInstanceProfileProperty(arn=profile.attr_arn),
                user_data=Fn.base64(user_data) if user_data else None,
                metadata_options=of.MetadataOptionsProperty(http_tokens="required"),
                block_device_mappings=[
                    of.BlockDeviceMappingProperty(
                        device_name="/dev/xvda",
                        ebs=of.EbsProperty(encrypted=True, volume_size=disk_gib, volume_type="gp3"),
                    )
                ],
                monitoring=of.MonitoringProperty(enabled=True),
                tag_specifications=[of.TagSpecificationProperty(resource_type="volume", tags=volume_tags)],
            ),
        )

    def _role(self, queue: sqs.IQueue) -> iam.Role:
        """Create a role with what the worker contract needs; storage and secrets are the workers' own."""
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        queue.grant_consume_messages(role)  # and the use of its key
        group = Stack.of(self).format_arn(
            service="autoscaling",
            resource="autoScalingGroup:*:autoScalingGroupName",
            resource_name=self._group_name,
        )
        finish = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
        role.add_to_policy(iam.PolicyStatement(actions=finish, resources=[group]))
        return role


if __name__ == "__main__":
    app = App()
    stack = Stack(app, "VideoWorkers", env=Environment(account="123456789012", region="eu-west-1"))
    WorkerGroup(
        stack,
        "Workers",
        group_name="academy-video-worker-asg",
        queue=sqs.Queue.from_queue_arn(
            stack, "Jobs", "arn:aws:sqs:eu-west-1:123456789012:academy-video-jobs"
        ),
        image_id="resolve:ssm:/academy/workers/video/ami",
        instance_types=["c7g.xlarge"],
        subnet_ids=["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        security_group_ids=["sg-0123456789abcdef2"],
    )
    app.synth()
