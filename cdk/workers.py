"""A worker group for a stage that has none yet."""

from collections.abc import Mapping
from pathlib import Path

from aws_cdk import CustomResource, Duration, Fn, RemovalPolicy, Stack, Tags
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from .findings import accept, accept_lint, accept_wildcard
from .platform import NewWorkers

_SHOWN = ["GroupDesiredCapacity", "GroupInServiceInstances"]  # on the dashboard
_HANDLER = Path(__file__).parent / "worker_group"


class WorkerGroup(Construct):
    """An Auto Scaling group whose instances start protected from scale-in.

    The worker removes the protection of its own instance when it is idle, so that a smaller fleet never costs a
    running transcode. The group's size belongs to the workflow: a deployment sets no desired capacity. A custom
    resource empties the group before CloudFormation deletes it.
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
        self._prepare(len(workers.subnet_ids or workers.availability_zones))

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
            new_instances_protected_from_scale_in=True,
            metrics_collection=[group.MetricsCollectionProperty(granularity="1Minute", metrics=_SHOWN)],
        )
        Tags.of(made).add("Name", self._group_name)
        return made

    def _profile(self, queue: sqs.IQueue) -> str:
        """Create a profile with what the worker contract needs; storage and secrets are the workers' own."""
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        receive = ["ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "ReceiveMessage"]
        protect = ["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", "SetInstanceProtection"]
        for service, actions, resource in (
            ("sqs", receive, queue.queue_arn),
            ("autoscaling", protect, self._arn),
        ):
            role.add_to_policy(
                iam.PolicyStatement(
                    actions=[f"{service}:{action}" for action in actions], resources=[resource]
                )
            )
        accept_wildcard(role, self._arn, because="a random id that only Auto Scaling knows")
        return iam.CfnInstanceProfile(self, "Profile", roles=[role.role_name]).attr_arn

    def _prepare(self, zones: int) -> None:
        """Suspend AZRebalance once the group exists, and empty the group before it is deleted."""
        log_group = logs.LogGroup(
            self, "Logs", retention=logs.RetentionDays.ONE_WEEK, removal_policy=RemovalPolicy.DESTROY
        )
        role = iam.Role(self, "PrepareRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        function = lambda_.Function(
            self,
            "Prepare",
            description=f"Suspends AZRebalance of {self._group_name}, and empties it before it is deleted",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_asset(str(_HANDLER), exclude=["__pycache__"]),
            handler="index.handler",
            memory_size=256,
            timeout=Duration.minutes(1),
            role=role,
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
        )
        log_group.grant_write(role)
        change = [
            "DeleteLifecycleHook",
            "SetInstanceProtection",
            "SuspendProcesses",
            "UpdateAutoScalingGroup",
        ]
        look = ["DescribeAutoScalingGroups", "DescribeLifecycleHooks"]
        for actions, resource in ((change, self._arn), (look, "*")):
            role.add_to_policy(
                iam.PolicyStatement(
                    actions=[f"autoscaling:{action}" for action in actions], resources=[resource]
                )
            )
        prepared = CustomResource(
            self,
            "Prepared",
            resource_type="Custom::PreparedWorkerGroup",
            service_token=function.function_arn,
            properties={"AutoScalingGroupName": self._group_name, "Zones": str(zones)},
        )
        prepared.node.add_dependency(self.group, role)
        accept_wildcard(role, self._arn, because="a random id that only Auto Scaling knows")
        accept_wildcard(role, "*", because="describing groups and X-Ray take no narrower resource")
        for rule in ("AwsSolutions-L1", "Serverless-LambdaLatestVersion", "Serverless-LambdaDLQ"):
            accept(function, rule, because="runs only while the stack is deployed or deleted")
        accept_lint(function, "W3005", because="the CDK adds dependencies that a reference implies already")

    def _accept_findings(self, workers: NewWorkers) -> None:
        accept(
            self.group,
            "AwsSolutions-AS3",
            because="its activities are in its own history and on the dashboard",
        )
        if not workers.subnet_ids:
            accept(self.group, "CloudFormation-Validate::W3010", because="the stage names its zones")
            accept_lint(self.group, "W3010", because="the stage names its zones")
