"""Auto Scaling: the worker group as it is now."""

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log
from video_reclaim.scaling.records import Group

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef


def instances(name: str) -> set[str] | None:
    """Return the ids of the group's instances in any lifecycle state; None if the group is unknown."""
    found = _describe(name)
    return None if found is None else {instance["InstanceId"] for instance in found.get("Instances", [])}


def describe_group(name: str) -> Group | None:
    """Return the group's live limits, size and protection; None if it is unknown or does not exist."""
    found = _describe(name)
    if found is None:
        return None
    in_service = [i for i in found.get("Instances", []) if i["LifecycleState"] == "InService"]
    return Group(
        min=found["MinSize"],
        max=found["MaxSize"],
        desired=found["DesiredCapacity"],
        in_service=len(in_service),
        protected=found.get("NewInstancesProtectedFromScaleIn", False),
        unprotected=sum(not instance["ProtectedFromScaleIn"] for instance in in_service),
    )


def _describe(name: str) -> "AutoScalingGroupTypeDef | None":
    autoscaling: AutoScalingClient = aws.client("autoscaling")
    try:
        found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    except (BotoCoreError, ClientError) as exc:
        log.warning("group unknown", group=name, error=type(exc).__name__, cause=aws.describe(exc))
        return None
    if not found:
        log.warning("group unknown", group=name, cause="no such Auto Scaling group")
        return None
    return found[0]
