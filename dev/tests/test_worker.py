"""The stand-in worker keeps the contract, and has the manners of the platform's own workers on demand."""

import json
import re
import signal
from datetime import timedelta

import pytest

from dev.local.processes import free_port
from dev.testing.emulator_bench import Bench

MANNERS = ("contract", "fast", "older")


@pytest.fixture
def waiting(stage):
    """The id of an UPLOADED video with a message in the queue."""
    return stage.upload()


def keys(academy):
    return {
        name for key in academy.redis.scan_iter() if not (name := key.decode()).startswith("video-reclaim:")
    }


def events(stage, name):
    return [event["event"] for event in stage.told if event["worker"] == name]


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
    ("manner", "fenced", "key_stays"),
    [("contract", False, True), ("contract", True, False), ("fast", False, False), ("older", False, False)],
)
def test_each_finishes_its_video_and_leaves_nothing_but_a_key_that_expires(
    academy, stage, waiting, manner, fenced, key_stays
):
    worker = stage.worker("w", manner=manner, fenced=fenced)
    assert worker.work(worker.receive())
    assert academy.state(waiting) == ("READY", "", False)
    assert not stage.messages()
    assert bool(keys(academy)) is key_stays


@pytest.mark.parametrize("manner", MANNERS)
def test_each_leaves_a_video_alone_that_is_done(academy, stage, waiting, manner):
    academy.sql("UPDATE video_video SET status = 'READY'")
    before = academy.rows()
    worker = stage.worker("w", manner=manner)
    assert worker.work(worker.receive()) is False
    assert academy.rows() == before


@pytest.mark.parametrize(("manner", "longest_s"), [("contract", 60), ("fast", 300), ("older", 300)])
def test_its_heartbeat_lives_for_a_minute_and_after_a_progress_record_for_five(
    academy, stage, waiting, manner, longest_s
):
    stage.encode(waiting, manner=manner)
    lives_s = []
    for _ in range(250):
        lives_s.append(academy.redis.ttl(f"tenant:1:video:{waiting}:heartbeat"))
        stage.pass_time(1)
    assert longest_s - 2 < max(lives_s) <= longest_s
    assert 39 <= min(lives_s) <= 60


def test_cut_off_from_redis_it_does_not_beat(academy, stage, waiting):
    worker = stage.worker("w")
    job = worker.receive()
    worker.cut_off = True
    assert not worker.beat(job)
    assert not keys(academy)


def test_a_failed_video_has_a_reason(academy, stage, waiting):
    worker = stage.worker("w", failing_share=1.0)
    worker.work(worker.receive())
    assert academy.state(waiting) == ("FAILED", "", False)
    assert academy.rows()[waiting][6]


@pytest.mark.parametrize(
    ("manner", "fenced", "status", "key_stays"),
    [
        ("contract", False, "READY", True),
        ("contract", True, "PROCESSING", True),
        ("fast", True, "PROCESSING", False),
        ("older", True, "PROCESSING", False),
    ],
)
def test_what_becomes_of_a_video_and_its_heartbeat_that_are_another_s_by_now(
    academy, stage, waiting, manner, fenced, status, key_stays
):
    stage.encode(waiting, name="former", manner=manner, fenced=fenced, hours=0.1)
    academy.sql("UPDATE video_video SET leased_by = 'another', processing_started_at = clock_timestamp()")
    stage.pass_time(370)
    assert academy.state(waiting)[0] == status
    assert (f"tenant:1:video:{waiting}:heartbeat" in keys(academy)) is key_stays


def test_it_recognizes_its_own_claim_after_a_lost_answer(stage, waiting):
    worker = stage.worker("w")
    job = worker.receive()
    worker.claim(job)
    assert worker.claim(job)
    assert stage.worker("another").claim(job) is None


@pytest.mark.parametrize("name", ["", "x" * 56, "reclaim:me"])
def test_an_unusable_name_is_refused(stage, name):
    with pytest.raises(ValueError, match="can't be called"):
        stage.worker(name)


class TestRefused:
    """A second message for a video that a worker holds."""

    @pytest.fixture
    def held(self, stage, waiting):
        stage.encode(waiting, name="holder", manner="contract")
        stage.send(waiting)
        return waiting

    def test_by_the_contract_it_does_nothing(self, academy, stage, held):
        worker = stage.worker("second")
        assert not worker.work(worker.receive())
        assert events(stage, "second") == ["received", "deleted", "refused"]
        assert academy.state(held)[0] == "PROCESSING" and keys(academy)

    def test_the_platform_s_takes_it_by_force_and_deletes_the_holder_s_heartbeat(self, academy, stage, held):
        worker = stage.worker("second", manner="fast")
        assert not worker.work(worker.receive())
        assert " ".join(events(stage, "second")) == "received deleted beat refused requeued beatDeleted"
        assert academy.state(held)[0] == "UPLOADED"
        assert stage.messages() == [held]
        assert not keys(academy)

    def test_the_older_path_goes_on_with_what_is_processed_already(self, academy, stage, held):
        worker = stage.worker("second", manner="older")
        assert worker.work(worker.receive())
        assert academy.state(held)[0] == "READY"

    def test_the_older_path_without_the_lock_gives_the_message_back_until_it_is_a_dead_letter(
        self, academy, stage, held
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


class TestRetried:
    """A user's retry sets ``cancel_requested`` for 300 s."""

    @pytest.mark.parametrize(
        ("manner", "status"), [("contract", "READY"), ("fast", "UPLOADED"), ("older", "UPLOADED")]
    )
    def test_the_platform_s_workers_drop_a_message_meanwhile(self, academy, stage, waiting, manner, status):
        academy.redis.set(f"tenant:1:video:{waiting}:cancel_requested", "1", ex=300)
        worker = stage.worker("w", manner=manner)
        assert worker.work(worker.receive()) is (manner == "contract")
        assert academy.state(waiting)[0] == status
        assert not stage.queue.bodies()
        assert f"tenant:1:video:{waiting}:cancel_requested" in keys(academy)  # only its end ends it

    def test_they_go_on_encoding_and_write_nothing_if_they_end_meanwhile(self, academy, stage, waiting):
        stage.encode(waiting, name="w", manner="fast", hours=0.05)
        stage.retry(waiting)
        stage.pass_time(100)
        assert events(stage, "w")[-1] == "beat"
        stage.pass_time(90)
        assert "stopped" in events(stage, "w")
        assert academy.state(waiting)[0] == "UPLOADED"


def test_the_older_path_holds_its_message_and_its_lock_while_it_encodes(academy, stage, waiting):
    party = stage.encode(waiting, manner="older")
    stage.pass_time(5000)
    assert stage.messages() == [waiting] and not stage.queue.dead
    assert stage.worker("another").receive() is None
    assert academy.redis.ttl(f"job:encode:{waiting}:lock") > 14_000
    stage.schedule.kill(party)
    stage.pass_time(901)
    assert stage.worker("another").receive()


def test_as_a_process_it_can_be_killed(academy, stage, waiting, process):
    worker = process(endpoint_url=stage.queue.endpoint_url, queue_url=stage.queue.url)
    worker.wait_ready(lambda: '"beat"' in worker.log.read_text())
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # cut off from Redis, and connected again
        worker.send(number)
    assert worker.running

    worker.kill()

    told = [json.loads(line)["event"] for line in worker.log.read_text().splitlines()]
    assert told[:4] == ["received", "deleted", "claimed", "beat"]
    assert academy.state(waiting) == ("PROCESSING", "w", True)


@pytest.mark.parametrize("gone", ["PostgreSQL", "SQS"])
def test_it_ends_when_a_server_is_gone_for_longer_than_its_patience(
    stage, waiting, process, gone, monkeypatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # of boto3, whose retries take seconds
    places = {"endpoint_url": stage.queue.endpoint_url, "queue_url": stage.queue.url}
    nowhere = f"127.0.0.1:{free_port()}"
    if gone == "PostgreSQL":
        places["dsn"] = f"postgresql://postgres@{nowhere}/academy"
    else:
        places["endpoint_url"] = f"http://{nowhere}"

    worker = process(**places, patience_s="0.2", time_scale="0.05")

    Bench.until(lambda: not worker.running)
    assert worker.log.read_text().splitlines()[-1].startswith("w gives up after ")
