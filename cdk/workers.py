"""A worker group for a stage that has none yet."""

from aws_cdk import Fn, Tags
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from constructs import Construct

from .findings import accept, accept_lint
from .platform import NewWorkers

HOOK_NAME = "finish-encode"
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
        workers: NewWorkers,
        volume_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, id_)
        profile = workers.instance_profile_arn
        template = ec2.CfnLaunchTemplate(
            self,
            "LaunchTemplate",
            launch_template_data=ec2.CfnLaunchTemplate.LaunchTemplateDataProperty(
                image_id=workers.image_id,
                instance_type=workers.instance_type,
                security_group_ids=workers.security_group_ids or None,
                iam_instance_profile=ec2.CfnLaunchTemplate.IamInstanceProfileProperty(arn=profile)
                if profile
                else None,
                user_data=Fn.base64(workers.user_data) if workers.user_data else None,
                metadata_options=ec2.CfnLaunchTemplate.MetadataOptionsProperty(http_tokens="required"),
                block_device_mappings=[
                    ec2.CfnLaunchTemplate.BlockDeviceMappingProperty(
                        device_name=workers.root_device,
                        ebs=ec2.CfnLaunchTemplate.EbsProperty(
                            encrypted=True,
                            kms_key_id=volume_key.key_arn if volume_key else None,
                            volume_size=workers.disk_gib,
                            volume_type="gp3",
                        ),
                    )
                ],
                monitoring=ec2.CfnLaunchTemplate.MonitoringProperty(enabled=True),
            ),
        )
        self.group = autoscaling.CfnAutoScalingGroup(
            self,
            "Group",
            auto_scaling_group_name=group_name,
            min_size=str(workers.min),
            max_size=str(workers.max),
            vpc_zone_identifier=workers.subnet_ids or None,
            availability_zones=workers.availability_zones or None,
            launch_template=autoscaling.CfnAutoScalingGroup.LaunchTemplateSpecificationProperty(
                launch_template_id=template.ref, version=template.attr_latest_version_number
            ),
            instance_lifecycle_policy=autoscaling.CfnAutoScalingGroup.InstanceLifecyclePolicyProperty(
                retention_triggers=autoscaling.CfnAutoScalingGroup.RetentionTriggersProperty(
                    terminate_hook_abandon="retain"
                )
            ),
            metrics_collection=[
                autoscaling.CfnAutoScalingGroup.MetricsCollectionProperty(
                    granularity="1Minute", metrics=_METRICS
                )
            ],
        )
        Tags.of(self.group).add("Name", group_name)
        accept(
            self.group,
            "AwsSolutions-AS3",
            because="its activities are in its own history and on the dashboard",
        )
        if not workers.subnet_ids:
            accept(self.group, "CloudFormation-Validate::W3010", because="the stage names its zones")
            accept_lint(self.group, "W3010", because="the stage names its zones")
        # Not the group's LifecycleHookSpecificationList: when the stack is deleted, a hook of its own goes first
        # and its waiting instances end (AWS, "DeleteLifecycleHook"). The group's deletion then waits for none.
        autoscaling.CfnLifecycleHook(
            self,
            "FinishEncode",
            auto_scaling_group_name=self.group.ref,
            lifecycle_hook_name=HOOK_NAME,
            lifecycle_transition="autoscaling:EC2_INSTANCE_TERMINATING",
            default_result="ABANDON",
            heartbeat_timeout=_HEARTBEAT_TIMEOUT_S,
        )
