"""A video that waits in UPLOADED and has no message any more is sent again, once, and no other video is."""

import pytest

from dev.chaos import product
from dev.chaos.environment import Timing
from dev.chaos.injection import RAISE
from dev.chaos.queue import OPERATOR

LOOKS = 7
"""So many looks, a minute apart, find a lost message and send it again."""


@pytest.fixture
def video(academy):
    return academy.add("UPLOADED")


# How a message is lost. Each leaves the video UPLOADED, and no message.


def a_worker_dies_before_its_claim(stage, video):
    stage.send(video)
    assert stage.worker("dies").receive()


def it_goes_to_the_dead_letter_queue(stage, video):
    """A killed worker of the older path has left the lock, so that the message is refused three times."""
    stage.academy.redis.set(f"job:encode:{video}:lock", "1", ex=14_400)
    stage.send(video)
    worker = stage.worker("refuses", manner="older")
    for _ in range(3):
        assert not worker.work(worker.receive())
        stage.pass_time(61)
    assert worker.receive() is None and stage.queue.dead


def the_platform_fails_to_send_it(_stage, _video):
    pass


def the_queue_is_purged(stage, video):
    stage.send(video)
    stage.queue.purge()


def a_retry_swallows_it(stage, video):
    stage.retry(video)
    worker = stage.worker("skips", manner="fast")
    assert not worker.work(worker.receive())


def a_whole_row_is_saved_without_a_message(stage, video):
    """Also one with a handoff's token and no term, as a row was read while its handoff ended."""
    stage.academy.sql("UPDATE video_video SET leased_by = 'reclaim:long-ago.0123', leased_until = NULL")


@pytest.mark.parametrize(
    "lose",
    [
        a_worker_dies_before_its_claim,
        it_goes_to_the_dead_letter_queue,
        the_platform_fails_to_send_it,
        the_queue_is_purged,
        a_retry_swallows_it,
        a_whole_row_is_saved_without_a_message,
    ],
    ids=lambda lose: lose.__name__,
)
def test_a_lost_message_is_sent_again_once(stage, video, lose):
    lose(stage, video)
    stage.look(LOOKS + 6)  # a user's retry is a message for five minutes
    assert stage.messages() == [video]  # and not again while it waits in the queue
    assert stage.finish() == [video]
    assert stage.violated() == []


def test_it_waits_for_five_minutes_and_for_two_looks_at_the_queue(stage, video):
    stage.look(5)
    assert not stage.messages()
    stage.look(2)
    assert stage.messages() == [video]


def test_a_video_that_merely_waits_long_in_a_long_queue_is_not_sent_again(stage):
    videos = [stage.upload() for _ in range(3)]
    stage.look(20)
    assert stage.messages() == videos


def test_a_message_on_its_way_stops_the_proof(stage, video):
    """A look that finds a message, or can't look, begins the two looks anew."""
    stage.look(4)
    other = stage.upload()
    stage.look(4)
    assert stage.messages() == [other]
    stage.queue.purge()
    stage.look(1)
    assert not stage.messages()


@pytest.mark.parametrize("state", ["delayed", "in-flight"])
def test_a_message_that_cannot_be_received_is_not_lost(stage, video, state):
    stage.send(video, delay_s=3600 if state == "delayed" else 0)
    if state == "in-flight":
        stage.queue.visibility_s = 3600
        assert stage.worker("holds", manner="older").receive()
    stage.look(LOOKS + 3)
    assert len(stage.messages()) == 1


def test_a_worker_of_the_older_path_holds_its_message_and_proves_nothing_against_it(stage, academy, video):
    """As many messages are in flight as videos are at work without a lease."""
    busy = stage.upload()
    stage.encode(busy, manner="older")
    stage.look(LOOKS)
    assert stage.messages() == sorted([busy, video])
    assert academy.state(busy)[0] == "PROCESSING"


def test_nothing_is_lost_while_the_queue_or_redis_is_unknown(stage, video):
    stage.environment.inject = lambda _i, call, when: (
        "unknown" if (call, when) == ("read depth", "before") else None
    )
    stage.look(LOOKS + 2)
    stage.calm()
    stage.environment.redis_relay.refusing = True
    stage.environment.redis_relay.cut_all()
    stage.look(LOOKS + 2)
    assert not stage.messages()


@pytest.mark.parametrize(
    "change", ["file_key = 'uploaded-again'", "leased_by = 'another'", "processing_started_at = now()"]
)
def test_a_wait_belongs_to_one_upload_and_one_claim(stage, academy, video, change):
    stage.look(5)
    academy.sql(f"UPDATE video_video SET {change}")
    stage.look(5)
    assert not stage.messages()


@pytest.mark.parametrize("forgets", ["a flush of Redis", "a gap between looks"])
def test_what_was_forgotten_delays_sending_again(stage, academy, video, forgets):
    stage.look(5)
    if forgets == "a flush of Redis":
        academy.redis.flushall()
    else:
        stage.pass_time(300)
    stage.look(5)
    assert not stage.messages()
    stage.look(2)
    assert stage.messages() == [video]


class TestMessagesByOtherMeans:
    """Somebody else sends a message: a user, or an operator out of the dead-letter queue."""

    def test_a_retry_whose_worker_is_about_to_claim_is_no_loss(self, stage, video):
        stage.look(3)
        stage.retry(video)
        assert stage.worker("is-about-to-claim").receive()
        stage.look(5)
        assert not stage.messages()

    def test_a_retry_between_listing_and_reclaiming_is_no_loss(self, stage, video):
        stage.look(5, every_s=61)
        struck = stage.inject_once("look", "before", lambda *_: stage.retry(video), step="Reclaim")
        stage.execute()
        assert struck and stage.messages() == [video]

    @pytest.mark.parametrize("sender", [OPERATOR, "platform"], ids=["redrive", "retry-without-its-key"])
    def test_a_message_that_came_while_a_long_queue_was_worked_off_is_not_sent_twice(
        self, stage, video, sender
    ):
        others = [stage.upload() for _ in range(3)]
        worker = stage.worker("takes-its-time")
        for number, _ in enumerate(others):
            stage.look(20)
            if number == 1:
                stage.send(video, sender=sender)
            assert worker.work(worker.receive())
        stage.look(12)
        assert stage.messages() == [video]


class TestTwoExecutions:
    @pytest.mark.parametrize(
        ("call", "step"),
        [
            ("look", "ListStaleVideos"),
            ("remember", "ListStaleVideos"),
            ("look", "Reclaim"),
            ("count", "Reclaim"),
        ],
    )
    def test_a_resend_of_another_execution_at_any_step_is_not_repeated(
        self, stage, academy, video, call, step
    ):
        stage.look(5, every_s=61)
        struck = stage.inject_once(call, "before", lambda *_: stage.execute("second") and None, step=step)
        stage.execute("first")
        assert struck
        stage.calm()
        stage.look(8)
        assert stage.messages() == [video]
        assert academy.state(video) == ("UPLOADED", "", False)

    def test_a_video_that_another_execution_sent_and_a_third_listed_is_not_sent_again(
        self, stage, academy, video
    ):
        """Between the look and the taking; the row is as it was before the first resend."""

        def overtake(*_):
            academy.redis.hdel(f"video-reclaim:{product.STAGE}:seen", str(video))
            stage.send(video)
            stage.execute("lists")

        stage.look(5, every_s=61)
        struck = stage.inject_once("count", "before", overtake, step="Reclaim")
        stage.execute("first")
        assert struck and stage.messages() == [video]

    def test_a_failover_of_redis_that_lost_a_deletion_does_not_repeat_it(self, stage, academy, video):
        before = []

        def note(*_):
            before.extend(
                (key, academy.redis.dump(key), academy.redis.pttl(key)) for key in academy.redis.scan_iter()
            )

        stage.look(5, every_s=61)
        stage.inject_once("count", "before", note)
        stage.execute()
        assert before and stage.messages() == [video]
        academy.redis.flushall()
        for key, copy, left_ms in before:
            academy.redis.restore(key, max(0, left_ms), copy)
        stage.calm()
        stage.look(8)
        assert stage.messages() == [video]

    def test_a_redrive_days_later_does_not_judge_what_waits_now(self, stage, academy, video):
        """The upload that was lost is done by then, and another one of the same video waits in a long queue."""
        stage.look(5, every_s=61)
        stage.environment.inject = lambda _i, call, when: (
            RAISE.format("42501") if (call, when) == ("read videos", "before") else None
        )
        failed = stage.execute("fails")
        assert failed.status == "FAILED"
        stage.calm()
        academy.sql("UPDATE video_video SET file_key = 'uploaded-again'")
        stage.send(video)
        stage.look(8)
        assert failed.redrive() == "SUCCEEDED"
        assert stage.messages() == [video]


class TestFirstWorkerLives:
    """A user's retry, or a save of the whole row, makes a video UPLOADED while its worker encodes and beats."""

    @pytest.fixture
    def encoded(self, stage):
        others = [stage.upload() for _ in range(2)]
        for other in others:
            stage.encode(other, manner="fast")
        video = stage.upload()
        stage.encode(video, manner="fast")
        return video

    def test_a_retried_video_is_not_sent_while_it_beats(self, stage, encoded):
        stage.retry(encoded)
        skips = stage.worker("skips", manner="fast")
        assert not skips.work(skips.receive())
        stage.look(20)
        assert not stage.messages()

    @pytest.mark.parametrize("until", ["now() - interval '1 s'", "NULL"])
    def test_an_orphan_is_not_sent_while_it_beats(self, stage, academy, encoded, until):
        academy.sql(
            "UPDATE video_video SET status = 'UPLOADED', leased_by = 'reclaim:saved.0123',"
            f" leased_until = {until} WHERE id = %s",
            (encoded,),
        )
        stage.look(5)
        assert not stage.messages()


def test_at_most_a_hundred_are_sent_in_one_run(stage, academy):
    for _ in range(120):
        academy.add("UPLOADED")
    stage.look(7)
    assert len(set(stage.messages())) == 100


def test_a_dry_run_tells_and_writes_nothing(stage, academy, video):
    stage.look(5, every_s=61)
    before = {key: academy.redis.dump(key) for key in academy.redis.scan_iter()}
    assert stage.execute(dryRun=True).record["stale"] == {"messageLost": 1}
    assert not stage.messages()
    assert {key: academy.redis.dump(key) for key in academy.redis.scan_iter()} == before


class TestQuarantine:
    @pytest.fixture
    def timing(self):
        return Timing(max_reclaims=1)

    def test_a_video_whose_messages_are_lost_is_never_quarantined(self, stage, academy, video):
        for _ in range(5):
            stage.look(LOOKS)
            stage.queue.purge()
        assert academy.state(video)[0] == "UPLOADED"
