"""Corrections of EventBridge Scheduler: input and time of an invocation."""

# ruff: noqa: ANN401 - ministack's objects have no types

import re
from typing import Any

from ministack.core.responses import new_uuid, now_iso
from ministack.services import eventbridge, scheduler

from dev.local.corrections.review import EmulatorChanged, reviewed


def substitute_attributes() -> None:
    """Substitute the context attributes ``<aws.scheduler.…>`` in the input of a schedule's target.

    AWS substitutes schedule-arn, scheduled-time, execution-id and attempt-number at each invocation ("Adding
    context attributes in EventBridge Scheduler", its User Guide). Ministack delivers the placeholders.
    """
    invoke_target = reviewed(eventbridge, "_invoke_target", "550e304af080")

    def invoke_scheduled_target(target: dict[str, Any], event: dict[str, Any], *rest: Any) -> Any:
        given = target.get("Input") or ""
        if event.get("Source") == "aws.scheduler" and "<aws.scheduler." in given:
            attributes = {
                "schedule-arn": event["Resources"][0],
                "scheduled-time": now_iso(),
                "execution-id": new_uuid(),
                "attempt-number": "1",
            }
            filled = re.sub(r"<aws\.scheduler\.([a-z-]+)>", lambda m: attributes.get(m[1], m[0]), given)
            target = {**target, "Input": filled}
        return invoke_target(target, event, *rest)

    eventbridge._invoke_target = invoke_scheduled_target


def check_every_second() -> None:
    """Check every second which schedules are due.

    EventBridge Scheduler invokes a target within the minute it is due. Ministack checks every 10 seconds, so
    a schedule of one minute is late by up to 10 seconds.
    """
    if vars(scheduler).get("_SCHEDULE_TICK_INTERVAL") != 10:
        raise EmulatorChanged("ministack's scheduler no longer checks every 10 s: review it")
    scheduler._SCHEDULE_TICK_INTERVAL = 1
