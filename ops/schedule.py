"""The commands that switch the schedule: ``stop``, ``start``."""

import re
from datetime import timedelta

from ops.durations import show_duration
from ops.executions import Execution
from ops.screen import Stage, say
from ops.stages import connect

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_ROUNDS_OF_THE_ALARM = 5


def stop(stage: Stage) -> None:
    """Switch the schedule off, and say what keeps running."""
    deployment = connect(stage)
    deployment.enable_schedule(False)
    expression = deployment.schedule()["ScheduleExpression"]
    for line in what_keeps_running(stage, deployment.list_executions(status="RUNNING"), expression):
        say(line)


def what_keeps_running(stage: str, running: list[Execution], expression: str) -> list[str]:
    """Return sentences about the time after the schedule was switched off.

    Args:
        stage: its name.
        running: the executions that still run.
        expression: the schedule's, such as ``rate(1 minute)``.
    """
    names = ", ".join(execution.name for execution in running)
    return [
        "The schedule is off: no execution starts by itself.",
        f"Still running, and will end: {names}." if running else "No execution is running.",
        "Workers keep working. Stuck videos stay stuck, and the fleet keeps its size, until the schedule is on.",
        f"The alarm NoSuccessfulRun, unless the stage switched it off, rings after {alarm_delay(expression)}.",
        "It is safe to change the database, Redis or the queue once `status` shows no execution RUNNING: nothing "
        "writes then, except the workers.",
        f"To switch it on: .venv/bin/python -m ops start --stage {stage}. `make deploy` sets it as the stage says.",
    ]


def alarm_delay(expression: str) -> str:
    """Return after which time without a success the alarm NoSuccessfulRun rings: five rounds of the schedule."""
    found = _RATE.fullmatch(expression)
    if found is None:
        return f"{_ROUNDS_OF_THE_ALARM} rounds of the schedule"
    return show_duration(_ROUNDS_OF_THE_ALARM * timedelta(**{f"{found[2]}s": int(found[1])}))


def start(stage: Stage) -> None:
    """Switch the schedule on."""
    deployment = connect(stage)
    deployment.enable_schedule(True)
    say(
        f"The schedule is on: {deployment.schedule()['ScheduleExpression']}. The first run takes what has piled up."
    )
