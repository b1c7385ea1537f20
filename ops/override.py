"""The commands that write the override of the scaling decision: ``pause``, ``fix``, ``resume``."""

import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from ops.aws import Deployment
from ops.errors import Exit, OpsError
from ops.screen import Stage, duration, now, say
from ops.stages import connect
from ops.status import describe_group, describe_override
from video_reclaim.scaling.override import parse_override
from video_reclaim.settings import Scaling


class What(StrEnum):
    """What is paused."""

    SCALE_IN = "scale-in"
    SCALE_OUT = "scale-out"
    ALL = "all"


MODES = {What.SCALE_IN: "no-scale-in", What.SCALE_OUT: "no-scale-out", What.ALL: "hold"}
For = Annotated[timedelta, duration("--for", "How long, such as 2h or 1d.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever reads the decision.")]


def pause(
    what: Annotated[What, typer.Argument(help="What may not happen; `all` keeps the fleet as it is.")],
    stage: Stage,
    for_: For,
    reason: Reason,
) -> None:
    """Keep the fleet from shrinking, from growing, or from both."""
    put(connect(stage), order(MODES[what], for_, reason, at=now()))


def fix(
    workers: Annotated[int, typer.Argument(min=0, help="How many workers.")],
    stage: Stage,
    for_: For,
    reason: Reason,
) -> None:
    """Keep the fleet at a number of workers, within the group's minimum and maximum."""
    deployment = connect(stage)
    put(deployment, order("fixed", for_, reason, at=now(), desired=workers))
    say(f"The group now: {describe_group(deployment.group())}.")


def resume(stage: Stage) -> None:
    """End the override: the fleet follows the backlog again."""
    deployment = connect(stage)
    text = deployment.override_text()
    if text is None:
        say("There is no override.")
        return
    deployment.delete_override()
    say(f"Deleted the override: {describe_override(text, now())}.")


def order(mode: str, duration: timedelta, reason: str, *, at: datetime, desired: int | None = None) -> str:
    """Return the text of an override, checked by the rule that the functions use.

    Raises:
        OpsError: with exit status USAGE; the functions would not understand it.
    """
    until = (
        (at + duration + timedelta(seconds=1)).replace(microsecond=0).isoformat()
    )  # to the second, and no less
    given = {"mode": mode, "desired": desired, "until": until, "reason": reason.strip()}
    text = json.dumps({name: value for name, value in given.items() if value is not None})
    _, problem = parse_override(text, at)
    if problem or not reason.strip():
        raise OpsError(problem or "--reason is empty: say why", Exit.USAGE)
    return text


def put(deployment: Deployment, text: str) -> None:
    """Write an override and say what it does, and what it replaced."""
    before = deployment.override_text()
    deployment.put_override(text)
    if before is not None:
        say(f"Replaced: {describe_override(before, now())}.")
    say(f"In force: {describe_override(text, now())}.")
    if deployment.settings(Scaling).mode == "advise":
        say("This stage only advises (scaling.mode): its runs never change the group.")
    else:
        say(
            f"The next run obeys it. To end it sooner: .venv/bin/python -m ops resume --stage {deployment.stage}"
        )
