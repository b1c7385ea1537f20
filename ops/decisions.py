"""The commands about scaling decisions: ``decisions``, ``replay``."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from ops.durations import show_duration, show_time
from ops.errors import Exit, OpsError
from ops.executions import Execution
from ops.former_policy import former_policy
from ops.replaying import differences, read_decisions
from ops.screen import Stage, console, duration, now, say, table
from ops.stages import connect
from video_reclaim.records import to_builtins
from video_reclaim.scaling.records import Decision, Inputs


def decisions(
    stage: Stage,
    since: Annotated[timedelta, duration("--since", "How far to look back.")] = timedelta(hours=1),
    compare: Annotated[
        bool, typer.Option("--compare", help="Beside what the platform's former policy would have asked for.")
    ] = False,
) -> None:
    """List the decisions, newest last, each with its reason."""
    deployment = connect(stage)
    with console.status("Reading the records"):
        executions = deployment.describe_all(deployment.list_executions(since=now() - since)[::-1])
    decided = [execution for execution in executions if execution.decision]
    if not decided:
        raise OpsError(f"No record with a decision within {show_duration(since)}.", Exit.NOT_DONE)
    former = former_policy([inputs_of(execution) for execution in decided]) if compare else None
    headings = ["time (UTC)", "action", "desired", "backlog", "queue", "reason"]
    rows = [decision_row(execution) for execution in decided]
    if former is not None:
        headings.insert(3, "former policy")
        for row, asked in zip(rows, former, strict=True):
            row.insert(3, "no change" if asked is None else str(asked))
    console.print(table(headings, rows, title="Decisions"))
    say(
        "Backlog: videos waiting + in PROCESSING. Queue: messages visible + in flight. Unknown values are shown as ?."
    )
    if len(decided) < len(executions):
        say(f"{len(executions) - len(decided)} more executions have no record: they run, or failed.")
    if former is not None:
        say(describe_comparison([execution.decision for execution in decided if execution.decision], former))


def inputs_of(execution: Execution) -> Inputs:
    """Return what a decision was based on. Raises ValueError for an execution without a decision."""
    if execution.decision is None:
        raise ValueError(f"{execution.name} has no decision")
    return execution.decision.inputs


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
        f"{_known(inputs.visible)} + {_known(inputs.in_flight)}",
        decision.reason,
    ]


def _known(value: int | None) -> str:
    return "?" if value is None else str(value)


def describe_comparison(made: Sequence[Decision], former: Sequence[int | None]) -> str:
    """Say how often the former policy would have asked for fewer or more workers."""
    asked = [
        (decision.desired, other)
        for decision, other in zip(made, former, strict=True)
        if decision.desired is not None and other is not None
    ]
    fewer = sum(other < desired for desired, other in asked)
    more = sum(other > desired for desired, other in asked)
    return (
        f"The former policy would have asked for fewer workers in {fewer} of {len(made)} decisions, "
        f"for more in {more}, and would have changed nothing in {len(made) - len(asked)}."
    )


def replay(
    stage: Annotated[str, typer.Option("--stage", help="The stage; not needed for a file.")] = "",
    record: Annotated[
        str,
        typer.Argument(help="Name or ARN of an execution, a file with a record, or - for standard input."),
    ] = "",
) -> None:
    """Make a recorded decision again. The exit status is 1 if the answer differs."""
    found = read_decisions(_text_of(stage, record))
    if not found:
        raise OpsError(
            "There is no decision in it: a JSON object with `inputs` and `desired`.", Exit.NOT_DONE
        )
    different = False
    for recorded in found:
        again, names = differences(recorded)
        say(f"{show_time(again.inputs.at)}  {again.action}, desired {_known(again.desired)}: {again.reason}")
        rows = [[name, str(value)] for name, value in to_builtins(again.inputs).items() if name != "window"]
        console.print(table(["input", "value"], rows))
        say(f"Differs from the record in: {', '.join(names)}." if names else "The same answer as recorded.")
        different = different or bool(names)
    if different:
        raise typer.Exit(Exit.NOT_DONE)


def _text_of(stage: str, record: str) -> str:
    try:
        if record == "-":
            return sys.stdin.read()
        if record and Path(record).is_file():
            return Path(record).read_text()
    except (OSError, UnicodeError) as exc:
        raise OpsError(f"{record} can't be read: {exc}", Exit.USAGE) from exc
    if not stage:
        raise OpsError("Name a stage with --stage, or a file.", Exit.USAGE)
    deployment = connect(stage)
    if record:
        return deployment.describe(deployment.execution_arn(record)).output
    last = deployment.list_executions(limit=1, status="SUCCEEDED")
    return deployment.describe(last[0].arn).output if last else ""
