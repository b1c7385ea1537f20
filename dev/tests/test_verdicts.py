"""Each rule finds what breaks it, and nothing else."""

import json
from dataclasses import replace

import pytest

from dev.chaos import deliveries, silence, verdicts
from dev.chaos.case import Case
from dev.chaos.environment import Timing
from dev.chaos.history import PRODUCT, Event, History, Row, Write

NOW = 1_000.0
WAITING = Row("UPLOADED", "", None, None, None, "{}")
WORKED_ON = Row("PROCESSING", "w", NOW + 500, "claim-1", None, "{}")
STUCK = replace(WORKED_ON, leased_until=NOW - 1)
HANDED = Row("UPLOADED", "reclaim:t", NOW + 900, "claim-1", None, "{}")
DONE = replace(WAITING, status="READY")
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


def accepted(at, sender="Enqueue-1", body=BODY):
    return Event(at, "accepted", {"message": f"m{at}", "body": body, "sender": sender})


def began(at, invocation="Enqueue-1"):
    details = {"invocation": invocation, "step": invocation.split("-")[0], "event": {"videos": [1]}}
    return Event(at, "began", details)


def ended(at, invocation="Enqueue-1", error=None):
    return Event(at, "ended", {"invocation": invocation, "error": error})


def judged(rule, *events, told=(), killed=(), waiting=()):
    history = History(
        [event for event in events if isinstance(event, Write)],
        [event for event in events if isinstance(event, Event)],
        list(told),
    )
    case = Case(history, Timing(max_reclaims=1), 60.0, killed=frozenset(killed), waiting=frozenset(waiting))
    return [violation.what for violation in rule(case)]


TAKEN = write(1001.0, STUCK, HANDED)
CLEARED = write(1003.0, HANDED, replace(WAITING, processing_started_at="claim-1"))


@pytest.mark.parametrize(
    ("rule", "events"),
    [
        (verdicts.only_its_columns, [write(NOW, WORKED_ON, replace(HANDED, rest='{"updated_at": 1}'))]),
        (verdicts.only_its_columns, [write(NOW, STUCK, replace(HANDED, processing_started_at=None))]),
        (verdicts.only_its_columns, [write(NOW, WORKED_ON, None)]),
        (verdicts.known_steps, [write(NOW, DONE, HANDED)]),
        (verdicts.known_steps, [write(NOW, HANDED, replace(HANDED, leased_by="reclaim:other"))]),
        (verdicts.known_steps, [write(NOW, STUCK, WAITING)]),
        (verdicts.known_steps, [write(NOW, STUCK, replace(WAITING, status="FAILED"))]),
        (silence.reclaimed_with_cause, [write(NOW, WORKED_ON, HANDED)]),
        (deliveries.cleared_after_sending, [TAKEN, CLEARED]),
        (deliveries.cleared_after_sending, [accepted(1000.5), TAKEN, CLEARED]),
        (
            deliveries.sent_once,
            [
                began(1001),
                accepted(1002.0),
                ended(1002.5),
                began(1004, "Enqueue-2"),
                accepted(1005.0, "Enqueue-2"),
            ],
        ),
        (verdicts.one_owner, [write(NOW, WORKED_ON, replace(WORKED_ON, processing_started_at="2"), who="x")]),
        (verdicts.one_owner, [TAKEN, write(1004.0, DONE, WAITING)]),
        (
            verdicts.quarantined_after_reclaims,
            [
                write(
                    NOW,
                    STUCK,
                    replace(
                        WAITING, status="FAILED", error_reason="Quarantined by video-reclaim: stuck 2 times"
                    ),
                )
            ],
        ),
        (deliveries.messages_complete, [began(1001), accepted(1002.0, body=BODY.replace("+00:00", ""))]),
        (deliveries.messages_complete, [began(1001), accepted(1002.0, body=BODY.replace("file_key", "key"))]),
        (deliveries.nothing_lost, [accepted(1002.0), CLEARED]),
        (deliveries.nothing_lost, [write(NOW, None, WORKED_ON, who="w")]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_finds_what_must_not_be(rule, events):
    assert judged(rule, *events)


@pytest.mark.parametrize("rule", verdicts.RULES, ids=lambda rule: rule.__name__)
def test_a_reclaim_as_it_should_be_breaks_no_rule(rule):
    events = [TAKEN, began(1001.5), accepted(1002.0), CLEARED, ended(1003.5)]
    assert not judged(rule, *events, waiting={1})


@pytest.mark.parametrize(
    ("told", "killed", "excused"),
    [
        pytest.param(["received", "deleted"], ["w"], True, id="killed-before-its-claim"),
        pytest.param(["received", "deleted"], [], False, id="not-killed"),
        pytest.param(["received", "deleted", "refused"], ["w"], False, id="it-refused"),
        pytest.param(["received", "deleted", "claimed"], ["w"], False, id="it-claimed"),
        pytest.param([], ["w"], False, id="nobody-received-it"),
    ],
)
def test_only_a_worker_killed_before_its_claim_excuses_a_lost_message(told, killed, excused):
    message = accepted(1002.0)
    steps = [
        {"event": event, "worker": "w", "video": 1, "at": 1003.0 + n, "message": message.details["message"]}
        for n, event in enumerate(told)
    ]
    found = judged(deliveries.nothing_lost, message, CLEARED, told=steps, killed=killed)
    assert (not found) is excused
