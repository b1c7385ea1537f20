"""The commands that write the override, ``pause``, ``fix``, ``resume``, and the schedule, ``stop``, ``start``."""

import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from video_reclaim.scaling.override import parse_override
from video_reclaim.settings import Scaling

from . import PROGRAM
from .aws import Deployment
from .errors import Exit, OpsError
from .screen import Json, Stage, answer, duration, now, wrap
from .stages import connect
from .status import describe_fleet, describe_override, fleet, override


class What(StrEnum):
    """What is paused."""

    SCALE_IN = "scale-in"
    SCALE_OUT = "scale-out"
    ALL = "all"


MODES = {What.SCALE_IN: "no-scale-in", What.SCALE_OUT: "no-scale-out", What.ALL: "hold"}
Paused = Annotated[What, typer.Argument(help="What may not happen; `all` keeps the fleet as it is.")]
For = Annotated[timedelta, duration("--for", "How long, such as 2h or 1d.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever reads the decision.")]


def pause(what: Paused, stage: Stage, for_: For, reason: Reason, json_: Json = False) -> None:
    """Keep the fleet from shrinking, from growing, or from both."""
    text = order(MODES[what], for_, reason, at=now())
    put(connect(stage), text, as_json=json_)


def fix(
    workers: Annotated[int, typer.Argument(min=0, help="How many workers.")],
    stage: Stage,
    for_: For,
    reason: Reason,
    json_: Json = False,
) -> None:
    """Keep the fleet at a number of workers; one beyond the group's minimum or maximum is refused."""
    text = order("fixed", for_, reason, at=now(), desired=workers)
    deployment = connect(stage)
    group = deployment.group()
    if group is not None and not group["MinSize"] <= workers <= group["MaxSize"]:
        limits = f"{group['MinSize']} to {group['MaxSize']}"
        raise OpsError(f"The group has {limits} workers, not {workers}: change its limits first.", Exit.USAGE)
    beside = f"The group now: {describe_fleet(fleet(group))}." if group else ""
    put(deployment, text, as_json=json_, beside=beside)


def resume(stage: Stage, json_: Json = False) -> None:
    """End the override: the fleet follows the backlog again."""
    deployment, at = connect(stage), now()
    text = deployment.override_text()
    if text is not None:
        deployment.delete_override()
    before = override(text, at)
    said = (
        "There is no override." if text is None else f"Deleted the override: {describe_override(before, at)}."
    )
    answer({"override": None, "replaced": before}, wrap(said), as_json=json_)


def order(mode: str, duration: timedelta, reason: str, *, at: datetime, desired: int | None = None) -> str:
    """Return the text of an override. Raises OpsError for one that the functions would not understand."""
    until = (at + duration + timedelta(seconds=1)).replace(microsecond=0)  # to the second, and no less
    given = {"mode": mode, "desired": desired, "until": until.isoformat(), "reason": reason.strip()}
    text = json.dumps({name: value for name, value in given.items() if value is not None})
    _, problem = parse_override(text, at)
    if problem or not reason.strip():
        raise OpsError(problem or "--reason is empty: say why", Exit.USAGE)
    return text


def put(deployment: Deployment, text: str, *, as_json: bool, beside: str = "") -> None:
    """Write an override and say what it does, and what it replaced."""
    at = now()
    before, written = override(deployment.override_text(), at), override(text, at)
    deployment.put_override(text)
    said = [f"Replaced: {describe_override(before, at)}."] if before else []
    said += [f"In force: {describe_override(written, at)}.", *([beside] if beside else [])]
    lines = [line for text in said for line in wrap(text)]
    if deployment.settings(Scaling).mode == "advise":
        lines.append("This stage only advises (scaling.mode): its runs never change the group.")
    else:
        lines += [
            "The next run obeys it. To end it sooner:",
            f"  {PROGRAM} resume --stage {deployment.stage}",
        ]
    answer({"override": written, "replaced": before}, lines, as_json=as_json)


def stop(stage: Stage, json_: Json = False) -> None:
    """Switch the schedule off, and say what keeps running."""
    deployment = connect(stage)
    deployment.enable_schedule(False)
    expression = deployment.schedule()["ScheduleExpression"]
    running = [execution.name for execution in deployment.list_executions(status="RUNNING")]
    said = [
        "The schedule is off: no execution starts by itself.",
        f"Still running, and will end: {', '.join(running)}." if running else "No execution is running.",
        "Workers keep working. Stuck videos stay stuck, and the fleet keeps its size, until the schedule is on.",
        f"The alarm NoSuccessfulRun rings after five rounds of the schedule, {expression}, if the stage has it.",
        "It is safe to change the database, Redis or the queue once `status` shows no execution RUNNING: nothing "
        "writes then, except the workers.",
        "A deployment sets the schedule as the stage says. To switch it on:",
    ]
    lines = [line for text in said for line in wrap(text)] + [f"  {PROGRAM} start --stage {stage}"]
    answer({"enabled": False, "expression": expression, "running": running}, lines, as_json=json_)


def start(stage: Stage, json_: Json = False) -> None:
    """Switch the schedule on."""
    deployment = connect(stage)
    deployment.enable_schedule(True)
    expression = deployment.schedule()["ScheduleExpression"]
    said = f"The schedule is on: {expression}. The first run takes what has piled up."
    answer({"enabled": True, "expression": expression}, wrap(said), as_json=json_)
