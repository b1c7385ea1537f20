"""The commands that switch the schedule: ``stop``, ``start``."""

from ops.executions import Execution
from ops.screen import Stage, say
from ops.stages import connect


def stop(stage: Stage) -> None:
    """Switch the schedule off, and say what keeps running."""
    deployment = connect(stage)
    deployment.enable_schedule(False)
    for line in what_keeps_running(stage, deployment.list_executions(status="RUNNING")):
        say(line)


def what_keeps_running(stage: str, running: list[Execution]) -> list[str]:
    """Return sentences about the time after the schedule was switched off."""
    names = ", ".join(execution.name for execution in running)
    return [
        "The schedule is off: no execution starts by itself.",
        f"Still running, and will end: {names}." if running else "No execution is running.",
        "Workers keep working. Stuck videos stay stuck, and the fleet keeps its size, until the schedule is on.",
        "NoSuccessfulRun rings after five minutes.",
        "It is safe to change the database, Redis or the queue once `status` shows no execution RUNNING: nothing "
        "writes then, except the workers.",
        f"To switch it on: .venv/bin/python -m ops start --stage {stage}. `make deploy` sets it as the stage says.",
    ]


def start(stage: Stage) -> None:
    """Switch the schedule on."""
    deployment = connect(stage)
    deployment.enable_schedule(True)
    say(
        f"The schedule is on: {deployment.schedule()['ScheduleExpression']}. The first run takes what has piled up."
    )
