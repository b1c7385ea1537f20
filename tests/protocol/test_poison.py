"""A video that is stuck again and again is given up, for that reason alone, and never by accident."""

import pytest

from dev.chaos import verdicts
from dev.chaos.environment import Timing

LIMIT = 3
_RAISE = "DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{}'; END $$"


@pytest.fixture
def timing():
    return Timing(max_reclaims=LIMIT, retry_scale=0.0, redis_patience_s=0.5)


@pytest.fixture
def poison(academy):
    return academy.add(until=-1)


def get_stuck_again(stage, video):
    """A worker claims the video and dies, and its lease runs out."""
    worker = stage.worker(f"victim-{len(stage.told)}")
    while job := worker.receive():
        worker.claim(job)
    stage.academy.sql("UPDATE video_video SET leased_until = '2020-01-01' WHERE status = 'PROCESSING'")


def attempts(stage):
    return [body["attempt"] for body in stage.queue.bodies()]


def test_the_limit_counts_reclaims_and_the_message_tells_which_attempt_it_is(stage, academy, poison):
    for number in range(LIMIT):
        stage.execute(f"run-{number}")
        assert attempts(stage) == [number + 2]
        get_stuck_again(stage, poison)
    last = stage.execute("one-too-many")
    assert academy.state(poison) == ("FAILED", "", False)
    ((reason,),) = academy.sql("SELECT error_reason FROM video_video")
    assert f": {LIMIT + 1} times within 7 days" in reason
    assert [item["did"]["quarantined"] for item in last.results] == [1]
    assert not stage.messages()
    assert stage.violated(*verdicts.RULES) == []


def test_a_retry_by_hand_starts_the_count_again(stage, academy, poison):
    stage.count(poison, LIMIT)
    stage.execute("quarantines")
    assert academy.state(poison)[0] == "FAILED"
    academy.sql("UPDATE video_video SET status = 'PROCESSING', leased_by = 'w', leased_until = '2020-01-01'")
    stage.execute("reclaims")
    assert attempts(stage) == [2]


def test_a_new_upload_starts_the_count_again(stage, academy, poison):
    for number in range(LIMIT):
        stage.execute(f"run-{number}")
        get_stuck_again(stage, poison)
    academy.sql("UPDATE video_video SET file_key = 'uploaded-again'")
    stage.execute("another-upload")
    assert attempts(stage) == [2]


def test_a_video_that_was_done_in_between_starts_the_count_again(stage, academy, poison):
    stage.count(poison, LIMIT)
    academy.sql("UPDATE video_video SET status = 'READY', leased_by = '', leased_until = NULL")
    stage.execute("finds-it-done")
    academy.sql("UPDATE video_video SET status = 'PROCESSING', leased_by = 'w', leased_until = '2020-01-01'")
    stage.execute("reclaims")
    assert attempts(stage) == [2]


def test_users_are_shown_that_a_video_was_quarantined(stage, academy, poison):
    """The platform reads its cache of the status before the row."""
    academy.redis.set(f"tenant:1:video:{poison}:status", "PROCESSING", ex=21_600)
    stage.count(poison, LIMIT)
    stage.execute()
    assert academy.state(poison)[0] == "FAILED"
    assert not academy.redis.exists(f"tenant:1:video:{poison}:status")


def test_a_queue_that_is_away_for_hours_quarantines_nothing(stage, academy, poison):
    stage.queue.away = True
    for number in range(3 * LIMIT):
        stage.execute(f"run-{number}")
        assert academy.state(poison)[0] == "UPLOADED"
        stage.let_handoffs_expire()
    stage.queue.away = False
    stage.execute("at-last")
    assert attempts(stage) == [2]


def test_executions_that_overlap_count_a_stuck_claim_once(stage, academy, poison):
    """More of them than the limit have counted it before the first one takes it."""
    begun = []

    def overlap(_invocation, call, when, _connection):
        if (call, when) == ("lease for handoff", "before") and len(begun) <= LIMIT:
            begun.append(call)
            stage.execute(f"run-{len(begun)}")

    stage.environment.inject = overlap
    stage.execute("run-0")
    assert len(begun) == LIMIT + 1
    assert attempts(stage) == [2]
    assert academy.state(poison)[0] == "UPLOADED"


@pytest.mark.parametrize("code", ["25006", "57014", "40P01"], ids=["read-only", "timeout", "deadlock"])
def test_a_database_that_fails_for_hours_quarantines_nothing(stage, academy, poison, code):
    stage.environment.inject = lambda _i, call, when, _c: (
        _RAISE.format(code) if (call, when) == ("lease for handoff", "before") else None
    )
    for number in range(3 * LIMIT):
        assert stage.execute(f"run-{number}").status == "FAILED"
    stage.calm()
    stage.execute("at-last")
    assert attempts(stage) == [2]


@pytest.mark.parametrize("call", ["read heartbeats and reclaims", "lease for handoff"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_adds_no_attempt(stage, academy, poison, call, when):
    stage.inject_once(call, when, lambda invocation, _: invocation.die())
    stage.execute("crashes")
    stage.calm()
    stage.let_handoffs_expire()
    stage.execute("goes-on")
    assert attempts(stage) == [2]
    assert academy.state(poison)[0] == "UPLOADED"


def test_without_redis_nothing_is_counted_or_quarantined(stage, academy, poison):
    stage.environment.redis_relay.refusing = True
    for number in range(LIMIT + 2):
        stage.execute(f"run-{number}")
        assert attempts(stage) == [2]
        get_stuck_again(stage, poison)


def test_a_video_that_was_not_reclaimed_is_not_counted(stage, academy):
    """Listed as stale, and heard of again just before it is looked at."""
    video = academy.add(until=3600)
    stage.silence(video)
    key = f"tenant:1:video:{video}:heartbeat"
    stage.inject_once("read videos", "before", lambda *_: academy.redis.set(key, "1") and None)
    stage.execute()
    assert academy.state(video)[0] == "PROCESSING"
    assert not academy.redis.exists(f"tenant:1:video:{video}:reclaims")
