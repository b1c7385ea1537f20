"""A worker group for a stage that has none yet."""

from collections.abc import Mapping

from aws_cdk import Fn, Stack, Tags
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from .findings import accept, accept_lint, accept_wildcard
from .permissions import use_key
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
        queue: sqs.IQueue,
        tags: Mapping[str, str],
        volume_key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, id_)
        self._group_name = group_name
        self._arn = Stack.of(self).format_arn(
            service="autoscaling",
            resource="autoScalingGroup:*:autoScalingGroupName",
            resource_name=group_name,
        )
        profile = workers.instance_profile_arn or self._profile(queue)
        template = self._template(workers, profile, tags, volume_key)
        self.group = self._group(workers, template)
        self._accept_findings(workers)
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

    def _template(
        self, workers: NewWorkers, profile: str, tags: Mapping[str, str], volume_key: kms.IKey | None
    ) -> ec2.CfnLaunchTemplate:
        ebs = ec2.CfnLaunchTemplate.EbsProperty(
            encrypted=True,
            kms_key_id=volume_key.key_arn if volume_key else None,
            volume_size=workers.disk_gib,
            volume_type="gp3",
        )
        disk = ec2.CfnLaunchTemplate.BlockDeviceMappingProperty(device_name=workers.root_device, ebs=ebs)
        all_tags = [{"key": key, "value": value} for key, value in {"Name": self._group_name, **tags}.items()]
        return ec2.CfnLaunchTemplate(
            self,
            "LaunchTemplate",
            launch_template_data=ec2.CfnLaunchTemplate.LaunchTemplateDataProperty(
                image_id=workers.image_id,
                instance_type=workers.instance_type,
                security_group_ids=workers.security_group_ids or None,
                iam_instance_profile=ec2.CfnLaunchTemplate.IamInstanceProfileProperty(arn=profile),
                user_data=Fn.base64(workers.user_data) if workers.user_data else None,
                metadata_options=ec2.CfnLaunchTemplate.MetadataOptionsProperty(http_tokens="required"),
                block_device_mappings=[disk],
                monitoring=ec2.CfnLaunchTemplate.MonitoringProperty(enabled=True),
                # The group tags its instances, but not their volumes.
                tag_specifications=[
                    ec2.CfnLaunchTemplate.TagSpecificationProperty(resource_type="volume", tags=all_tags)
                ],
            ),
        )

    def _group(self, workers: NewWorkers, template: ec2.CfnLaunchTemplate) -> autoscaling.CfnAutoScalingGroup:
        group = autoscaling.CfnAutoScalingGroup
        launched = group.LaunchTemplateSpecificationProperty(
            launch_template_id=template.ref, version=template.attr_latest_version_number
        )
        mixed = None
        if workers.spot or workers.more_instance_types:
            # Without weights: a group whose instances count differently can't be sized by videos.
            mixed = group.MixedInstancesPolicyProperty(
                launch_template=group.LaunchTemplateProperty(
                    launch_template_specification=launched,
                    overrides=[
                        group.LaunchTemplateOverridesProperty(instance_type=kind)
                        for kind in (workers.instance_type, *workers.more_instance_types)
                    ],
                ),
                instances_distribution=group.InstancesDistributionProperty(
                    on_demand_base_capacity=workers.on_demand_base,
                    on_demand_percentage_above_base_capacity=0 if workers.spot else 100,
                    spot_allocation_strategy="price-capacity-optimized",
                ),
            )
        made = group(
            self,
            "Group",
            auto_scaling_group_name=self._group_name,
            min_size=str(workers.min),
            max_size=str(workers.max),
            vpc_zone_identifier=workers.subnet_ids or None,
            availability_zones=workers.availability_zones or None,
            launch_template=None if mixed else launched,
            mixed_instances_policy=mixed,
            instance_lifecycle_policy=group.InstanceLifecyclePolicyProperty(
                retention_triggers=group.RetentionTriggersProperty(terminate_hook_abandon="retain")
            ),
            metrics_collection=[group.MetricsCollectionProperty(granularity="1Minute", metrics=_METRICS)],
        )
        Tags.of(made).add("Name", self._group_name)
        return made

    def _profile(self, queue: sqs.IQueue) -> str:
        """Create a profile with what the worker contract needs; storage and secrets are the workers' own."""
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        receive = ["ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "ReceiveMessage"]
        finish = ["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"]
        for service, actions, resource in (
            ("sqs", receive, queue.queue_arn),
            ("autoscaling", finish, self._arn),
        ):
            role.add_to_policy(
                iam.PolicyStatement(
                    actions=[f"{service}:{action}" for action in actions], resources=[resource]
                )
            )
        # What a consumer needs: "Key management", Amazon SQS Developer Guide.
        if key := queue.encryption_master_key:
            for statement in use_key(self, key.key_arn, "sqs", ["kms:Decrypt"]):
                role.add_to_policy(statement)
        accept_wildcard(role, self._arn, because="a random id that only Auto Scaling knows")
        return iam.CfnInstanceProfile(self, "Profile", roles=[role.role_name]).attr_arn

    def _accept_findings(self, workers: NewWorkers) -> None:
        accept(
            self.group,
            "AwsSolutions-AS3",
            because="its activities are in its own history and on the dashboard",
        )
        if not workers.subnet_ids:
            accept(self.group, "CloudFormation-Validate::W3010", because="the stage names its zones")
            accept_lint(self.group, "W3010", because="the stage names its zones")
