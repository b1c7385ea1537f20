"""The command ``status``: one screen about one stage."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET

from ops.aws import Deployment
from ops.durations import show_duration, show_time
from ops.executions import Execution, summary
from ops.screen import Stage, console, now, say, table
from ops.stages import connect
from video_reclaim.scaling.override import parse_override
from video_reclaim.scaling.records import Override

SHOWN = 5
_DRAINING = ("Terminating", "Terminating:Wait", "Terminating:Proceed")


def status(stage: Stage) -> None:
    """Show the stage: executions, backlog, fleet, last decision, override, alarms."""
    deployment = connect(stage)
    executions = deployment.describe_all(deployment.list_executions(limit=SHOWN))
    at = now()
    say(f"video-reclaim, stage {stage}, {show_time(at)} UTC")
    console.print(
        table(["", ""], [[name, text] for name, text in lines(deployment, executions, at).items()]),
    )
    console.print(
        table(
            ["started (UTC)", "execution", "status", "took", "what it did"],
            [execution_row(execution) for execution in executions],
            title="Last executions",
        )
    )


def lines(deployment: Deployment, executions: Sequence[Execution], at: datetime) -> dict[str, str]:
    """Collect what the screen says, by heading."""
    schedule = deployment.schedule()
    ringing = [
        f"{alarm['AlarmName'].removeprefix(f'{deployment.prefix}-')}: "
        f"{alarm.get('AlarmDescription', '').partition(' Runbook:')[0]}"
        for alarm in deployment.ringing_alarms()
    ]
    return {
        "Schedule": f"{'on' if schedule['State'] == 'ENABLED' else 'OFF'}, {schedule['ScheduleExpression']}",
        "Backlog": describe_backlog(executions),
        "Longest wait": describe_wait(executions),
        "Fleet": describe_group(deployment.group()),
        "Last decision": describe_decision(executions),
        "Override": describe_override(deployment.override_text(), at),
        "Alarms": "\n".join(ringing) or "none rings",
    }


def describe_backlog(executions: Sequence[Execution]) -> str:
    """Say what the newest record with a decision says of the backlog."""
    decision = next((execution.decision for execution in executions if execution.decision), None)
    if decision is None:
        return f"unknown: no record among the last {SHOWN} executions"
    inputs = decision.inputs
    parts = {
        "waiting (UPLOADED)": inputs.uploaded,
        "in PROCESSING": inputs.processing,
        "messages waiting": inputs.visible,
    }
    said = ", ".join(f"{'unknown' if count is None else count} {what}" for what, count in parts.items())
    return f"{said}, at {show_time(inputs.at)}"


def describe_wait(executions: Sequence[Execution]) -> str:
    """Say how long the video that waits longest has been seen waiting, by the newest record."""
    record = next((execution.record for execution in executions if execution.decision), None)
    if record is None or record.longest_wait_s is UNSET:
        return "unknown: the listing failed, or Redis did not answer"
    return f"{show_duration(timedelta(seconds=record.longest_wait_s))}"


def describe_group(group: Mapping[str, Any] | None) -> str:
    """Say how large the worker group is; an instance drains while Auto Scaling terminates it."""
    if group is None:
        return "unknown: there is no Auto Scaling group of that name"
    states = [instance["LifecycleState"] for instance in group.get("Instances", [])]
    in_service, draining = states.count("InService"), sum(state in _DRAINING for state in states)
    return (
        f"desired {group['DesiredCapacity']} (of {group['MinSize']} to {group['MaxSize']}), "
        f"{in_service} in service, {draining} draining, {len(states) - in_service - draining} in other states"
    )


def describe_decision(executions: Sequence[Execution]) -> str:
    """Say what the newest record decided."""
    decision = next((execution.decision for execution in executions if execution.decision), None)
    return f"{decision.action}: {decision.reason}" if decision else "unknown"


def describe_override(text: str | None, at: datetime) -> str:
    """Say which override is in force."""
    order, problem = parse_override(text, at)
    if problem is not None:
        return (
            f"can't be understood ({problem}): replace it with `pause` or `fix`, or delete it with `resume`"
        )
    if order is None:
        return "none"
    if order.until <= at:
        return f"none; {describe_order(order)} ended at {show_time(order.until)}"
    left = show_duration(order.until - at)
    return f"{describe_order(order)} until {show_time(order.until)} ({left} left): {order.reason}"


def describe_order(order: Override) -> str:
    """Say what an override orders."""
    return f"fixed at {order.desired} workers" if order.mode == "fixed" else order.mode


def execution_row(execution: Execution) -> list[str]:
    """Return one row of the table of executions."""
    took = show_duration(execution.stopped - execution.started) if execution.stopped else ""
    redriven = f", redriven {execution.redrives} times" if execution.redrives else ""
    return [
        show_time(execution.started),
        execution.name,
        f"{execution.status}{redriven}",
        took,
        summary(execution),
    ]
