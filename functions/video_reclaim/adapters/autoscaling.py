"""Auto Scaling: the worker group as it is now."""

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log
from video_reclaim.scaling.records import Group

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient


def describe_group(name: str) -> Group | None:
    """Return the group's live limits, size and protection; None if it is unknown or does not exist."""
    autoscaling: AutoScalingClient = aws.client("autoscaling")
    try:
        found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    except (BotoCoreError, ClientError) as exc:
        log.warning("group unknown", group=name, error=type(exc).__name__, cause=aws.describe(exc))
        return None
    if not found:
        log.warning("group unknown", group=name, cause="no such Auto Scaling group")
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
