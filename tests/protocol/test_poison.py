"""A video that is stuck again and again is given up, for that reason alone, never by accident, and never in masses."""

import pytest

from dev.chaos.environment import Timing
from dev.chaos.injection import RAISE, inflict

LIMIT = 3


@pytest.fixture
def timing():
    return Timing(max_reclaims=LIMIT)


@pytest.fixture
def poison(academy):
    return academy.add(until=-1)


def attempts(stage):
    return [body["attempt"] for body in stage.queue.bodies()]


def be_reclaimed(stage, video, times):
    """Have a worker claim the video and die, and an execution reclaim it, several times."""
    for _ in range(times):
        stage.execute()
        stage.die(video)


def test_the_limit_counts_reclaims_and_the_message_tells_which_attempt_it_is(stage, academy, poison):
    for number in range(LIMIT):
        stage.execute()
        assert attempts(stage) == [number + 2]
        stage.die(poison)
    last = stage.execute()
    assert academy.state(poison) == ("FAILED", "", False)
    ((reason,),) = academy.sql("SELECT error_reason FROM video_video")
    assert f": {LIMIT + 1} times within 7 days" in reason
    assert [item["did"]["quarantined"] for item in last.results] == [1]
    assert not stage.messages()
    assert stage.violated() == []


def test_a_retry_after_the_quarantine_starts_the_count_again(stage, academy, poison):
    be_reclaimed(stage, poison, LIMIT)
    stage.execute()
    assert academy.state(poison)[0] == "FAILED"
    academy.sql("UPDATE video_video SET status = 'PROCESSING', leased_by = 'w', leased_until = '2020-01-01'")
    stage.execute()
    assert attempts(stage) == [2]


@pytest.mark.parametrize("how", ["the answer is lost", "Redis is away"])
def test_a_quarantine_whose_answer_was_lost_ends_the_count_too(stage, academy, poison, how):
    be_reclaimed(stage, poison, LIMIT)
    academy.redis.set(f"tenant:1:video:{poison}:status", "PROCESSING", ex=21_600)
    if how == "the answer is lost":
        hit = stage.inject_once(
            "quarantine", "before", lambda i: i.sandbox.environment.postgres_relay.cut_next("after")
        )
    else:
        hit = stage.inject_once(
            "forget status", "before", lambda i: i.sandbox.environment.redis_relay.cut_next("before")
        )
    stage.execute()
    assert hit and academy.state(poison)[0] == "FAILED"
    assert how == "Redis is away" or not academy.redis.exists(f"tenant:1:video:{poison}:status")
    academy.sql("UPDATE video_video SET status = 'PROCESSING', leased_by = 'w', leased_until = '2020-01-01'")
    stage.execute()
    assert academy.state(poison)[0] == "UPLOADED"


def test_a_new_upload_starts_the_count_again(stage, academy, poison):
    be_reclaimed(stage, poison, LIMIT)
    academy.sql("UPDATE video_video SET file_key = 'uploaded-again'")
    stage.execute()
    assert attempts(stage) == [2]


def test_users_are_shown_that_a_video_was_quarantined(stage, academy, poison):
    """The platform reads its cache of the status before the row."""
    be_reclaimed(stage, poison, LIMIT)
    academy.redis.set(f"tenant:1:video:{poison}:status", "PROCESSING", ex=21_600)
    stage.execute()
    assert academy.state(poison)[0] == "FAILED"
    assert not academy.redis.exists(f"tenant:1:video:{poison}:status")


def test_a_queue_that_is_away_for_hours_quarantines_nothing(stage, academy, poison):
    stage.queue.away = True
    for _ in range(3 * LIMIT):
        stage.execute()
        assert academy.state(poison)[0] == "UPLOADED"
        stage.pass_time(901)
    stage.queue.away = False
    stage.look(2)
    assert attempts(stage) == [2]


@pytest.mark.parametrize("code", ["25006", "57014", "40P01"], ids=["read-only", "timeout", "deadlock"])
def test_a_database_that_fails_for_hours_quarantines_nothing(stage, academy, poison, code):
    stage.environment.inject = lambda _i, call, when: (
        RAISE.format(code) if (call, when) == ("lease for handoff", "before") else None
    )
    for _ in range(3 * LIMIT):
        assert stage.execute().status == "FAILED"
    stage.calm()
    stage.execute()
    assert attempts(stage) == [2]


def test_executions_that_overlap_count_a_stuck_claim_once_and_undo_nothing(stage, academy, poison):
    """More of them than the limit have counted it before the first one takes it."""
    begun = []

    def overlap(_invocation, call, when):
        if (call, when) == ("lease for handoff", "before") and len(begun) <= LIMIT:
            begun.append(call)
            stage.execute()

    stage.environment.inject = overlap
    stage.execute()
    assert len(begun) == LIMIT + 1
    assert attempts(stage) == [2]
    stage.calm()
    stage.die(poison)
    stage.execute()
    assert attempts(stage) == [3]


@pytest.mark.parametrize(
    ("call", "when", "fault"),
    [
        ("count", "before", "die"),
        ("count", "after", "die"),
        ("lease for handoff", "after", "die"),
        ("lease for handoff", "before", "cut after"),
    ],
)
def test_a_crash_or_a_lost_answer_neither_adds_nor_undoes_a_count(stage, poison, call, when, fault):
    stage.inject_once(call, when, lambda invocation: inflict(fault, invocation))
    stage.execute()
    stage.calm()
    stage.pass_time(901)
    stage.execute()
    stage.queue.purge()
    stage.send(poison)
    stage.die(poison)
    stage.execute()
    assert attempts(stage) == [3]


def test_without_redis_nothing_is_counted_or_quarantined(stage, academy, poison):
    stage.environment.redis_relay.refusing = True
    for _ in range(LIMIT + 2):
        stage.execute()
        assert attempts(stage) == [2]
        stage.die(poison)


def test_a_count_ends_after_seven_days(stage, academy, poison):
    be_reclaimed(stage, poison, LIMIT)
    stage.pass_time(7 * 86_400)
    stage.execute()
    assert attempts(stage) == [2]


class TestBadRelease:
    """A release of the workers that crash with every video, beside one that goes on."""

    @pytest.fixture
    def timing(self):
        return Timing(max_reclaims=1)

    @pytest.fixture
    def videos(self, stage):
        for _ in range(2):
            stage.encode(stage.upload(), manner="fast")
        return [stage.upload() for _ in range(8)]

    @pytest.mark.parametrize("beats", [True, False], ids=["after-a-heartbeat", "without-one"])
    def test_three_are_quarantined_in_an_hour_and_more_are_put_back(self, stage, academy, videos, beats):
        records = []
        for number in range(40):
            worker = stage.worker(f"crashes-{number}")
            while job := worker.receive():
                if worker.claim(job) and beats:
                    worker.beat(job)
            records.append(stage.look())
        done = [item["did"] for run in records for item in run.results]
        over_limit = [item.get("overLimit", 0) for item in done]
        assert sum(item.get("quarantined", 0) for item in done) == 3
        assert sum(academy.state(video)[0] == "FAILED" for video in videos) == 3
        assert sum(over_limit) >= 5

    def test_workers_that_crash_before_their_claim_quarantine_nothing(self, stage, academy, videos):
        for number in range(20):
            worker = stage.worker(f"crashes-{number}")
            while worker.receive():
                pass
            stage.look(every_s=180)
        assert {academy.state(video)[0] for video in videos} == {"UPLOADED"}
