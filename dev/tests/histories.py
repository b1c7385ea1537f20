"""Small histories, written by hand, for the tests of the rules."""

import json
from dataclasses import replace

from dev.chaos import product
from dev.chaos.case import Case
from dev.chaos.environment import Timing
from dev.chaos.history import PRODUCT, Event, History, Row, Write

NOW = 1_000.0
QUARANTINE_PREFIX = product.QUARANTINE_REASON
EMPTY_QUEUE = {"visible": "0", "delayed": "0"}
WAITING = Row("UPLOADED", "", None, None, None, "{}")
WORKED_ON = Row("PROCESSING", "w", NOW + 500, "claim-1", None, "{}")
STUCK = replace(WORKED_ON, leased_until=NOW - 1)
HANDED = Row("UPLOADED", "reclaim:t", NOW + 900, "claim-1", None, "{}")
DONE = replace(WAITING, status="READY")
QUARANTINED = replace(WAITING, status="FAILED", error_reason=f"{QUARANTINE_PREFIX}: 2 times")
BODY = json.dumps(
    {
        "video_id": 1,
        "file_key": "key",
        "tenant_id": 1,
        "tenant_code": "north",
        "created_at": "2026-01-01T00:00:00+00:00",
        "attempt": 2,
    }
)


def write(at, before, after, who=PRODUCT):
    return Write(int(at), at, at, who, 1, before, after)


def accepted(at, sender="Enqueue-1", body=BODY, delay_s=0):
    details = {"message": f"m{at}", "body": body, "sender": sender, "delay_s": delay_s}
    return Event(at, "accepted", details)


def began(at, invocation="Enqueue-1"):
    details = {"invocation": invocation, "step": invocation.split("-")[0], "event": {"videos": [1]}}
    return Event(at, "began", details)


def ended(at, invocation="Enqueue-1", error=None, faults=()):
    return Event(at, "ended", {"invocation": invocation, "error": error, "faults": list(faults)})


def deleted(at, of):
    return Event(at, "deleted", {"message": of.details["message"], "body": BODY})


def call(at, invocation, name, when, **details):
    return Event(at, "call", {"invocation": invocation, "call": name, "when": when, **details})


def step(at, event, worker="w", of=None):
    message = {"message": of.details["message"]} if of else {}
    return {"event": event, "worker": worker, "video": 1, "at": at, "began": at - 0.01, **message}


def judged(rule, *events, **given):
    return [violation.what for violation in rule(case_of(*events, **given))]


def case_of(*events, told=(), waiting=()):
    history = History(
        [event for event in events if isinstance(event, Write)],
        [event for event in events if isinstance(event, Event)],
        list(told),
    )
    return Case(history, Timing(max_reclaims=1), 60.0, waiting=frozenset(waiting))


TAKEN = write(1001.0, STUCK, HANDED)
CLEARED = write(1003.0, HANDED, replace(WAITING, processing_started_at="claim-1"))


ARN = {"execution": "arn:aws:states:::execution:m:x", "input": {"release": [2]}, "videos": [1]}


def invocation(name, began_at, ended_at):
    """The beginning and the end of an invocation; all of them belong to one execution."""
    step = {"List": "ListStaleVideos"}.get(name.split("-")[0], name.split("-")[0])
    return (
        Event(began_at, "began", {"invocation": name, "step": step, "event": ARN}),
        Event(ended_at, "ended", {"invocation": name, "error": None, "faults": []}),
    )


def row_of(video, now, leased_by="w"):
    return (video, "PROCESSING", 1, leased_by, "lease", "upload", False, False, now)


def mget(*pairs):
    """A command that asks for keys of video 1, and its answer."""
    keys = [f"tenant:1:video:{video}:{name}" for video, name, _ in pairs]
    return ("MGET", *keys), [value for *_, value in pairs]
