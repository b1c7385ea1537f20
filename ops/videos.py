"""The commands about videos: ``why``, ``history``, ``quarantined``."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from ops.aws import Deployment
from ops.durations import show_duration, show_time
from ops.errors import Exit, OpsError
from ops.executions import videos
from ops.screen import Stage, console, duration, now, say, table
from ops.stages import connect
from ops.trace import TraceLine, answer, evidence, explain, read_trace, repetitions, still_quarantined

Video = Annotated[int, typer.Argument(min=1, help="Id of the video.")]
Since = Annotated[timedelta, duration("--since", "How far to look back, such as 12h or 7d.")]
_WEEK = timedelta(days=7)


def why(video: Video, stage: Stage, since: Since = _WEEK) -> None:
    """Say why a video was last put back to work or set to FAILED, on which evidence, and what followed."""
    deployment = connect(stage)
    lines = trace_of(deployment, video, since)
    say(f"Video {video}")
    for line, times in repetitions(answer(lines)):
        seen = evidence(line)
        say(f"{show_time(line.timestamp)}  {explain(line)}{f' {times} times.' if times > 1 else ''}")
        if seen:
            say(f"{'':21}Evidence: {seen}.")
    say(f"Execution {answer(lines)[-1].execution}{link(deployment, answer(lines)[-1])}")


def history(video: Video, stage: Stage, since: Since = _WEEK) -> None:
    """List everything that happened to a video, newest last."""
    lines = trace_of(connect(stage), video, since)
    rows = [[show_time(line.timestamp), explain(line), evidence(line), line.execution] for line in lines]
    console.print(
        table(["time (UTC)", "what happened", "evidence", "execution"], rows, title=f"Video {video}")
    )


def quarantined(
    stage: Stage,
    since: Annotated[timedelta, duration("--since", "How far to look back.")] = timedelta(days=30),
) -> None:
    """List the quarantined videos with the command that releases them."""
    deployment = connect(stage)
    pattern = '{ $.message = "quarantined" || $.message = "released" }'
    with console.status("Searching the logs"):
        lines = read_trace(deployment.log_lines(pattern, since=since, steps=["Reclaim"]))
    found = still_quarantined(lines)
    if not found:
        say(f"No video was quarantined within {show_duration(since)}, or all were released.")
        return
    rows = [
        [
            str(line.video),
            f"{show_time(line.timestamp)} ({show_duration(now() - line.timestamp)})",
            explain(line),
            evidence(line),
            line.execution,
        ]
        for line in found
    ]
    console.print(table(["video", "since (UTC)", "why", "evidence", "execution"], rows, title="Quarantined"))
    say(
        "A video that was retried on the platform meanwhile is still listed, and is skipped if it is released."
    )
    say(f"To send {videos(len(found))} back to work, once the cause is mended:")
    for command in release_commands(stage, [line.video for line in found]):
        say(f"  {command}")


def release_commands(stage: str, ids: Sequence[int]) -> list[str]:
    """Return the commands that release videos, each at most 100 of them, which is what an input may name."""
    chunks = [ids[start : start + 100] for start in range(0, len(ids), 100)]
    return [
        f".venv/bin/python -m ops run --stage {stage} --release {','.join(map(str, chunk))}"
        for chunk in chunks
    ]


def trace_of(deployment: Deployment, video: int, since: timedelta) -> list[TraceLine]:
    """Return the trace of a video, oldest line first. Raises OpsError if there is none."""
    with console.status(f"Searching the logs of {show_duration(since)}"):
        lines = read_trace(deployment.log_lines(f"{{ $.video = {video} }}", since=since))
    own = [line for line in lines if line.video == video]  # a pattern compares numbers with less precision
    if not own:
        raise OpsError(
            f"No trace of video {video} within {show_duration(since)}: there is no such video, or nothing had to "
            "be done for it. To look back further: --since 30d.",
            Exit.NOT_DONE,
        )
    return own


def link(deployment: Deployment, line: TraceLine) -> str:
    """Return the console's address of the execution that wrote a line; '' for the local stack."""
    arn = deployment.execution_arn(line.execution)
    region = arn.split(":")[3]
    if deployment.stage == "local" or not line.execution:
        return ""
    return (
        f": https://{region}.console.aws.amazon.com/states/home?region={region}#/v2/executions/details/{arn}"
    )
