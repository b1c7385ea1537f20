"""The commands that start executions and redrive them: ``run``, ``redrive``."""

import time
from datetime import timedelta
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from msgspec import UNSET

from ops.aws import Deployment
from ops.durations import show_duration, show_time
from ops.errors import Exit, OpsError, describe_aws_error
from ops.executions import Execution, counts, meaning, redrive_refusal, summary
from ops.screen import Stage, console, duration, now, say, table
from ops.stages import connect
from video_reclaim.errors import InvalidInput
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.run_record import RunRecord

POLL_S = 0.5
_VIDEOS_SHOWN = 20


def run(
    stage: Stage,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only; write nothing.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", help="The most videos to reclaim.")] = None,
    release: Annotated[
        list[str] | None,
        typer.Option("--release", help="Quarantined videos to send back to work: ids, separated by commas."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the record as JSON and nothing else.")] = False,
) -> None:
    """Start an execution, wait for its end, and show its record. The exit status is 1 if it failed."""
    given = execution_input(dry_run=dry_run, limit=limit, release=release or [])
    deployment = connect(stage)
    arn = deployment.start(given)
    if json_:
        ended = wait(deployment, arn)
        if ended.status != "SUCCEEDED":
            raise OpsError(f"{ended.status}: {summary(ended)}", Exit.NOT_DONE)
        print(ended.output)
        return
    say(f"Started {arn.rpartition(':')[2]}")
    ended = wait(deployment, arn)
    show(ended)
    if ended.status != "SUCCEEDED":
        say("The cause and what to do are in docs/runbook.md, under the error's name. Once it is mended:")
        say(f"  .venv/bin/python -m ops redrive --stage {stage} --since 1h")
        raise typer.Exit(Exit.NOT_DONE)


def execution_input(*, dry_run: bool, limit: int | None, release: list[str]) -> dict[str, Any]:
    """Return the input of an execution, checked by the rule that the functions use.

    Raises:
        OpsError: with exit status USAGE; names the field.
    """
    try:
        ids = [int(part) for text in release for part in text.split(",") if part.strip()]
    except ValueError as exc:
        raise OpsError(f"--release: {exc}", Exit.USAGE) from exc
    wanted = {"dryRun": dry_run or None, "limit": limit, "release": ids or None}
    given = {name: value for name, value in wanted.items() if value is not None}
    try:
        ExecutionInput.parse(given)
    except InvalidInput as exc:
        raise OpsError(str(exc), Exit.USAGE) from exc
    return given


def wait(deployment: Deployment, arn: str) -> Execution:
    """Wait for the end of an execution and show the state that it is in."""
    began_s = time.monotonic()
    with console.status("The execution starts") as shown:
        while (execution := deployment.describe(arn)).status == "RUNNING":
            took = show_duration(timedelta(seconds=int(time.monotonic() - began_s)))
            shown.update(f"{deployment.last_state(arn) or 'The execution'} is running, {took}")
            time.sleep(POLL_S)
    return execution


def show(execution: Execution) -> None:
    """Show what an execution did, as tables."""
    took = show_duration((execution.stopped or now()) - execution.started)
    say(f"{execution.status} after {took}: {summary(execution)}")
    record = execution.record
    if record is None:
        return
    if record.dry_run:
        say("Nothing was written.")
    for title, reasons in (
        ("Would be put back to work" if record.dry_run else "Stale", record.stale),
        ("Left alone", record.spared),
        ("Skipped", record.skipped),
        ("Failed", record.failed),
    ):
        if reasons:
            rows = [[str(count), name, meaning(name)] for name, count in reasons.items()]
            console.print(table(["videos", "name", "meaning"], rows, title=title))
    if record.videos:
        rows = [
            [str(video.id), video.reason, meaning(video.reason)] for video in record.videos[:_VIDEOS_SHOWN]
        ]
        title = f"Videos, the first {len(rows)} of {len(record.videos)}"
        console.print(table(["video", "name", "meaning"], rows, title=title))
    outcome = [[name, str(count)] for name, count in counts(record).items() if count]
    if outcome:
        console.print(table(["outcome", "videos"], outcome, title="What was done"))
    for line in remarks(record):
        say(line)


def remarks(record: RunRecord) -> list[str]:
    """Return a sentence for everything in a record that is not a count of videos."""
    said = []
    if record.heartbeats_trusted is False:
        said.append("Redis could not be read or written: only expired leases count in such a run.")
    if record.tenant_unknown:
        said.append(f"Videos without a tenant: {', '.join(map(str, record.tenant_unknown))}.")
    if record.expired_but_beating:
        said.append(
            f"Videos whose lease expired while their workers send heartbeats: {record.expired_but_beating}."
        )
    if record.resent:
        said.append(f"Waiting videos for which the queue held no message: {record.resent}.")
    if record.metrics_error:
        said.append(f"The metrics were not published: {record.metrics_error}.")
    if record.scaling_error:
        said.append(f"The group refused its new size: {record.scaling_error}.")
    if record.decision is not UNSET:
        said.append(f"Decision: {record.decision.action}. {record.decision.reason}")
    return said


def redrive(
    stage: Stage,
    since: Annotated[timedelta, duration("--since", "Executions that started within this time.")] = timedelta(
        hours=2
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
) -> None:
    """Redrive the failed executions that a redrive can help, one by one, the oldest first."""
    deployment = connect(stage)
    failed = [
        execution
        for status in ("FAILED", "TIMED_OUT")
        for execution in deployment.list_executions(since=now() - since, status=status)
    ]
    if not failed:
        say(f"No execution failed within {show_duration(since)}.")
        return
    results = []
    for execution in sorted(deployment.describe_all(failed), key=lambda each: each.started):
        succeeded, result = redrive_one(deployment, execution, dry_run=dry_run)
        say(
            f"{show_time(execution.started)}  {execution.name}  {execution.error or execution.status}  {result}"
        )
        results.append(succeeded)
    say(f"{results.count(True)} succeeded, {results.count(False)} failed, {results.count(None)} left alone")
    if False in results:
        raise typer.Exit(Exit.NOT_DONE)


def redrive_one(deployment: Deployment, execution: Execution, *, dry_run: bool) -> tuple[bool | None, str]:
    """Redrive a failed execution, if that can help, and wait for its end.

    A refusal by AWS counts as a failure and is not raised, so that the other executions are still tried.

    Returns:
        Whether it succeeded, or None if it was left alone; and a clause about it.
    """
    try:
        if refusal := redrive_refusal(execution, deployment.last_state(execution.arn)):
            return None, f"not redriven: {refusal}"
        if dry_run:
            return None, "would be redriven"
        deployment.redrive(execution.arn)
        ended = wait(deployment, execution.arn)
    except ClientError as exc:
        return False, describe_aws_error(exc)
    return ended.status == "SUCCEEDED", f"{ended.status}: {summary(ended)}"
