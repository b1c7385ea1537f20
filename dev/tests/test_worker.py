"""The stand-in worker keeps the contract, and has the manners of the platform's own workers on demand."""

import json
import re
from datetime import timedelta

import pytest

from dev.local.worker import Pace, UnreachableError


@pytest.fixture
def waiting(stage):
    """The id of an UPLOADED video with a message in the queue."""
    return stage.upload()


@pytest.fixture
def held(stage, waiting):
    """The id of a video that a worker holds, with a second message in the queue."""
    stage.encode(waiting, name="holder", manner="contract")
    stage.send(waiting)
    return waiting


def events(stage, name):
    return " ".join(event["event"] for event in stage.record.told() if event["worker"] == name)


def heartbeats(academy):
    return academy.redis.keys("tenant:*:heartbeat")


def left_s(stage, video):
    """How long the heartbeat of a video still lives."""
    stage.timeline.settle_redis()
    expires_ms = stage.academy.redis.pexpiretime(f"tenant:1:video:{video}:heartbeat")
    return stage.timeline.left_ms(expires_ms) / 1000


@pytest.mark.parametrize(
    ("manner", "holder", "leased"),
    [("contract", "w", True), ("fast", "w-[0-9a-f]{8}", True), ("older", "reclaim:t", False)],
)
def test_each_claims_in_its_manner(academy, stage, waiting, manner, holder, leased):
    academy.sql("UPDATE video_video SET leased_by = 'reclaim:t', leased_until = now() + interval '900 s'")
    before = academy.rows()[waiting]
    worker = stage.worker("w", manner=manner)
    assert worker.begin(worker.receive())
    _, _, status, leased_by, until, started, *_ = academy.rows()[waiting]
    assert status == "PROCESSING" and started > before[5]
    assert re.fullmatch(holder, leased_by)
    assert until == (started + timedelta(seconds=14_400) if leased else before[4])
    assert bool(stage.queue.bodies()) is (manner == "older")  # the others deleted it on receipt


@pytest.mark.parametrize(
    ("manner", "fenced", "lost", "status", "key_stays"),
    [
        ("contract", False, False, "READY", True),
        ("contract", False, True, "READY", True),
        ("contract", True, False, "READY", False),
        ("contract", True, True, "PROCESSING", True),
        ("fast", False, False, "READY", False),
        ("fast", True, True, "PROCESSING", False),
        ("older", False, False, "READY", False),
        ("older", True, True, "PROCESSING", False),
    ],
)
def test_what_each_leaves_of_its_video_and_of_one_that_it_lost(
    academy, stage, waiting, manner, fenced, lost, status, key_stays
):
    stage.encode(waiting, manner=manner, fenced=fenced, hours=0.1)
    if lost:
        academy.sql("UPDATE video_video SET leased_by = 'another', processing_started_at = clock_timestamp()")
    stage.pass_time(370)
    assert academy.state(waiting)[:2] == (status, "another" if status == "PROCESSING" else "")
    assert bool(heartbeats(academy)) is key_stays
    assert not stage.messages() and not academy.redis.keys("job:*")


@pytest.mark.parametrize(("manner", "longest_s"), [("contract", 60), ("fast", 300), ("older", 300)])
def test_its_heartbeat_lives_for_a_minute_and_after_a_progress_record_for_five(
    stage, waiting, manner, longest_s
):
    stage.encode(waiting, manner=manner)
    lives_s = []
    for _ in range(250):
        lives_s.append(left_s(stage, waiting))
        stage.pass_time(1)
    assert longest_s - 2 < max(lives_s) <= longest_s
    assert 39 <= min(lives_s) <= 60


def test_the_heartbeat_of_a_fast_worker_lives_as_long_as_any(stage, waiting):
    worker = stage.worker("w", pace=Pace(time_scale=0.1))
    worker.beat(worker.receive())
    assert 58 < left_s(stage, waiting) <= 60


def test_cut_off_from_redis_it_does_not_beat(academy, stage, waiting):
    worker = stage.worker("w", cut_off=True)
    assert not worker.beat(worker.receive())
    assert not heartbeats(academy)


def test_a_failed_video_has_a_reason(academy, stage, waiting):
    worker = stage.worker("w", failing_share=1.0)
    worker.work(worker.receive())
    assert academy.state(waiting) == ("FAILED", "", False)
    assert academy.rows()[waiting][6]


def test_it_recognizes_its_own_claim_after_a_lost_answer(stage, waiting):
    worker = stage.worker("w")
    job = worker.receive()
    worker.claim(job)
    assert worker.claim(job)
    assert stage.worker("another").claim(job) is None


@pytest.mark.parametrize(
    ("manner", "status", "becomes", "told"),
    [
        ("contract", "PROCESSING", "PROCESSING", "received deleted refused"),
        ("contract", "READY", "READY", "received deleted refused"),
        ("fast", "PROCESSING", "UPLOADED", "received deleted beat refused requeued beatDeleted"),
        ("fast", "READY", "READY", "received deleted beat refused beatDeleted"),
        ("older", "READY", "READY", "received beat locked deleted refused beatDeleted"),
    ],
)
def test_refused_the_platform_s_takes_a_video_by_force_and_deletes_any_heartbeat(
    academy, stage, held, manner, status, becomes, told
):
    academy.sql("UPDATE video_video SET status = %s", (status,))
    worker = stage.worker("second", manner=manner)
    assert not worker.work(worker.receive())
    assert events(stage, "second") == told
    assert academy.state(held)[0] == becomes
    assert stage.messages() == ([held] if "requeued" in told else [])
    assert bool(heartbeats(academy)) is (manner == "contract")


def test_the_older_path_goes_on_with_what_is_processed_already(academy, stage, held):
    worker = stage.worker("second", manner="older")
    assert worker.work(worker.receive())
    assert academy.state(held)[0] == "READY"


def test_the_older_path_without_the_lock_gives_the_message_back_until_it_is_a_dead_letter(
    academy, stage, held
):
    academy.redis.set(f"job:encode:{held}:lock", "1", ex=14_400)
    worker = stage.worker("second", manner="older")
    for _ in range(3):
        assert not worker.work(worker.receive())
        assert worker.receive() is None
        stage.pass_time(60)
    assert worker.receive() is None
    assert [json.loads(body)["video_id"] for body in stage.queue.dead] == [held]
    assert academy.state(held)[0] == "PROCESSING"


def test_the_older_path_holds_its_message_and_its_lock_while_it_encodes(academy, stage, waiting):
    party = stage.encode(waiting, manner="older")
    stage.pass_time(5000)
    assert stage.messages() == [waiting] and not stage.queue.dead
    assert stage.worker("another").receive() is None
    assert academy.redis.ttl(f"job:encode:{waiting}:lock") > 14_000
    stage.timeline.kill(party)
    stage.pass_time(901)
    assert stage.worker("another").receive()


@pytest.mark.parametrize(
    ("manner", "status"), [("contract", "READY"), ("fast", "UPLOADED"), ("older", "UPLOADED")]
)
def test_the_platform_s_workers_drop_a_message_after_a_user_s_retry(academy, stage, waiting, manner, status):
    academy.redis.set(f"tenant:1:video:{waiting}:cancel_requested", "1", ex=300)
    worker = stage.worker("w", manner=manner)
    assert worker.work(worker.receive()) is (manner == "contract")
    assert academy.state(waiting)[0] == status
    assert not stage.queue.bodies()
    assert academy.redis.keys("tenant:*:cancel_requested")  # only its end ends it


def test_they_go_on_encoding_after_a_retry_and_write_nothing_if_they_end_soon(academy, stage, waiting):
    stage.encode(waiting, name="w", manner="fast", hours=0.05)
    stage.retry(waiting)
    stage.pass_time(100)
    assert events(stage, "w").endswith("beat")
    stage.pass_time(90)
    assert "stopped" in events(stage, "w")
    assert academy.state(waiting)[0] == "UPLOADED"


def test_it_gives_up_when_a_server_is_gone_for_a_minute(stage, waiting):
    worker = stage.worker("w", dsn="postgresql://postgres@127.0.0.1:9/academy")
    job = worker.receive()
    with pytest.raises(UnreachableError, match=r"w gives up after 6\d"):
        worker.claim(job)
    stage.queue.away = True
    with pytest.raises(UnreachableError, match=r"another gives up after 6\d"):
        stage.worker("another").run()
