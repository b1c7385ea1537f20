"""A worker group for a stage that has none yet."""

from aws_cdk import Fn, RemovalPolicy, Stack, Tags
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import custom_resources as custom
from constructs import Construct

from .findings import accept, accept_lint, accept_wildcard
from .platform import NewWorkers

_SHOWN = ["GroupDesiredCapacity", "GroupInServiceInstances"]  # on the dashboard


class WorkerGroup(Construct):
    """An Auto Scaling group whose instances start protected from scale-in.

    The worker takes its own protection off when it is idle, so that a smaller fleet never costs a running
    encode. The group's size belongs to the workflow: a deployment sets no desired capacity.
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
            new_instances_protected_from_scale_in=True,
            metrics_collection=[
                autoscaling.CfnAutoScalingGroup.MetricsCollectionProperty(
                    granularity="1Minute", metrics=_SHOWN
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
        if len(workers.subnet_ids or workers.availability_zones) > 1:
            self._suspend_rebalancing(group_name)

    def _suspend_rebalancing(self, group_name: str) -> None:
        """Keep Auto Scaling from moving workers between zones: it would end them, protected or not.

        CloudFormation has no property for it, so a function of CDK's own makes this one call on deployment.
        """
        group_arn = Stack.of(self).format_arn(
            service="autoscaling",
            resource="autoScalingGroup:*:autoScalingGroupName",
            resource_name=group_name,
        )
        process = {"AutoScalingGroupName": group_name, "ScalingProcesses": ["AZRebalance"]}
        suspended = custom.AwsCustomResource(
            self,
            "SuspendRebalancing",
            resource_type="Custom::SuspendRebalancing",
            on_update=custom.AwsSdkCall(
                service="AutoScaling",
                action="suspendProcesses",
                parameters=process,
                physical_resource_id=custom.PhysicalResourceId.of(f"{group_name}-AZRebalance"),
            ),
            policy=custom.AwsCustomResourcePolicy.from_statements(
                [iam.PolicyStatement(actions=["autoscaling:SuspendProcesses"], resources=[group_arn])]
            ),
            install_latest_aws_sdk=False,
            log_group=logs.LogGroup(
                self, "Logs", retention=logs.RetentionDays.ONE_WEEK, removal_policy=RemovalPolicy.DESTROY
            ),
        )
        accept_wildcard(suspended, group_arn, because="a random id that only Auto Scaling knows")
        maker = Stack.of(self).node.find_child(
            f"AWS{custom.AwsCustomResource.PROVIDER_FUNCTION_UUID.replace('-', '')}"
        )
        for rule in (
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]",
            "Serverless-LambdaDefaultMemorySize",
            "Serverless-LambdaDLQ",
            "Serverless-LambdaTracing",
        ):
            accept(maker, rule, because="CDK's own function, which runs when the stack is deployed")
        accept_lint(maker.node.default_child or maker, "W3005", because="CDK's own function")
        suspended.node.add_dependency(self.group)
