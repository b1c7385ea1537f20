"""Corrections of Auto Scaling: how instances end."""

# ruff: noqa: ANN401 - ministack's objects have no types

from typing import Any

from ministack.services import autoscaling

from dev.local.metadata import RUNS_A_WORKER

_WAITING = "Terminating:Wait"
_ON_ABANDON = "InstanceLifecyclePolicy.RetentionTriggers.TerminateHookAbandon"


def drain_instances() -> None:
    """Let an instance on which a worker runs wait for the end of its lifecycle action.

    On AWS an instance that a scale-in chooses waits in ``Terminating:Wait`` while the group has a hook for
    terminations, those by SetDesiredCapacity among them, and no longer counts towards the desired capacity
    ("Amazon EC2 Auto Scaling lifecycle hooks"). Ministack ends any instance at once.

    Every group is taken for one that has such a hook. An instance on which no worker runs (`dev.local.metadata`)
    ends at once, as if an idle worker had completed the action in no time.
    """
    launch = autoscaling._reconcile_instances

    def reconcile_instances(group: dict[str, Any]) -> None:
        ending = [one for one in group["Instances"] if one["LifecycleState"] == _WAITING]
        staying = [one for one in group["Instances"] if one["LifecycleState"] != _WAITING]
        while len(staying) > group["DesiredCapacity"]:
            chosen = staying.pop()
            if chosen.get(RUNS_A_WORKER):
                chosen["LifecycleState"] = _WAITING
                ending.append(chosen)
        group["Instances"] = staying
        if len(staying) < group["DesiredCapacity"]:
            launch(group)
        group["Instances"] += ending

    autoscaling._reconcile_instances = reconcile_instances


def complete_lifecycle_actions() -> None:
    """End an instance when its lifecycle action is completed; refuse to complete an action that there is not.

    AWS ends the instance, and returns ValidationError when the instance has no such action
    ("CompleteLifecycleAction", Amazon EC2 Auto Scaling API Reference). Ministack answers and does nothing.
    """
    answer_completed = autoscaling._complete_lifecycle_action

    def complete_lifecycle_action(parameters: dict[str, Any]) -> Any:
        name, hook, instance = (
            autoscaling._p(parameters, part)
            for part in ("AutoScalingGroupName", "LifecycleHookName", "InstanceId")
        )
        group = autoscaling._asgs.get(name)
        for one in group["Instances"] if f"{name}/{hook}" in autoscaling._hooks else []:
            if (one["InstanceId"], one["LifecycleState"]) == (instance, _WAITING):
                group["Instances"].remove(one)
                return answer_completed(parameters)
        message = f"No active Lifecycle Action found with instance ID {instance}"
        return autoscaling._error("ValidationError", message)

    autoscaling._ACTION_MAP["CompleteLifecycleAction"] = complete_lifecycle_action


def keep_the_lifecycle_policy() -> None:
    """Show a group's instance lifecycle policy, as DescribeAutoScalingGroups does. Ministack forgets it."""
    create, describe = autoscaling._create_asg, autoscaling._describe_asgs

    def create_group(parameters: dict[str, Any]) -> Any:
        answer = create(parameters)
        group = autoscaling._asgs.get(autoscaling._p(parameters, "AutoScalingGroupName"))
        if group is not None:
            group[_ON_ABANDON] = autoscaling._p(parameters, _ON_ABANDON)
        return answer

    def describe_groups(parameters: dict[str, Any]) -> Any:
        status, headers, body = describe(parameters)
        for name, group in autoscaling._asgs.items():
            if kept := group.get(_ON_ABANDON):
                triggers = f"<TerminateHookAbandon>{kept}</TerminateHookAbandon>"
                policy = f"<RetentionTriggers>{triggers}</RetentionTriggers>"
                policy = f"<InstanceLifecyclePolicy>{policy}</InstanceLifecyclePolicy>"
                shown = f"<AutoScalingGroupName>{name}</AutoScalingGroupName>"
                body = body.replace(shown.encode(), (shown + policy).encode())
        return status, headers, body

    autoscaling._ACTION_MAP["CreateAutoScalingGroup"] = create_group
    autoscaling._ACTION_MAP["DescribeAutoScalingGroups"] = describe_groups
