"""A video that waits in UPLOADED and has no message any more is sent again, once, and no other video is."""

import json
from dataclasses import replace

import pytest

from dev.chaos import verdicts
from dev.chaos.environment import Timing
from dev.local.worker import Habits
from dev.testing.protocol_stage import CALM

LOST_AFTER_S, EMPTY_LOOKS_APART_S = 901, 61
CANCEL_S = 300
REFUSE = "DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '42501'; END $$"
LOCKING = {"path": "careless", "habits": Habits(job_lock=True)}


def send(stage, video, **given):
    """Send a message as the platform does after an upload."""
    row = stage.academy.sql("SELECT file_key FROM video_video WHERE id = %s", (video,))
    body = {"video_id": video, "file_key": row[0][0], "tenant_id": 1, "tenant_code": "north", "attempt": 1}
    stage.queue.put(json.dumps(body), sender="platform", **given)


def run(stage, *names, **given):
    """Run executions, with enough time after each for a message to be lost and the queue to be empty twice."""
    for name in names:
        execution = stage.execute(name, **given)
        assert execution.status == "SUCCEEDED"
        stage.pass_time(LOST_AFTER_S)
    return execution


def cancel(stage, video):
    stage.academy.redis.set(f"tenant:1:video:{video}:cancel_requested", "1", ex=CANCEL_S)


# How a message is lost. Each leaves the video UPLOADED, and no message.


def a_worker_dies_before_its_claim(stage, video):
    send(stage, video)
    assert stage.worker("dies").receive()


def it_goes_to_the_dead_letter_queue(stage, video):
    """A killed worker of the older path has left the lock, so that the message is refused three times."""
    stage.academy.redis.set(f"job:encode:{video}:lock", "1", ex=14_400)
    send(stage, video)
    worker = stage.worker("refuses", **LOCKING)
    for _ in range(3):
        assert not worker.work(worker.receive())
        stage.queue.pass_time(300)
    assert stage.queue.dead


def the_platform_fails_to_send_it(_stage, _video):
    pass


def the_queue_is_purged(stage, video):
    send(stage, video)
    stage.queue.purge()


def a_retry_swallows_it(stage, video):
    cancel(stage, video)
    send(stage, video)
    worker = stage.worker("skips", habits=Habits(honours_cancel=True))
    assert not worker.work(worker.receive())


@pytest.fixture
def video(academy):
    return academy.add("UPLOADED")


@pytest.mark.parametrize(
    "lose",
    [
        a_worker_dies_before_its_claim,
        it_goes_to_the_dead_letter_queue,
        the_platform_fails_to_send_it,
        the_queue_is_purged,
        a_retry_swallows_it,
    ],
    ids=lambda lose: lose.__name__,
)
def test_a_lost_message_is_sent_again(stage, video, lose):
    lose(stage, video)
    assert not stage.messages()
    for number in range(5):
        run(stage, f"run-{number}")
    assert stage.messages() == [video]  # once, and not again while it waits in the queue
    assert [body["attempt"] for body in stage.queue.bodies()] == [2]
    worker = stage.worker("encodes", **LOCKING)
    assert worker.work(worker.receive())
    assert stage.academy.state(video)[0] == "READY"
    assert stage.violated() == []


def test_one_look_at_an_empty_queue_is_not_enough(stage, video):
    run(stage, "starts")
    stage.execute("finds-the-queue-empty")
    assert not stage.messages()
    stage.pass_time(EMPTY_LOOKS_APART_S)
    stage.execute("again")
    assert stage.messages() == [video]


def test_a_queue_that_was_not_empty_in_between_is_looked_at_twice_again(stage, academy, video):
    run(stage, "starts")
    stage.execute("finds-the-queue-empty")
    stage.pass_time(EMPTY_LOOKS_APART_S)
    other = academy.add("UPLOADED")
    send(stage, other)
    stage.queue.pass_time(30)
    stage.environment.inject = lambda _i, call, when, _c: (
        "unknown" if (call, when) == ("read oldest", "before") else None
    )
    stage.execute("finds-a-message")
    stage.queue.purge()
    stage.execute("finds-the-queue-empty-again")
    assert not stage.messages()


def test_a_queue_that_is_never_empty_tells_by_its_oldest_message(stage, academy, video):
    run(stage, "starts")
    send(stage, academy.add("UPLOADED"))
    stage.queue.pass_time(10)
    stage.execute("too-early")
    assert len(stage.messages()) == 1
    stage.age_waits(20)
    stage.execute("late-enough")
    assert video in stage.messages()


def test_a_video_that_merely_waits_long_in_a_long_queue_is_not_sent_again(stage, academy, video):
    send(stage, video)
    for number in range(5):
        send(stage, academy.add("UPLOADED"))
        run(stage, f"run-{number}")
    assert stage.messages().count(video) == 1
    assert len(stage.messages()) == 6


@pytest.mark.parametrize("state", ["delayed", "in-flight"])
def test_a_message_that_cannot_be_seen_is_not_lost(stage, video, state):
    stage.wait_long(video)
    send(stage, video, delay_s=4200 if state == "delayed" else 0)
    stage.queue.pass_time(3600)
    if state == "in-flight":
        assert stage.worker("holds", **LOCKING).receive()
    stage.execute("first")
    stage.execute("second")
    assert len(stage.messages()) == 1


def test_a_message_that_is_received_for_the_last_time_is_not_lost(stage, academy, video):
    """A long queue is worked off at last. SQS tells no age of a message that was received three times."""
    send(stage, video)
    stage.wait_long(video)
    stage.queue.pass_time(3600)
    worker = stage.worker("is-slow", **LOCKING)
    for left_s in (300, 300, 299):
        assert worker.receive()
        stage.queue.pass_time(left_s)
    send(stage, academy.add("UPLOADED"))
    stage.execute()
    assert stage.messages().count(video) == 1


@pytest.mark.parametrize("call", ["read depth", "read oldest"])
def test_no_message_counts_as_lost_while_the_queue_is_unknown(stage, academy, video, call):
    stage.wait_long(video)
    if call == "read oldest":
        send(stage, academy.add("UPLOADED"))
    stage.environment.inject = lambda _i, reached, when, _c: (
        "unknown" if (reached, when) == (call, "before") else None
    )
    assert stage.execute().record["messagesLost"] == 0
    assert video not in stage.messages()


def test_a_users_retry_starts_the_wait_again(stage, video):
    """The retry has sent a message, which a worker has deleted on receipt and will claim."""
    stage.execute("starts")
    stage.pass_time(LOST_AFTER_S - CANCEL_S)
    cancel(stage, video)
    stage.execute("sees-the-retry")
    stage.pass_time(CANCEL_S + 1)
    stage.execute("finds-the-queue-empty")
    stage.pass_time(EMPTY_LOOKS_APART_S)
    stage.execute("finds-it-empty-again")
    assert not stage.messages()


def test_a_retry_in_a_gap_between_looks_starts_the_wait_again(stage, academy, video):
    """What tells of a retry is gone after 300 s; the worker that has deleted its message is about to claim."""
    run(stage, "starts", "finds-the-queue-empty")
    cancel(stage, video)
    send(stage, video)
    stage.pass_time(CANCEL_S + 1, looking=False)
    assert stage.worker("is-about-to-claim").receive()
    stage.execute("looks-again")
    assert not stage.messages()


@pytest.mark.parametrize(
    "change",
    ["file_key = 'uploaded-again'", "leased_by = 'another'", "processing_started_at = now()"],
)
def test_a_wait_belongs_to_one_upload_and_one_claim(stage, academy, video, change):
    run(stage, "starts", "finds-the-queue-empty")
    academy.sql(f"UPDATE video_video SET {change}")
    stage.execute("finds-another-wait")
    assert not stage.messages()


def test_a_flush_of_redis_delays_sending_again(stage, academy, video):
    run(stage, "starts", "finds-the-queue-empty")
    academy.redis.flushall()
    run(stage, "starts-again", "finds-the-queue-empty-again")
    assert not stage.messages()
    stage.execute("sends")
    assert stage.messages() == [video]


def test_no_message_counts_as_lost_while_redis_does_not_answer(stage, video):
    stage.wait_long(video)
    stage.environment.redis_relay.refusing = True
    assert stage.execute().status == "SUCCEEDED"
    assert not stage.messages()


def test_two_executions_at_once_send_it_once(stage, video):
    """The second takes it, sends it and clears it while the first is about to read since when it waits."""
    stage.wait_long(video)
    stage.inject_once("take waits", "before", lambda *_: stage.execute("second") and None)
    stage.execute("first")
    assert stage.messages() == [video]
    assert stage.academy.state(video) == ("UPLOADED", "", False)


def test_a_video_that_is_claimed_meanwhile_is_left_alone(stage, academy, video):
    stage.wait_long(video)
    claim = "UPDATE video_video SET status = 'PROCESSING', leased_by = 'w', processing_started_at = now()"
    stage.inject_once("lease for handoff", "before", lambda *_: academy.sql(claim))
    stage.execute()
    assert academy.state(video)[:2] == ("PROCESSING", "w")
    assert not stage.messages()


def test_a_retry_between_listing_and_reclaiming_starts_the_wait_again(stage, video):
    stage.wait_long(video)

    def retry(*_):
        cancel(stage, video)
        send(stage, video)

    struck = stage.inject_once("take waits", "before", retry)
    stage.execute()
    assert struck
    assert stage.messages() == [video]
    assert stage.academy.state(video) == ("UPLOADED", "", False)


def test_a_redrive_days_later_does_not_judge_what_waits_now(stage, academy, video):
    """The upload that was lost is done by then, and another one of the same video waits in a long queue."""
    stage.wait_long(video)
    stage.environment.inject = lambda _i, call, when, _c: (
        REFUSE if (call, when) == ("read videos", "before") else None
    )
    failed = stage.execute("fails")
    assert failed.status == "FAILED"
    stage.calm()
    academy.sql("UPDATE video_video SET file_key = 'uploaded-again'")
    send(stage, video)
    run(stage, "starts", "finds-a-long-queue")
    assert failed.redrive() == "SUCCEEDED"
    assert stage.messages() == [video]


def test_at_most_a_hundred_are_sent_in_one_run_those_that_wait_longest_first(stage, academy):
    videos = [academy.add("UPLOADED") for _ in range(120)]
    stage.wait_long(*videos)
    assert stage.execute("first").record["messagesLost"] == 120
    assert len(set(stage.messages())) == 100


def test_an_idle_run_does_not_ask_the_queue(stage, academy):
    send(stage, academy.add("UPLOADED"))
    stage.execute()
    asked = {event.details["call"] for event in stage.record.events if event.kind == "call"}
    assert not asked & {"read depth", "read oldest", "read group"}


def test_a_dry_run_tells_and_writes_nothing(stage, academy, video):
    stage.wait_long(video)
    before = academy.redis.hgetall("video-reclaim:waiting")
    execution = stage.execute(dryRun=True)
    assert execution.record["stale"] == {"messageLost": 1}
    assert not stage.messages()
    assert academy.redis.hgetall("video-reclaim:waiting") == before


class TestReport:
    @pytest.fixture
    def timing(self):
        return replace(CALM, lost_messages="report")

    def test_it_is_counted_and_not_sent(self, stage, video):
        stage.wait_long(video)
        assert stage.execute().record["messagesLost"] == 1
        assert not stage.messages()


class TestQuarantine:
    @pytest.fixture
    def timing(self):
        return Timing(max_reclaims=2, retry_scale=0.0, redis_patience_s=0.5)

    def test_an_upload_whose_messages_are_lost_repeatedly_is_quarantined(self, stage, academy, video):
        for number in range(2):
            stage.wait_long(video)
            stage.execute(f"run-{number}")
            assert [body["attempt"] for body in stage.queue.bodies()] == [number + 2]
            stage.queue.purge()
        stage.wait_long(video)
        stage.execute("gives-up")
        assert academy.state(video) == ("FAILED", "", False)
        assert not stage.messages()
        assert stage.violated(verdicts.quarantined_after_reclaims, verdicts.known_steps) == []
