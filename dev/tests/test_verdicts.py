"""Each rule finds what breaks it, and nothing else."""

import json
from dataclasses import replace

import pytest

from dev.chaos import deliveries, duplicates, silence, verdicts
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


def case_of(*events, told=(), killed=(), waiting=(), excuses_losses=True):
    history = History(
        [event for event in events if isinstance(event, Write)],
        [event for event in events if isinstance(event, Event)],
        list(told),
    )
    return Case(
        history,
        Timing(max_reclaims=1),
        60.0,
        killed=frozenset(killed),
        waiting=frozenset(waiting),
        excuses_losses=excuses_losses,
    )


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


class TestSilence:
    """A video taken under a live lease: strike at 900, read again at 1000, silent in between."""

    LISTED = (
        call(900.1, "List-1", "list candidates", "after", rows=[(1, *[None] * 5, 900.0)]),
        call(900.2, "List-1", "read heartbeats", "before"),
        call(900.3, "List-1", "read heartbeats", "after", commands=[("MGET",)], answers=[[]]),
    )
    KEYS = ("MGET", "tenant:1:video:1:heartbeat", "tenant:1:video:1:silence")
    NAME = "read heartbeats and reclaims"
    RECLAIMED = (
        call(1000.1, "Reclaim-1", "read videos", "after", rows=[(1, *[None] * 5, 1000.0)]),
        call(1000.2, "Reclaim-1", NAME, "before"),
        call(1000.3, "Reclaim-1", NAME, "after", commands=[KEYS], answers=[[None, b"900.000 lease"]]),
        call(
            1000.4,
            "Reclaim-1",
            "lease for handoff",
            "before",
            parameters={"leases": '{"1": ""}', "holder": "reclaim:t"},
        ),
        write(1000.5, WORKED_ON, HANDED),
    )

    @pytest.mark.parametrize(
        ("told", "found"),
        [
            pytest.param([], False, id="silent"),
            pytest.param([step(950, "beat")], True, id="heard"),
            pytest.param([step(950, "beat"), step(960, "beatDeleted", "x")], False, id="deleted-by-a-worker"),
            pytest.param([step(940, "beatDeleted"), step(950, "beat")], True, id="heard-after-a-deletion"),
        ],
    )
    def test_a_heartbeat_that_redis_had_contradicts_it(self, told, found):
        assert bool(judged(silence.reclaimed_with_cause, *self.LISTED, *self.RECLAIMED, told=told)) is found


USERS = accepted(1000.0, "platform")
OURS = accepted(1002.0)
AGAIN = accepted(1005.0, "Enqueue-2")
RENEWED = write(1004.5, HANDED, HANDED)
BEGUN = (began(1001), began(1004, "Enqueue-2"))
CLAIMED = write(1000.6, WAITING, STUCK, who="w")


@pytest.mark.parametrize(
    ("events", "told", "cause"),
    [
        pytest.param([OURS, accepted(1005.0, "platform")], [], "a user's retry or upload", id="user"),
        pytest.param([OURS, accepted(1005.0, "worker")], [], "a worker's requeue", id="requeue"),
        pytest.param(
            [TAKEN, OURS, ended(1003, faults=["the function dies after a send"]), RENEWED, AGAIN],
            [],
            "a function crashed after sending",
            id="crash",
        ),
        pytest.param(
            [TAKEN, OURS, ended(1003, faults=["the function's answer is lost"]), RENEWED, AGAIN],
            [],
            "a lost answer of a function",
            id="lost-answer",
        ),
        pytest.param([TAKEN, OURS, ended(1004.2), AGAIN], [], "a lost answer of a function", id="overlap"),
        pytest.param(
            [TAKEN, OURS, ended(1003, error="StoreUnavailable"), RENEWED, AGAIN],
            [],
            "a failed call after sending",
            id="failed-call",
        ),
        pytest.param(
            [TAKEN, OURS, call(1001.9, "Enqueue-1", "send", "before", videos=[1]), accepted(1002.5)],
            [],
            "a lost answer of SQS, after which boto3 sent again",
            id="one-call-twice",
        ),
        pytest.param([TAKEN, OURS, ended(1003), RENEWED, AGAIN], [], "without a cause", id="no-fault"),
        pytest.param(
            [TAKEN, accepted(1001.5, "platform"), OURS],
            [],
            "a handoff, during which a user sent a message",
            id="retry-during-the-handoff",
        ),
        pytest.param(
            [USERS, TAKEN, OURS], [], "a reclaim, while a user's message was out", id="users-is-out"
        ),
        pytest.param(
            [USERS, CLAIMED, TAKEN, OURS],
            [step(1000.5, "received", of=USERS)],
            "a reclaim from a worker on the older path, which still had its message",
            id="older-path",
        ),
        pytest.param(
            [USERS, write(1001.0, WAITING, HANDED), OURS], [], "without a cause", id="sent-again-for-nothing"
        ),
        pytest.param([USERS, TAKEN, OURS, deleted(1000.5, USERS)], [], None, id="the-first-is-gone"),
        pytest.param(
            [USERS, TAKEN, OURS, deleted(1000.5, USERS)],
            [step(1002.5, "refused", of=USERS)],
            "a reclaim, while a user's message was out",
            id="deleted-and-not-yet-decided",
        ),
    ],
)
def test_duplicates_have_a_cause(events, told, cause):
    case = case_of(*BEGUN, *events, told=told)
    assert duplicates.duplicates(case) == ({cause: 1} if cause else {})
    assert bool(list(duplicates.duplicates_have_cause(case))) is (cause == "without a cause")


@pytest.mark.parametrize(("others_gone_at", "explained"), [(None, True), (1000.2, False)])
def test_a_reclaim_sends_a_second_message_only_after_an_earlier_duplicate(others_gone_at, explained):
    """Ours of 1000.5 is out, and the video was claimed: with the user's, if that was out as well."""
    gone = [deleted(others_gone_at, USERS)] if others_gone_at else []
    case = case_of(*BEGUN, USERS, accepted(1000.5), *gone, TAKEN, AGAIN)
    last = [cause for _, second, cause in duplicates._duplicates(case) if second.at == AGAIN.at]
    assert last == ["a reclaim, while an earlier duplicate was out" if explained else None]


@pytest.mark.parametrize(
    ("row", "given", "found"),
    [
        pytest.param(WAITING, {}, True, id="no-message"),
        pytest.param(WAITING, {"waiting": {1}}, False, id="has-one"),
        pytest.param(replace(WAITING, leased_by="dead"), {}, True, id="with-a-dead-workers-lease"),
        pytest.param(DONE, {}, False, id="done"),
    ],
)
def test_no_loss_is_excused_with_the_real_platforms_ways(row, given, found):
    message = accepted(999.0, "platform")
    told = [step(1000, "received", of=message), step(1000.1, "deleted", of=message)]
    events = [message, write(1001.0, WORKED_ON, row, who="platform")]
    case = case_of(*events, told=told, killed={"w"}, excuses_losses=False, **given)
    assert [violation.rule for violation in verdicts.violations(case)] == ["uploaded_has_message"] * found


@pytest.mark.parametrize(
    ("steps", "dead", "fate"),
    [
        (["received", "deleted"], False, "was lost by a worker that died before its claim"),
        (["received", "lockFailed", "received"], False, "was lost by a worker that died before its claim"),
        (["received", "deleted", "skipped"], False, "was deleted while cancel_requested was set"),
        (["received", "lockFailed"], True, "is in the dead-letter queue"),
        ([], False, "was lost by a worker that died as it received"),
    ],
)
def test_tells_what_became_of_a_lost_message(steps, dead, fate):
    message = accepted(999.0, "platform")
    told = [step(1000 + n, event, of=message) for n, event in enumerate(steps)]
    events = [message, write(998.0, None, WAITING, who="platform")]
    if dead:
        events.append(Event(1010.0, "dead", {"message": message.details["message"], "body": BODY}))
    assert deliveries.lost(case_of(*events, told=told, excuses_losses=False)) == {
        f"the last message {fate}": 1
    }
