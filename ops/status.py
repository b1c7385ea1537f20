"""The command ``status``: one screen of 80 columns and 24 lines about one stage."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from msgspec import UNSET

from video_reclaim.scaling.override import parse_override

from .aws import Deployment, Described
from .errors import describe_aws_error
from .executions import DECIDED, ENDED_BADLY, Execution, read_decided, remarks, summary
from .screen import Json, Stage, answer, now, show_duration, show_time, wrap
from .stages import connect

READ, SHOWN = 5, 3  # executions that are read, which the JSON has, and that are on the screen
REFRESH_S = 5
_LABEL = 10  # columns
_MOST_UNWELL = 8  # lines, so that everything fits the screen
_IDLE_AFTER_S = 300  # until then an instance may still be starting
_DRAINING = ("Terminating", "Terminating:Wait", "Terminating:Proceed")
Shown = dict[str, Any]
"""A part of the JSON of a command."""


def status(
    stage: Stage,
    watch: Annotated[bool, typer.Option("--watch", help=f"Again every {REFRESH_S} s, until Ctrl-C.")] = False,
    json_: Json = False,
) -> None:
    """Show what is unwell, and the backlog, the fleet, the last decision and the last executions."""
    deployment = connect(stage)
    while True:
        shown = look(deployment)
        if watch and not json_:
            print("\x1b[H\x1b[2J", end="")  # the cursor to the top, and the screen cleared
        answer(shown, screen(shown), as_json=json_)
        if not watch:
            return
        time.sleep(REFRESH_S)


def look(deployment: Deployment) -> Shown:
    """Ask everything side by side; return the JSON of the command, which has all that is on the screen."""
    hour, publisher = timedelta(hours=1), ["PublishBacklog"]
    asked: dict[str, Callable[[], Any]] = {
        "stepfunctions": lambda: deployment.describe_all(deployment.list_executions(limit=READ)),
        "logs": lambda: read_decided(deployment.log_lines(DECIDED, since=hour, steps=publisher)),
        "scheduler": deployment.schedule,
        "autoscaling": deployment.group,
        "ssm": deployment.override_text,
        "cloudwatch": deployment.alarms,
        "sqs": lambda: _dead_letters(deployment),
    }
    for service in asked:
        deployment.client(service)
    with ThreadPoolExecutor(len(asked)) as pool:
        found = {service: pool.submit(ask) for service, ask in asked.items()}
    seen = {service: answered.result() for service, answered in found.items()}
    at, schedule, group = now(), seen["scheduler"], seen["autoscaling"]
    of_run = {one["execution"]: one for one in seen["logs"]}
    runs: list[Execution] = seen["stepfunctions"]
    rings = {name: alarm for name, alarm in seen["cloudwatch"].items() if alarm["StateValue"] == "ALARM"}
    last = next((one for one in runs if one.record and not one.record.dry_run), None)
    waited_s = last.record.longest_wait_s if last and last.record else UNSET
    shown = {
        "stage": deployment.stage,
        "at": at,
        "schedule": {"enabled": schedule["State"] == "ENABLED", "expression": schedule["ScheduleExpression"]},
        "decision": seen["logs"][-1] if seen["logs"] else None,
        "longestWait": {"at": last.started, "seconds": waited_s} if last and waited_s is not UNSET else None,
        "fleet": fleet(group) if group else None,
        "override": override(seen["ssm"], at),
        "alarms": [
            {"name": name, "since": one.get("StateUpdatedTimestamp"), "description": one["AlarmDescription"]}
            for name, one in sorted(rings.items())
        ],
        "deadLetters": seen["sqs"],
        "executions": [{**one.shown(), "summary": summary(one, of_run.get(one.name))} for one in runs],
    }
    told = [{"what": what, "text": text, "at": since} for what, text, since in unwell(shown, last)]
    return {**shown, "unwell": told}


def _dead_letters(deployment: Deployment) -> Shown:
    try:
        queues = deployment.dead_letter_queues().items()
        return {what: url and deployment.count_messages(url) for what, url in queues}
    except ClientError as exc:  # the video queue may be gone, which is the least reason to see nothing else
        return {"error": describe_aws_error(exc)}


def fleet(group: Described) -> dict[str, int]:
    """Return how large the worker group is; an instance drains while Auto Scaling terminates it."""
    states = [instance["LifecycleState"] for instance in group.get("Instances", [])]
    in_service, draining = states.count("InService"), sum(state in _DRAINING for state in states)
    return {
        **{"desired": group["DesiredCapacity"], "min": group["MinSize"], "max": group["MaxSize"]},
        **{"inService": in_service, "draining": draining, "other": len(states) - in_service - draining},
    }


def describe_fleet(group: Mapping[str, int]) -> str:
    """Say how large the worker group is."""
    text = "desired {desired} (of {min} to {max}), {inService} in service, {draining} draining"
    return text.format(**group) + (f", {group['other']} in other states" if group["other"] else "")


def override(text: str | None, at: datetime) -> Shown | None:
    """Return the override with ``inForce``, or with ``problem`` if it can't be understood; None for none."""
    order, problem = parse_override(text, at)
    if order is None:
        return {"inForce": False, "problem": problem} if problem else None
    given = {name: getattr(order, name) for name in ("mode", "desired", "until", "reason")}
    return {**given, "inForce": order.until > at}


def describe_override(order: Shown | None, at: datetime) -> str:
    """Say which override is in force."""
    if order is None:
        return "none"
    if "problem" in order:
        return f"can't be understood ({order['problem']}): `pause` or `fix` replaces it, `resume` deletes it"
    what = f"fixed at {order['desired']} workers" if order["mode"] == "fixed" else order["mode"]
    if not order["inForce"]:
        return f"none; {what} ended at {show_time(order['until'])}"
    left = show_duration(order["until"] - at)
    return f"{what} until {show_time(order['until'])} ({left} left): {order['reason']}"


def unwell(shown: Shown, recorded: Execution | None) -> Iterable[tuple[str, str, datetime | None]]:
    """Yield what somebody has to know: what it is about, in words, and its time, None for now.

    ``recorded`` is the last execution that has a record.
    """
    for alarm in shown["alarms"]:
        text = alarm["description"].partition(" Severity:")[0]
        yield "alarm", f"{alarm['name']} rings: {text}", alarm["since"]
    last = next((each for each in shown["executions"] if each["status"] != "RUNNING"), None)
    if last and last["status"] in ENDED_BADLY:
        yield "execution", f"the last run {last['status']}: {last['summary']}", last["started"]
    if recorded and recorded.record:
        yield from (("record", text, recorded.started) for text in remarks(recorded.record))
    group, decided = shown["fleet"], shown["decision"]
    waiting = (decided["uploaded"] or 0) if decided else 0
    if group is None:
        yield "fleet", "there is no Auto Scaling group of that name", None
    elif waiting and group["desired"] >= group["max"]:
        text = f"the group is at its maximum of {group['max']}, and {waiting} videos wait"
        yield "fleet", text, decided["at"]
    idle = group["inService"] - (decided["processing"] or 0) if group and decided else 0
    if waiting and idle > 0 and (shown["longestWait"] or {}).get("seconds", 0) >= _IDLE_AFTER_S:
        text = f"{idle} of {group['inService']} instances in service take none of {waiting} videos that wait"
        yield "fleet", f"{text}: no worker on them?", decided["at"]
    for what, count in shown["deadLetters"].items():
        if what == "error":
            yield "queues", f"the queues can't be read: {count}", None
        elif count:
            yield "dead letters", f"dead letters of {what}: {count}, `dead-letters` shows them", None
    if "problem" in (shown["override"] or {}):
        yield "override", "the override can't be understood: nothing is scaled in", None
    if not shown["schedule"]["enabled"]:
        yield "schedule", "the schedule is OFF: no run starts by itself", None


def screen(shown: Shown) -> list[str]:
    """Return the screen."""
    at, decided, waited = shown["at"], shown["decision"], shown["longestWait"]

    def told(label: str, text: str, most: int = 2) -> list[str]:
        return wrap(text, label=label, indent=_LABEL, most=most)

    backlog = f"{describe_backlog(decided)} ({_clock(decided['at'], at)})" if decided else "unknown"
    longest = "unknown: the listing failed, or Redis did not answer"
    if waited:
        longest = f"{show_duration(timedelta(seconds=waited['seconds']))} ({_clock(waited['at'], at)})"
    schedule = f"{'on' if shown['schedule']['enabled'] else 'OFF'}, {shown['schedule']['expression']}"
    made = f"{_clock(decided['at'], at)} {describe_decision(decided)}" if decided else "unknown"
    return [
        f"video-reclaim, stage {shown['stage']}, {show_time(at)} UTC",
        *_unwell_lines(shown["unwell"], at),
        *told("schedule", schedule, 1),
        *told("backlog", backlog),
        *told("waits", f"longest {longest}", 1),
        *told("fleet", describe_fleet(shown["fleet"]) if shown["fleet"] else "unknown", 1),
        *told("decision", made),
        *told("override", describe_override(shown["override"], at)),
        *(line for run in shown["executions"][:SHOWN] for line in _run_lines(run, at)),
    ]


def _unwell_lines(unwell: list[Shown], at: datetime) -> list[str]:
    """Return everything that is unwell in at most eight lines: two for each as long as there is room."""
    if not unwell:
        return wrap("nothing is known to be unwell", label="well", indent=_LABEL)
    texts = [f"{_clock(one['at'], at)} {one['text']}" if one["at"] else one["text"] for one in unwell]
    if len(texts) > _MOST_UNWELL:
        texts = [*texts[: _MOST_UNWELL - 1], f"and {len(texts) - _MOST_UNWELL + 1} more: --json has them"]
    left, lines = _MOST_UNWELL, list[str]()
    for number, text in enumerate(texts):
        most = min(2, left - (len(texts) - number - 1))
        lines += wrap(text, label="" if lines else "UNWELL", indent=_LABEL, most=most)
        left = _MOST_UNWELL - len(lines)
    return lines


def describe_backlog(decided: Shown) -> str:
    """Say what a decision was based on."""
    told = {name: "unknown" if value is None else value for name, value in decided.items()}
    return "{uploaded} waiting, {processing} PROCESSING; messages: {visible}".format(**told)


def describe_decision(decided: Shown) -> str:
    """Say what was decided: the action, whether it was held, the number of workers and the reason."""
    before, desired = ("?" if decided[name] is None else decided[name] for name in ("before", "desired"))
    held = decided["action"] == "hold"
    change = f"at {before}" if held else f"{before} → {desired}"
    unused = "" if decided["applied"] or held else ", not applied (dry run or advise)"
    return f"{decided['action']}{' (held)' if decided['held'] else ''} {change}{unused}: {decided['reason']}"


def _run_lines(run: Shown, at: datetime) -> list[str]:
    took = f" in {show_duration(run['stopped'] - run['started'])}" if run["stopped"] else ""
    redriven = f", {run['redrives']} redrives" if run["redrives"] else ""
    return [
        f"{'run'.ljust(_LABEL)}{_clock(run['started'], at)} {run['name']}",
        *wrap(f"{run['status']}{took}{redriven}: {run['summary']}", indent=_LABEL, most=1),
    ]


def _clock(at: datetime, today: datetime) -> str:
    """Write a time of the last day without its date."""
    return show_time(at)[11:] if abs(today - at) < timedelta(hours=20) else show_time(at)
