"""One fault at each step of list, reclaim and enqueue: nothing is lost, and nothing needs a person."""

import pytest

from dev.chaos.environment import Timing
from dev.chaos.injection import POSTGRES, REDIS, SEND_FAULTS, inflict

STATEMENTS = [
    call for call in POSTGRES if call != "read uncleared"
]  # only where a row is locked: `test_races.py`
CALLS = [*STATEMENTS, *REDIS, "read depth", "send"]
FAULTS = [
    *[(call, "after", "die") for call in CALLS],
    ("answer", "before", "die"),
    *[(call, "before", "cut after") for call in ("lease for handoff", "quarantine", "clear handoffs")],
    *[(call, "before", "cut Redis during") for call in ("remember", "count", "begin quarantine")],
    *[("send", "before", f"SQS {fault}") for fault in SEND_FAULTS],
    *[
        (call, "before", "go on though taken for dead")
        for call in ("lease for handoff", "send", "clear handoffs")
    ],
]
GONE = "i-0123456789abcdef0"
PUT_BACK = ("expired", "silent", "orphan", "gone", "lost")


@pytest.fixture
def timing():
    return Timing(max_reclaims=1)


@pytest.fixture
def stuck(academy, stage):
    """One video of each kind that is to be put back, one that is to be quarantined, and some to be spared."""
    videos = {"lost": academy.add("UPLOADED"), "done": academy.add("READY"), "poison": academy.add(until=-1)}
    stage.execute()
    for name in ("poison", "beating"):
        videos[name] = videos.get(name) or stage.upload()
        stage.encode(videos[name], manner="contract")
    stage.look(4, every_s=61)
    videos["silent"] = academy.add(until=36_000)
    videos["orphan"] = academy.add("UPLOADED", by="reclaim:crashed", until=-1)
    stage.look(1, every_s=61)
    stage.expire(videos["poison"])
    videos |= {
        "expired": academy.add(until=-1),
        "gone": academy.add(by=f"{GONE}-1", until=36_000),
        "unknown": academy.add(until=36_000),
    }
    academy.sql(  # a claim sets lease and start from one reading of the clock
        "UPDATE video_video SET leased_until = processing_started_at + interval '14400 s' WHERE id = %s",
        (videos["gone"],),
    )
    academy.redis.set(f"tenant:1:video:{videos['unknown']}:heartbeat", "without an end")
    return videos


def states(stage, stuck):
    return {name: stage.academy.state(video)[0] for name, video in stuck.items()}


@pytest.mark.parametrize(
    ("call", "when", "fault"), [pytest.param(*fault, id="-".join(fault)) for fault in FAULTS]
)
def test_one_fault_anywhere_loses_nothing(stage, stuck, call, when, fault):
    struck = stage.inject_once(call, when, lambda invocation: inflict(fault, invocation))
    stage.execute(terminated=[GONE])
    assert struck, "the fault never came to pass"
    stage.calm()
    stage.lambdas.forget()
    stage.pass_time(901)  # what the first run left between the stores is an orphan by now
    for _ in range(2):
        stage.look(8, terminated=[GONE])
        stage.finish()
    found = states(stage, stuck)
    assert found.pop("poison") in ("FAILED", "READY")  # its count may have ended without the quarantine
    assert found == {name: "READY" for name in (*PUT_BACK, "done")} | {
        "beating": "PROCESSING",
        "unknown": "PROCESSING",
    }
    assert stage.violated() == []


def test_a_clean_run_reaches_every_call_and_sends_each_video_once(stage, stuck):
    before = len(stage.record.events)
    assert stage.execute(terminated=[GONE]).status == "SUCCEEDED"
    reached = {e.details["call"] for e in stage.record.events[before:] if e.kind == "call"}
    assert reached >= {call for call, *_ in FAULTS}
    assert stage.messages() == sorted(stuck[name] for name in PUT_BACK)
    assert states(stage, stuck)["poison"] == "FAILED"
