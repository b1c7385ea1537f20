"""The command about scaling decisions: ``decisions``."""

from datetime import timedelta
from typing import Annotated

from ops.durations import show_duration, show_time
from ops.errors import Exit, OpsError
from ops.executions import Execution
from ops.screen import Stage, console, duration, now, say, table
from ops.stages import connect


def decisions(
    stage: Stage,
    since: Annotated[timedelta, duration("--since", "How far to look back.")] = timedelta(hours=1),
) -> None:
    """List the decisions, newest last, each with its reason."""
    deployment = connect(stage)
    with console.status("Reading the records"):
        executions = deployment.describe_all(deployment.list_executions(since=now() - since)[::-1])
    decided = [execution for execution in executions if execution.decision]
    if not decided:
        raise OpsError(f"No record with a decision within {show_duration(since)}.", Exit.NOT_DONE)
    headings = ["time (UTC)", "action", "desired", "backlog", "queue", "reason"]
    rows = [decision_row(execution) for execution in decided]
    console.print(table(headings, rows, title="Decisions"))
    say("Backlog: videos waiting + in PROCESSING. Queue: messages waiting. Unknown values are shown as ?.")
    if len(decided) < len(executions):
        say(f"{len(executions) - len(decided)} more executions have no record: they run, or failed.")


def decision_row(execution: Execution) -> list[str]:
    """Return one row of the table of decisions."""
    decision = execution.decision
    if decision is None:
        raise ValueError(f"{execution.name} has no decision")
    inputs = decision.inputs
    before = inputs.group.desired if inputs.group else None
    return [
        show_time(inputs.at),
        f"{decision.action}{', held' if decision.held else ''}",
        f"{_known(before)} → {_known(decision.desired)}" if decision.action != "hold" else _known(before),
        f"{_known(inputs.uploaded)} + {_known(inputs.processing)}",
        _known(inputs.visible),
        decision.reason,
    ]


def _known(value: int | None) -> str:
    return "?" if value is None else str(value)
