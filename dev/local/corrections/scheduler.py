"""Corrections of EventBridge Scheduler: when it looks."""

from ministack.services import scheduler

from dev.local.corrections.review import EmulatorChanged


def check_every_second() -> None:
    """Check every second which schedules are due.

    EventBridge Scheduler invokes a target within the minute it is due. Ministack checks every 10 seconds, so
    a schedule of one minute is late by up to 10 seconds.
    """
    if vars(scheduler).get("_SCHEDULE_TICK_INTERVAL") != 10:
        raise EmulatorChanged("ministack's scheduler no longer checks every 10 s: review it")
    scheduler._SCHEDULE_TICK_INTERVAL = 1
