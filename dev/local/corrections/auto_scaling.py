"""Corrections of Auto Scaling: the bounds of a group."""

# ruff: noqa: ANN401 - ministack's objects have no types

from typing import Any

from ministack.services import autoscaling

from dev.local.corrections.review import reviewed


def enforce_capacity_bounds() -> None:
    """Reject a desired capacity outside the group's bounds.

    AWS returns ValidationError for less than MinSize or more than MaxSize. Ministack accepts any number.
    """
    accept = reviewed(autoscaling, "_set_desired_capacity", "92adf9a89b2f")

    def set_desired_capacity(parameters: dict[str, Any]) -> Any:
        group = autoscaling._asgs.get(autoscaling._p(parameters, "AutoScalingGroupName"))
        desired = autoscaling._p(parameters, "DesiredCapacity")
        if group and desired:
            for beyond, side, bound in (
                (int(desired) > group["MaxSize"], "above max", group["MaxSize"]),
                (int(desired) < group["MinSize"], "below min", group["MinSize"]),
            ):
                if beyond:
                    refused = f"New SetDesiredCapacity value {desired} is {side} value {bound}"
                    return autoscaling._error("ValidationError", f"{refused} for the AutoScalingGroup.")
        return accept(parameters)

    autoscaling._ACTION_MAP["SetDesiredCapacity"] = set_desired_capacity
