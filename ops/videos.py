"""The commands about videos: ``stuck``, ``why``, ``history``, ``quarantined``."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Annotated, Any

import typer

from . import PROGRAM, RUNBOOK
from .aws import Deployment
from .errors import Exit, OpsError
from .executions import WELL, Execution, meaning, videos
from .screen import TIME, Json, Stage, answer, duration, now, show_duration, show_time, wrap
from .stages import connect
from .trace import answer_why, left_alone, read_trace, repetitions, still_quarantined

Video = Annotated[int, typer.Argument(min=1, help="Id of the video.")]
Since = Annotated[timedelta, duration("--since", "How far to look back, such as 12h or 7d.")]
_VIDEOS_SHOWN = 15
_NOT_LISTED = ("ListStaleVideos", "NotListed")
TODO = {
    "suspect": "nothing: a next run decides",
    "massSilence": "find out why most workers are silent; counted after reclaiming.massSilenceSeconds",
    "heartbeatUnknown": "mend Redis, or the way to it: the runbook at HeartbeatsUntrusted",
    "tenantUnknown": "give its lecture a tenant on the platform: the runbook at TenantUnknown",
    "expiredButBeating": "nothing while it encodes; if it hangs, end its worker",
    "not enqueued": "mend the queue; then redrive the execution, or wait until the handoff lease has ended",
    "refused": "correct the row, the constraint or the trigger that the error names",
}
"""What to do about a video that was left alone, by its reason, or by the message of its line."""


def stuck(stage: Stage, json_: Json = False) -> None:
    """List the videos that the last run left alone: why, since when, and what to do."""
    deployment = connect(stage)
    execution, failed = last_listing(deployment)
    spared = None if execution.record is None else execution.record.spared
    since, pattern = now() - execution.started, f'{{ $.execution = "{execution.name}" }}'
    steps = ("ListStaleVideos", "Reclaim", "Enqueue")
    lines = read_trace(deployment.log_lines(pattern, since=since + timedelta(minutes=1), steps=steps))
    alone = [line for line in left_alone(lines, spared) if line.reason not in WELL]
    found = sorted(alone, key=lambda line: (line.kind, line.video))
    told = sum(line.message == "left alone" for line in found)
    about = {
        "execution": execution.name,
        "at": execution.started,
        "videos": [{**line.shown(), "kind": line.kind, "todo": TODO.get(line.kind, "")} for line in found],
        "more": max(0, sum(n for reason, n in (spared or {}).items() if reason not in WELL) - told),
        "notListed": [one.shown() for one in failed],
    }
    answer(about, _stuck_lines(about), as_json=json_)


def last_listing(deployment: Deployment) -> tuple[Execution, list[Execution]]:
    """Return the newest execution that has ended and could list, and newer ones that could not."""
    failed: list[Execution] = []
    for one in deployment.list_executions(limit=20):
        if one.status == "SUCCEEDED":
            return deployment.describe(one.arn), failed
        if one.status != "RUNNING":
            if deployment.last_state(one.arn) not in _NOT_LISTED:
                return one, failed
            failed.append(deployment.describe(one.arn))
    raise OpsError("None of the last 20 executions could list videos: see `status`.", Exit.NOT_DONE)


def _stuck_lines(about: dict[str, Any]) -> Iterable[str]:
    for run in about["notListed"]:
        yield from wrap(f"A newer run, {run['name']}, could not list: {run['error']}")
    yield from wrap(f"Run {about['execution']} at {show_time(about['at'])}")
    if not about["videos"] and not about["more"]:
        yield "It left no video alone that needs anybody."
    for kind, group in groupby(about["videos"], key=lambda one: one["kind"]):
        alike = list(group)
        yield from wrap(f"{kind}: {videos(len(alike))}. {alike[0]['text']}")
        if todo := alike[0]["todo"]:
            yield from wrap(todo, label="  to do: ", indent=9)
        for one in alike[:_VIDEOS_SHOWN]:
            label = f"  video {one['video']}  "
            yield from wrap(one["seen"] or "seen so for the first time", label=label, indent=4)
        if len(alike) > _VIDEOS_SHOWN:
            yield f"  and {len(alike) - _VIDEOS_SHOWN:,} more: --json has them"
    if about["videos"]:
        yield f"Runbook: {RUNBOOK}"
    if about["more"]:
        yield f"{videos(about['more'])} more have no log line: a look writes 1,000 at most."


def why(video: Video, stage: Stage, since: Since = timedelta(days=7), json_: Json = False) -> None:
    """Say why a video was last put back to work, set to FAILED or left alone, on which evidence, and what followed."""
    _tell(video, connect(stage), since, as_json=json_, whole=False)


def history(video: Video, stage: Stage, since: Since = timedelta(days=7), json_: Json = False) -> None:
    """List everything that happened to a video, newest last."""
    _tell(video, connect(stage), since, as_json=json_, whole=True)


def _tell(video: int, deployment: Deployment, since: timedelta, *, as_json: bool, whole: bool) -> None:
    found = read_trace(deployment.log_lines(f"{{ $.video = {video} }}", since=since))
    own = [line for line in found if line.video == video]  # a pattern compares numbers with less precision
    if not own:
        nothing = f"No trace of video {video} in {show_duration(since)}"
        raise OpsError(f"{nothing}: nothing was wrong with it, or there is none.", Exit.NOT_DONE)
    told = [
        {**group[-1].shown(), "first": group[0].at, "times": len(group)}
        for group in repetitions(own if whole else answer_why(own))
    ]
    link = console_link(deployment, told[-1]["execution"])
    answer({"video": video, "lines": told, "link": link}, _trace_lines(video, told, link), as_json=as_json)


def _trace_lines(video: int, told: Sequence[dict[str, Any]], link: str) -> Iterable[str]:
    yield f"Video {video}"
    run = ""
    for line in told:
        if line["execution"] != run:
            run = line["execution"]
            yield f"Run {run}"
        times = f" {line['times']} times since {show_time(line['first'])}." if line["times"] > 1 else ""
        yield from wrap(f"{line['text']}{times}", label=show_time(line["at"]), indent=TIME)
        if line["seen"]:
            yield from wrap(f"Evidence: {line['seen']}.", indent=TIME)
    if link:
        yield link


def console_link(deployment: Deployment, execution: str) -> str:
    """Return the console's address of an execution; '' for the local stack."""
    arn = deployment.execution_arn(execution)
    region = arn.split(":")[3]
    if ":000000000000:" in arn:
        return ""
    return f"https://{region}.console.aws.amazon.com/states/home?region={region}#/v2/executions/details/{arn}"


def quarantined(stage: Stage, since: Since = timedelta(days=30), json_: Json = False) -> None:
    """List the quarantined videos with the command that releases them."""
    pattern = '{ $.message = "quarantined" || $.message = "released" }'
    lines = read_trace(connect(stage).log_lines(pattern, since=since, steps=["Reclaim"]))
    found = [line.shown() for line in still_quarantined(lines)]
    none = f"No video was quarantined within {show_duration(since)}, or all were released."
    answer({"videos": found}, _quarantined_lines(stage, found) if found else [none], as_json=json_)


def _quarantined_lines(stage: str, found: Sequence[dict[str, Any]]) -> Iterable[str]:
    for one in found:
        text = f"video {one['video']}, {show_duration(now() - one['at'])} ago: {meaning(one['reason'])}, {one['seen']}"
        yield from wrap(text, label=show_time(one["at"]), indent=TIME)
    text = "A video that was retried on the platform meanwhile is still listed, and is skipped if it is released."
    yield from wrap(f"{text} To send {videos(len(found))} back to work, once the cause is mended:")
    yield from release_commands(stage, [one["video"] for one in found])


def release_commands(stage: str, ids: Sequence[int]) -> list[str]:
    """Return the commands that release videos, each at most 100 of them, which is what an input may name."""
    chunks = [ids[start : start + 100] for start in range(0, len(ids), 100)]
    return [f"  {PROGRAM} run --stage {stage} --release {','.join(map(str, chunk))}" for chunk in chunks]
