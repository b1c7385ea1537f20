"""A worker group for a stage that has none yet."""

from aws_cdk import Fn, Tags
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from cdk.stage import NewWorkers


class WorkerGroup(Construct):
    """An Auto Scaling group whose instances start protected from scale-in.

    The worker takes its own protection off when it is idle, so that a smaller fleet never costs a running
    encode. The group's size belongs to the workflow: a deployment sets no desired capacity.
    """

    def __init__(self, scope: Construct, id_: str, *, group_name: str, workers: NewWorkers) -> None:
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
        )
        Tags.of(self.group).add("Name", group_name)
