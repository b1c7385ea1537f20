"""Corrections of Auto Scaling: how instances end."""

# ruff: noqa: ANN401 - ministack's objects have no types

from typing import Any

from ministack.services import autoscaling

from dev.local.metadata import RUNS_A_WORKER

_TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
_WAITING = "Terminating:Wait"
_ON_ABANDON = "InstanceLifecyclePolicy.RetentionTriggers.TerminateHookAbandon"


def drain_instances() -> None:
    """End instances as a group does: protected ones not at all, the others after their lifecycle hook.

    On AWS an instance that a scale-in chooses waits in ``Terminating:Wait`` while the group has a hook for
    terminations, those by SetDesiredCapacity among them, and no longer counts towards the desired capacity
    ("Amazon EC2 Auto Scaling lifecycle hooks"). A protected instance is not chosen; the desired capacity still
    drops ("Use instance scale-in protection"). Ministack ends any instance at once.

    An instance on which no worker runs (`dev.local.metadata`) ends at once, as if an idle worker had completed
    the action in no time.
    """
    launch = autoscaling._reconcile_instances

    def reconcile_instances(group: dict[str, Any]) -> None:
        ending = [one for one in group["Instances"] if one["LifecycleState"] == _WAITING]
        staying = [one for one in group["Instances"] if one["LifecycleState"] != _WAITING]
        unprotected = [one for one in staying if not one["ProtectedFromScaleIn"]]
        for chosen in unprotected[::-1][: max(0, len(staying) - group["DesiredCapacity"])]:
            staying.remove(chosen)
            if chosen.get(RUNS_A_WORKER) and _has_termination_hook(group["AutoScalingGroupName"]):
                chosen["LifecycleState"] = _WAITING
                ending.append(chosen)
        group["Instances"] = staying
        if len(staying) < group["DesiredCapacity"]:
            launch(group)
        group["Instances"] += ending

    autoscaling._reconcile_instances = reconcile_instances


def complete_lifecycle_actions() -> None:
    """End an instance when its lifecycle action is completed; refuse calls about an action that there is not.

    AWS ends the instance, and returns ValidationError when the instance has no such action
    ("CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", Amazon EC2 Auto Scaling API Reference).
    Ministack answers both calls and does nothing.
    """
    answer_completed = autoscaling._complete_lifecycle_action
    answer_recorded = autoscaling._record_lifecycle_heartbeat

    def complete_lifecycle_action(parameters: dict[str, Any]) -> Any:
        group, instance = _action(parameters)
        if instance is None:
            return _no_action(parameters)
        group["Instances"].remove(instance)
        return answer_completed(parameters)

    def record_lifecycle_action_heartbeat(parameters: dict[str, Any]) -> Any:
        _, instance = _action(parameters)
        return _no_action(parameters) if instance is None else answer_recorded(parameters)

    autoscaling._ACTION_MAP["CompleteLifecycleAction"] = complete_lifecycle_action
    autoscaling._ACTION_MAP["RecordLifecycleActionHeartbeat"] = record_lifecycle_action_heartbeat


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
                policy = f"<TerminateHookAbandon>{kept}</TerminateHookAbandon>"
                for element in ("RetentionTriggers", "InstanceLifecyclePolicy"):
                    policy = f"<{element}>{policy}</{element}>"
                shown = f"<AutoScalingGroupName>{name}</AutoScalingGroupName>"
                body = body.replace(shown.encode(), (shown + policy).encode())
        return status, headers, body

    autoscaling._ACTION_MAP["CreateAutoScalingGroup"] = create_group
    autoscaling._ACTION_MAP["DescribeAutoScalingGroups"] = describe_groups


def _has_termination_hook(name: str) -> bool:
    return any(
        hook["AutoScalingGroupName"] == name and hook["LifecycleTransition"] == _TERMINATING
        for hook in autoscaling._hooks.values()
    )


def _action(parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the group, and its instance whose termination waits for the named hook, or None."""
    name, hook, instance = (
        autoscaling._p(parameters, part)
        for part in ("AutoScalingGroupName", "LifecycleHookName", "InstanceId")
    )
    group = autoscaling._asgs.get(name, {"Instances": []})
    transition = autoscaling._hooks.get(f"{name}/{hook}", {}).get("LifecycleTransition")
    for one in group["Instances"] if transition == _TERMINATING else []:
        if (one["InstanceId"], one["LifecycleState"]) == (instance, _WAITING):
            return group, one
    return group, None


def _no_action(parameters: dict[str, Any]) -> Any:
    instance = autoscaling._p(parameters, "InstanceId")
    message = f"No active Lifecycle Action found with instance ID {instance}"
    return autoscaling._error("ValidationError", message)
