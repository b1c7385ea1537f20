"""The commands that start executions and redrive them: ``run``, ``redrive``."""

import math
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from msgspec import UNSET

from video_reclaim.errors import InvalidInput
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.run_record import RunRecord

from . import PROGRAM, RUNBOOK
from .aws import Deployment
from .errors import Exit, OpsError, describe_aws_error
from .executions import ENDED_BADLY, Execution, meaning, read_decided, redrive_refusal, remarks, summary
from .screen import Json, Stage, answer, duration, now, show_duration, show_time, wrap
from .stages import connect
from .trace import read_trace

POLL_S = 0.5
_VIDEOS_SHOWN = 20
_LOG_DELAY_S = 10
_HOURS = timedelta(hours=2)
Ids = Annotated[list[str] | None, typer.Option("--release", help="Quarantined videos: ids with commas.")]
Executions = Annotated[list[str] | None, typer.Argument(help="Names or ARNs; without any, all since.")]


def run(
    stage: Stage,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only; write nothing.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", help="The most videos to reclaim.")] = None,
    release: Ids = None,
    json_: Json = False,
) -> None:
    """Start an execution, wait for its end, and show its record. The exit status is 1 if it failed.

    With --release it is 1 also if one of the videos was not released: it was not quarantined, or does not exist.
    """
    given = execution_input(dry_run=dry_run, limit=limit, release=release or [])
    deployment = connect(stage)
    arn = deployment.start(given)
    if not json_:
        print(f"Started {arn.rpartition(':')[2]}", flush=True)
    ended = wait(deployment, arn)
    kept = not_released(deployment, ended, given.get("release", []))
    lines = [*_ended_lines(deployment, ended)]
    if kept:
        named = ", ".join(f"{video} ({why})" if why else str(video) for video, why in kept.items())
        lines += wrap(f"Not released, since not quarantined (any more): {named}")
    answer({**ended.shown(), "notReleased": list(kept)}, lines, as_json=json_)
    if ended.status != "SUCCEEDED" or kept:
        raise typer.Exit(Exit.NOT_DONE)


def execution_input(*, dry_run: bool, limit: int | None, release: list[str]) -> dict[str, Any]:
    """Return the input of an execution. Raises OpsError for one that the functions would refuse; it names the field."""
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


def wait(deployment: Deployment, arn: str, *, limit_s: float = math.inf) -> Execution:
    """Wait for the end of an execution, and not longer than the limit."""
    give_up = time.monotonic() + limit_s
    while (execution := deployment.describe(arn)).status == "RUNNING" and time.monotonic() < give_up:
        time.sleep(POLL_S)
    return execution


def not_released(deployment: Deployment, ended: Execution, ids: Sequence[int]) -> dict[int, str]:
    """Return the videos of a release that were not released, each with its reason; '' if there is no such video.

    The record tells whether there are any; which ones, the log lines tell, which may come some seconds later.
    """
    record, wanted = ended.record, set(ids)
    if record is None or not wanted:
        return {}
    listed = record.stale.get("released", 0)
    if listed == len(wanted) and not (record.skipped or record.refused or record.failed):
        return {}
    pattern, give_up = f'{{ $.execution = "{ended.name}" }}', time.monotonic() + _LOG_DELAY_S
    good = {video.id for video in record.videos or () if video.reason == "released"}  # of a dry run
    while True:
        since, steps = now() - ended.started + timedelta(minutes=1), ["ListStaleVideos", "Reclaim"]
        lines = read_trace(deployment.log_lines(pattern, since=since, steps=steps))
        said = {line.video: line for line in lines if line.video in wanted}
        told = [one for one in said.values() if record.dry_run or one.message not in ("stale", "left alone")]
        if len(told) >= listed or time.monotonic() > give_up:
            break
        time.sleep(POLL_S)
    good |= {video for video, line in said.items() if line.message == "released"}
    return {video: meaning(said[video].reason) if video in said else "" for video in sorted(wanted - good)}


def told(deployment: Deployment, ended: Execution) -> str:
    """Return what an execution did; how many videos a failed one could not put back, its decision's log line tells."""
    pattern = f'{{ $.message = "decided" && $.execution = "{ended.name}" }}'
    since = now() - ended.started + timedelta(minutes=1)
    failed = ended.status in ENDED_BADLY
    made = (
        read_decided(deployment.log_lines(pattern, since=since, steps=["PublishBacklog"])) if failed else []
    )
    return summary(ended, made[-1] if made else None)


def _ended_lines(deployment: Deployment, ended: Execution) -> Iterable[str]:
    took = show_duration((ended.stopped or now()) - ended.started)
    yield from wrap(f"{ended.status} after {took}: {told(deployment, ended)}")
    if ended.record:
        yield from _record_lines(ended.record)
    if ended.status in ENDED_BADLY:
        refusal = redrive_refusal(ended, deployment.last_state(ended.arn))
        then = f"A redrive can't help: {refusal}." if refusal else "Once it is mended:"
        yield from wrap(f"What to do is in the runbook, {RUNBOOK}#error-names. {then}")
        if not refusal:
            yield from (f"  {PROGRAM} redrive --stage {deployment.stage} \\", f"      {ended.name}")


def _record_lines(record: RunRecord) -> Iterable[str]:
    if record.dry_run:
        yield "Nothing was written."
    titles = {"would be put back" if record.dry_run else "stale": record.stale, "left alone": record.spared}
    for title, reasons in {**titles, "skipped": record.skipped, "failed": record.failed}.items():
        for name, count in reasons.items():
            yield from wrap(f"{title}: {count:,} {name}, {meaning(name)}", indent=2)
    if record.videos:
        for video in record.videos[:_VIDEOS_SHOWN]:
            yield f"  video {video.id}: {video.reason}"
        if (more := len(record.videos) - _VIDEOS_SHOWN) > 0:
            yield f"  and {more:,} more: --json has them"
    for line in remarks(record):
        yield from wrap(line[0].upper() + line[1:], indent=2)
    if record.decision is not UNSET:
        yield from wrap(f"Decision: {record.decision.action}. {record.decision.reason}", indent=2)


def redrive(
    stage: Stage,
    executions: Executions = None,
    since: Annotated[timedelta, duration("--since", "Executions that started within this time.")] = _HOURS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    json_: Json = False,
) -> None:
    """Redrive the failed, timed out or stopped executions that a redrive can help, one by one, the oldest first."""
    deployment = connect(stage)
    if executions:
        failed = [deployment.describe(deployment.execution_arn(given)) for given in executions]
    else:
        listed = (deployment.list_executions(since=now() - since, status=status) for status in ENDED_BADLY)
        failed = deployment.describe_all([execution for some in listed for execution in some])
    results = []
    for one in sorted(failed, key=lambda each: each.started):
        succeeded, text = redrive_one(deployment, one, dry_run=dry_run)
        results.append({"name": one.name, "started": one.started, "succeeded": succeeded, "text": text})
        if not json_:
            print(f"{show_time(one.started)}  {one.name}", flush=True)
            print(*wrap(f"{one.error or one.status}: {text}", indent=2, most=3), sep="\n", flush=True)
    numbers = [sum(one["succeeded"] is each for one in results) for each in (True, False, None)]
    total = "{} succeeded, {} failed, {} left alone".format(*numbers)
    none = f"No execution failed within {show_duration(since)}."
    answer({"executions": results}, [total if results else none], as_json=json_)
    if numbers[1]:
        raise typer.Exit(Exit.NOT_DONE)


def redrive_one(deployment: Deployment, execution: Execution, *, dry_run: bool) -> tuple[bool | None, str]:
    """Redrive a failed execution, if that can help, and wait for its end; return whether it succeeded, in words too.

    None is one that was left alone. A refusal by AWS is a failure and not raised: the others are still tried.
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
    return ended.status == "SUCCEEDED", f"{ended.status}: {told(deployment, ended)}"
