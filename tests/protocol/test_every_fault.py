"""One fault at each step of list, reclaim and enqueue: nothing is lost, and nothing needs a person."""

from typing import get_args

import pytest

from dev.chaos import resends, silence, verdicts
from dev.chaos.queue import SendFault

_RAISE = "DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{}'; END $$"
POSTGRES = (
    "list candidates",
    "read unfinished",
    "read videos",
    "lease for handoff",
    "quarantine",
    "read handoffs",
    "clear handoffs",
)
REDIS = (
    "read heartbeats",
    "read missing heartbeats",
    "record strikes",
    "record waits",
    "take waits",
    "read heartbeats and reclaims",
    "end counts",
    "forget status",
    "prepare jobs",
)
AWS = ("read group", "read depth", "send")


def die(invocation, _connection):
    invocation.die()


def cut(when):
    return lambda invocation, connection: invocation.cut(connection, when)


def answer(code):
    return lambda _invocation, _connection: _RAISE.format(code)


def cut_redis(when):
    return lambda invocation, _connection: invocation.sandbox.environment.redis_relay.cut_next(when)


def sqs(fault):
    return lambda invocation, _connection: invocation.sandbox.environment.queue.faults.update(
        {invocation.id: fault}
    )


def unknown(_invocation, _connection):
    return "unknown"


def overtake(invocation, _connection):
    invocation.lose_answer(0.05)


FAULTS = [
    *[(call, when, "dies", die) for call in (*POSTGRES, *REDIS, *AWS) for when in ("before", "after")],
    *[(call, "before", "dies", die) for call in ("connect", "set up session", "answer")],
    *[
        (call, "before", f"cut {when}", cut(when))
        for call in POSTGRES
        for when in ("before", "during", "after")
    ],
    *[
        (call, "before", name, answer(code))
        for call in POSTGRES
        for name, code in [
            ("deadlock", "40P01"),
            ("read-only", "25006"),
            ("timeout", "57014"),
            ("refused", "42501"),
        ]
    ],
    *[
        (call, "before", f"redis cut {when}", cut_redis(when))
        for call in REDIS
        for when in ("before", "during", "after")
    ],
    *[(call, "before", "unknown", unknown) for call in ("read group", "read depth")],
    *[("send", "before", f"sqs {fault}", sqs(fault)) for fault in get_args(SendFault)],
    *[
        (call, "before", "overtaken", overtake)
        for call in ("lease for handoff", "read handoffs", "send", "clear handoffs")
    ],
]


# Silence, waits and counts of these tests were arranged, and not recorded by a listing.
BY_ARRANGEMENT = (
    silence.reclaimed_with_cause,
    resends.resent_with_cause,
    verdicts.quarantined_after_reclaims,
    verdicts.nothing_lost,
)
PUT_BACK = ("expired", "silent", "orphan", "gone", "lost")


@pytest.fixture
def stuck(academy, stage):
    """One video of each kind that is to be put back, one that is to be quarantined, and some to be spared."""
    videos = {
        "expired": academy.add(until=-1),
        "silent": academy.add(until=3600),
        "orphan": academy.add("UPLOADED", by="reclaim:crashed", until=-1),
        "gone": academy.add(by="i-0123456789abcdef0-1", until=3600),
        "lost": academy.add("UPLOADED"),
        "poison": academy.add(until=-1),
        "beating": academy.add(until=3600, beats=True),
        "first-miss": academy.add(until=3600),
        "unknown": academy.add(until=3600),
        "done": academy.add("READY"),
    }
    academy.redis.lpush(f"tenant:1:video:{videos['unknown']}:heartbeat", "of another type")
    stage.silence(videos["silent"])
    stage.wait_long(videos["lost"])
    stage.count(videos["poison"], 5)
    stage.count(videos["done"], 1)
    stage.instances = set()
    return videos


def wait_again(stage):
    """Run until a video whose wait was forgotten is sent again: its wait starts anew."""
    for name, seconds in (("starts", 1000), ("finds-the-queue-empty", 61), ("sends", 0)):
        stage.execute(name)
        stage.finish()
        stage.age_waits(seconds)


def sent_more_than_once(stage):
    case = stage.case()
    return {video for video, messages in case.accepted.items() if len(messages) > 1}


@pytest.mark.parametrize(
    ("call", "when", "action"),
    [pytest.param(call, when, action, id=f"{call}-{when}-{name}") for call, when, name, action in FAULTS],
)
def test_one_fault_anywhere_loses_nothing(stage, stuck, call, when, action):
    struck = stage.inject_once(call, when, action)
    stage.execute("first")
    assert struck, "the fault never came to pass"
    stage.calm()
    stage.lambdas.forget()
    stage.let_handoffs_expire()  # what the first run left between the stores is an orphan by now
    stage.execute("second")
    stage.finish()
    if stage.academy.state(stuck["lost"])[0] != "READY":
        wait_again(stage)
    assert {name: stage.academy.state(video)[0] for name, video in stuck.items()} == {
        "expired": "READY",
        "silent": "READY",
        "orphan": "READY",
        "gone": "READY",
        "lost": "READY",
        "poison": "FAILED",
        "beating": "PROCESSING",
        "first-miss": "PROCESSING",
        "unknown": "PROCESSING",
        "done": "READY",
    }
    rules = [rule for rule in verdicts.RULES if rule not in BY_ARRANGEMENT]
    assert stage.violated(*rules) == []


def test_there_is_a_fault_for_every_call_of_a_clean_run(stage, stuck):
    stage.execute()
    reached = {e.details["call"] for e in stage.record.events if e.kind == "call"}
    assert reached == {call for call, *_ in FAULTS}


def test_a_clean_run_sends_each_video_once_and_at_once(stage, stuck):
    assert stage.execute().status == "SUCCEEDED"
    assert stage.messages() == sorted(stuck[name] for name in PUT_BACK)
    assert not sent_more_than_once(stage)
