"""A custom resource for a worker group: suspends AZRebalance, and empties the group before it is deleted.

CloudFormation has no property for the former. As for the latter: it deletes a group by setting its size to 0 and
waiting, and an instance that is protected from scale-in, or that waits in a lifecycle hook, would never end.
"""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3

_INSTANCES_A_CALL = 50  # "SetInstanceProtection", Amazon EC2 Auto Scaling API Reference


def handler(event: dict[str, Any], _context: Any) -> None:  # noqa: ANN401 (Lambda's context object)
    """Answer CloudFormation's request: ``SUCCESS``, or ``FAILED`` with the reason. A retry does the same again."""
    properties = event["ResourceProperties"]
    group, reason = properties["AutoScalingGroupName"], ""
    try:
        scaling = boto3.client("autoscaling")
        if event["RequestType"] == "Delete":
            empty(scaling, group)
        elif properties["Zones"] != "1":
            suspend_rebalancing(scaling, group)
    except Exception as exc:
        reason = f"{type(exc).__name__}: {exc}"
    answer = {key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}
    answer |= {"PhysicalResourceId": f"{group}-prepared", "Status": "FAILED" if reason else "SUCCESS"}
    send(event["ResponseURL"], answer | ({"Reason": reason} if reason else {}))


def send(url: str, answer: dict[str, Any]) -> None:
    """Send the answer to the address that CloudFormation gave ("Custom resource response objects", its guide)."""
    print(json.dumps(answer))
    data, headers = json.dumps(answer).encode(), {"Content-Type": ""}
    request = urllib.request.Request(url, data=data, method="PUT", headers=headers)
    with urllib.request.urlopen(request, timeout=20):
        pass


def suspend_rebalancing(scaling: Any, group: str) -> None:  # noqa: ANN401 (boto3's client)
    """Keep Auto Scaling from moving workers between zones: it would end them, protected or not."""
    scaling.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=["AZRebalance"])


def empty(scaling: Any, group: str) -> None:  # noqa: ANN401 (boto3's client)
    """Let the group end its instances: no hook, no minimum, no protection. A group that is gone is empty."""
    found = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    if not found:
        return
    for hook in scaling.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]:
        scaling.delete_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName=hook["LifecycleHookName"])
    scaling.update_auto_scaling_group(
        AutoScalingGroupName=group, MinSize=0, DesiredCapacity=0, NewInstancesProtectedFromScaleIn=False
    )
    for ids in _chunks([one["InstanceId"] for one in found[0]["Instances"] if one["ProtectedFromScaleIn"]]):
        scaling.set_instance_protection(
            AutoScalingGroupName=group, InstanceIds=ids, ProtectedFromScaleIn=False
        )


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _INSTANCES_A_CALL):
        yield ids[start : start + _INSTANCES_A_CALL]
