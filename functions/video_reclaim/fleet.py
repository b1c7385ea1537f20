"""The worker group as it is now, and what an operator ordered for it."""

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log
from video_reclaim.scaling import Group

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_ssm import SSMClient


def group(name: str) -> Group | None:
    """The group's live limits, size and protection; None if Auto Scaling can't say or has no such group."""
    autoscaling: AutoScalingClient = aws.client("autoscaling")
    try:
        found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    except (BotoCoreError, ClientError) as exc:
        log.event("group unknown", group=name, error=type(exc).__name__, cause=aws.reason(exc))
        return None
    if not found:
        log.event("group unknown", group=name, cause="no such Auto Scaling group")
        return None
    in_service = [i for i in found[0].get("Instances", []) if i["LifecycleState"] == "InService"]
    return Group(
        min=found[0]["MinSize"],
        max=found[0]["MaxSize"],
        desired=found[0]["DesiredCapacity"],
        in_service=len(in_service),
        protected=found[0].get("NewInstancesProtectedFromScaleIn", False),
        unprotected=sum(not instance["ProtectedFromScaleIn"] for instance in in_service),
    )


def override_text(parameter: str) -> tuple[str | None, bool]:
    """The override parameter's text, None if there is none; and whether it could be read at all."""
    ssm: SSMClient = aws.client("ssm")
    try:
        return ssm.get_parameter(Name=parameter)["Parameter"]["Value"], True
    except ssm.exceptions.ParameterNotFound:
        return None, True
    except (BotoCoreError, ClientError) as exc:
        log.event("override unknown", parameter=parameter, error=type(exc).__name__, cause=aws.reason(exc))
        return None, False
