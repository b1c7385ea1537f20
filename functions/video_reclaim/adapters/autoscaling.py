"""Auto Scaling: the worker group as it is now."""

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log
from video_reclaim.scaling.records import Group, Safety

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef

_REFRESH_IS_OVER = {"Successful", "Failed", "Cancelled", "RollbackFailed", "RollbackSuccessful"}


class _Unknown(Exception):
    """The group can't be described, or can't be reasoned about; the message says why."""


def describe_group(name: str) -> tuple[Group | None, str | None]:
    """Return the group, and None; or None, and why it is unknown or can't be reasoned about."""
    try:
        found = _describe(name)
        _refuse_what_desired_does_not_tell(found)
        safety = _safety(found)
    except (_Unknown, BotoCoreError, ClientError) as exc:
        return None, _tell(name, exc)
    states = {one["InstanceId"]: one["LifecycleState"] for one in found.get("Instances", [])}
    return Group(
        min=found["MinSize"],
        max=found["MaxSize"],
        desired=found["DesiredCapacity"],
        in_service=list(states.values()).count("InService"),
        safety=safety,
        draining=tuple(sorted(id_ for id_, state in states.items() if state.startswith("Terminating"))),
    ), None


def why_not_to_shrink(name: str) -> str | None:
    """Return why the group must not shrink now, or why that is unknown; None if it may.

    An instance refresh ends instances and starts others by itself, so the desired capacity does not tell how
    many run. AWS's pages on it ("How an instance refresh works in an Auto Scaling group", "SetDesiredCapacity")
    forbid no change of size meanwhile.
    """
    autoscaling: AutoScalingClient = aws.client("autoscaling")
    try:
        refreshes = autoscaling.describe_instance_refreshes(AutoScalingGroupName=name, MaxRecords=1)
    except (BotoCoreError, ClientError) as exc:
        return _tell(name, exc)
    under_way = any(one["Status"] not in _REFRESH_IS_OVER for one in refreshes["InstanceRefreshes"])
    return "an instance refresh is under way" if under_way else None


def _describe(name: str) -> "AutoScalingGroupTypeDef":
    autoscaling: AutoScalingClient = aws.client("autoscaling")
    found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    if not found:
        raise _Unknown("there is no such Auto Scaling group")
    return found[0]


def _tell(name: str, exc: Exception) -> str:
    why = aws.describe(exc)
    log.warning("group unknown", group=name, error=type(exc).__name__, cause=why)
    return why


def _suspended(group: "AutoScalingGroupTypeDef") -> set[str]:
    return {process["ProcessName"] for process in group.get("SuspendedProcesses", [])}


def _refuse_what_desired_does_not_tell(group: "AutoScalingGroupTypeDef") -> None:
    """Refuse a group whose desired capacity does not say how many instances run. Raises _Unknown."""
    unit = group.get("DesiredCapacityType", "units")
    if unit != "units":
        raise _Unknown(f"its capacity is counted in {unit}")
    template = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    if any(override.get("WeightedCapacity", "1") != "1" for override in template.get("Overrides", [])):
        raise _Unknown("its instance types have weights")
    if stopped := _suspended(group) & {"Launch", "Terminate"}:
        raise _Unknown(f"suspended: {', '.join(sorted(stopped))}")


def _safety(group: "AutoScalingGroupTypeDef") -> Safety:
    """Tell what becomes of a busy instance that a scale-in would choose.

    A termination hook counts together with an instance lifecycle policy that retains the instance when the
    hook ends with ABANDON, its default result: a worker that does not know the hook loses no encode then (AWS,
    "Control instance retention with instance lifecycle policies"). ABANDON alone is every hook's default.
    Protection does not hold against rebalancing between zones (AWS, "Use instance scale-in protection").
    """
    triggers = group.get("InstanceLifecyclePolicy", {}).get("RetentionTriggers", {})
    if triggers.get("TerminateHookAbandon") == "retain" and _has_termination_hook(group):
        return "hooked"
    moved = "AZRebalance" not in _suspended(group) and len(group["AvailabilityZones"]) > 1
    return "protected" if group.get("NewInstancesProtectedFromScaleIn") and not moved else "unprotected"


def _has_termination_hook(group: "AutoScalingGroupTypeDef") -> bool:
    autoscaling: AutoScalingClient = aws.client("autoscaling")
    hooks = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=group["AutoScalingGroupName"])
    return any(
        hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
        and hook["DefaultResult"] == "ABANDON"
        for hook in hooks["LifecycleHooks"]
    )
