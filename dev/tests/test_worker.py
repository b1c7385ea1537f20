"""The stand-in worker keeps the contract, including its weaknesses, and has the platform's habits on demand."""

import json
import re
import time

import pytest

from dev.chaos import product
from dev.local.emulator import REGION
from dev.local.processes import free_port
from dev.local.worker import Habits, Pace, WorkerProcess
from dev.testing.emulator_bench import Bench


@pytest.fixture
def waiting(academy, stage):
    """The id of an UPLOADED video with a message in the queue."""
    video = academy.add("UPLOADED")
    stage.queue.put(json.dumps({"video_id": video, "tenant_id": 1, "attempt": 2}), sender="platform")
    return video


def row(academy, video):
    return academy.sql(
        "SELECT status, leased_by, round(date_part('epoch', leased_until - now())::numeric, -2)::int,"
        " processing_started_at > now() - interval '1 minute', error_reason FROM video_video WHERE id = %s",
        (video,),
    )[0]


@pytest.mark.parametrize(
    ("path", "claimed"),
    [
        pytest.param("leased", ("PROCESSING", "w", 14400, True, None), id="leased"),
        pytest.param("unleased", ("PROCESSING", "", None, True, None), id="unleased"),
        pytest.param("careless", ("PROCESSING", "reclaim:t", 900, True, None), id="careless"),
    ],
)
def test_each_path_claims_as_the_contract_says(academy, stage, waiting, path, claimed):
    academy.sql("UPDATE video_video SET leased_by = 'reclaim:t', leased_until = now() + interval '900 s'")
    worker = stage.worker("w", path=path)
    job = worker.receive()
    assert (job.video_id, job.tenant_id, job.attempt) == (waiting, 1, 2)
    assert not stage.queue.bodies()  # deleted on receipt
    assert worker.claim(job)
    assert row(academy, waiting) == claimed


def test_a_video_that_is_not_uploaded_is_not_claimed(academy, stage, waiting):
    academy.sql("UPDATE video_video SET status = 'READY'")
    before = academy.rows()
    worker = stage.worker("w")
    assert worker.work(worker.receive()) is False
    assert academy.rows() == before


def test_it_writes_heartbeats_until_the_video_is_done(academy, stage, waiting):
    worker = stage.worker("w", pace=Pace(time_scale=0.001, encode_s=1000))
    worker.work(worker.receive())
    beats = [event for event in stage.told if event["event"] == "beat"]
    assert len(beats) >= 3
    assert row(academy, waiting)[:3] == ("READY", "", None)


def test_its_heartbeat_has_the_platform_s_key_and_time_to_live(academy, stage, waiting):
    worker = stage.worker("w")
    job = worker.receive()
    assert worker.beat(job)
    key = f"tenant:1:video:{waiting}:heartbeat"
    assert academy.redis.get(key) == b"1" and 30 <= academy.redis.ttl(key) <= 60
    worker.cut_off = True
    academy.redis.flushall()
    assert not worker.beat(job)
    assert not academy.redis.exists(key)


def test_a_failed_video_has_a_reason(academy, stage, waiting):
    worker = stage.worker("w", failing_share=1.0)
    worker.work(worker.receive())
    assert row(academy, waiting)[:3] == ("FAILED", "", None)
    assert row(academy, waiting)[4]


@pytest.mark.parametrize(("fenced", "status"), [(False, "READY"), (True, "PROCESSING")])
def test_only_a_fenced_worker_leaves_the_video_of_another_alone(academy, stage, waiting, fenced, status):
    worker = stage.worker("former", fenced=fenced)
    job = worker.receive()
    since = worker.claim(job)
    academy.sql("UPDATE video_video SET leased_by = 'another', processing_started_at = now()")
    worker.complete(job, since)
    assert row(academy, waiting)[0] == status


@pytest.mark.parametrize("path", ["leased", "unleased", "careless"])
def test_completes_its_own_video_despite_the_fence(academy, stage, waiting, path):
    academy.sql("UPDATE video_video SET leased_by = 'reclaim:t', leased_until = now() + interval '900 s'")
    worker = stage.worker("w", path=path, fenced=True)
    worker.work(worker.receive())
    assert row(academy, waiting)[:3] == ("READY", "", None)


def test_it_recognizes_its_own_claim_after_a_lost_answer(academy, stage, waiting):
    worker = stage.worker("w")
    job = worker.receive()
    worker.claim(job)
    assert worker.claim(job)
    assert stage.worker("another").claim(job) is None


@pytest.mark.parametrize("name", ["", "x" * 65, "reclaim:me"])
def test_an_unusable_name_is_refused(stage, name):
    with pytest.raises(ValueError, match="can't be called"):
        stage.worker(name)


@pytest.fixture
def process(stage, postgres, valkey, tmp_path):
    """Starts a worker process, with its own values for some options."""
    started = []

    def start(**options):
        options = {
            "dsn": postgres.dsn,
            "redis-url": valkey.url,
            "endpoint-url": stage.queue.endpoint_url,
            "queue-url": stage.queue.url,
            "region": REGION,
        } | options
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        started.append(WorkerProcess("w", *arguments, log=tmp_path / "worker.log"))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


def test_as_a_process_it_can_be_killed(academy, waiting, process):
    worker = process()
    worker.wait_ready(lambda: '"beat"' in worker.log.read_text())
    worker.pause()
    worker.resume()
    worker.cut_off()
    worker.reconnect()
    assert worker.running

    worker.kill()

    events = [json.loads(line)["event"] for line in worker.log.read_text().splitlines()]
    assert events[:4] == ["received", "deleted", "claimed", "beat"]
    assert row(academy, waiting)[:2] == ("PROCESSING", "w")


@pytest.mark.parametrize("gone", ["PostgreSQL", "SQS"])
def test_it_ends_when_a_server_is_gone_for_longer_than_its_patience(waiting, process, gone, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # of boto3, whose retries take seconds
    nowhere = free_port()
    options = (
        {"dsn": f"postgresql://postgres@127.0.0.1:{nowhere}/academy"}
        if gone == "PostgreSQL"
        else {"endpoint-url": f"http://127.0.0.1:{nowhere}"}
    )

    worker = process(**options, **{"patience-s": "0.2", "time-scale": "0.05"})

    Bench.until(lambda: not worker.running)
    assert worker.log.read_text().splitlines()[-1].startswith("w gives up after ")


@pytest.fixture
def held(academy, stage, waiting):
    """The same video, claimed by a worker that lives, and a second message for it."""
    holder = stage.worker("holder")
    holder.claim(holder.receive())
    stage.queue.put(json.dumps({"video_id": waiting, "tenant_id": 1, "attempt": 3}), sender="platform")
    return waiting


def keys(academy):
    return {key.decode() for key in academy.redis.scan_iter()} - {product.HEARTBEAT_SEEN_KEY}


@pytest.mark.parametrize(
    ("requeues", "status", "messages"), [(True, "UPLOADED", 1), (False, "PROCESSING", 0)]
)
def test_requeues_what_another_holds(academy, stage, held, requeues, status, messages):
    worker = stage.worker("second", habits=Habits(requeues_refused=requeues))
    assert not worker.work(worker.receive())
    assert row(academy, held)[0] == status
    assert stage.messages() == [held] * messages


@pytest.mark.parametrize("status", ["READY", "FAILED", "UPLOADED"])
def test_requeues_only_what_is_processed(academy, stage, waiting, status):
    worker = stage.worker("w", habits=Habits(requeues_refused=True))
    job = worker.receive()
    academy.sql("UPDATE video_video SET status = %s", (status,))
    assert not worker.requeue(job)
    assert row(academy, waiting)[0] == status
    assert not stage.messages()


def test_beats_before_the_claim_and_deletes_the_heartbeat_of_whoever_holds_the_video(academy, stage, held):
    academy.redis.set(f"tenant:1:video:{held}:heartbeat", "1", ex=60)  # the holder's
    worker = stage.worker("second", habits=Habits(beats_early=True))
    assert not worker.work(worker.receive())
    second = [event["event"] for event in stage.told if event["worker"] == "second"]
    assert second == ["received", "deleted", "beat", "refused", "beatDeleted"]
    assert not keys(academy)


def test_deletes_its_heartbeat_at_the_end(academy, stage, waiting):
    worker = stage.worker("w", habits=Habits(beats_early=True))
    assert worker.work(worker.receive())
    assert not keys(academy)


@pytest.mark.parametrize("path", ["leased", "careless"])
@pytest.mark.parametrize("honours", [True, False])
def test_does_nothing_while_a_cancel_is_requested(academy, stage, waiting, path, honours):
    academy.redis.set(f"tenant:1:video:{waiting}:cancel_requested", "1", ex=300)
    habits = Habits(honours_cancel=honours, job_lock=path == "careless")
    worker = stage.worker("w", habits=habits, path=path)
    assert worker.work(worker.receive()) is not honours
    assert row(academy, waiting)[0] == ("UPLOADED" if honours else "READY")
    assert not stage.queue.bodies()
    assert keys(academy) >= {f"tenant:1:video:{waiting}:cancel_requested"}  # only its TTL ends it


def test_stops_an_encode_that_is_cancelled(academy, stage, waiting):
    def cancel(event):
        stage.told.append(event)
        if event["event"] == "beat":
            academy.redis.set(f"tenant:1:video:{waiting}:cancel_requested", "1", ex=300)

    worker = stage.worker("w", habits=Habits(honours_cancel=True), pace=Pace(encode_s=3600), tell=cancel)
    worker.work(worker.receive())
    assert stage.told[-1]["event"] == "stopped"
    assert row(academy, waiting)[0] == "PROCESSING"


class TestJobLock:
    @pytest.fixture
    def older(self, stage):
        def make(name, **given):
            return stage.worker(name, path="careless", habits=Habits(job_lock=True), **given)

        return make

    def test_marks_without_a_lease_and_deletes_the_message_and_the_lock_at_the_end(
        self, academy, stage, waiting, older
    ):
        worker = older("w")
        job = worker.receive()
        assert worker.begin(job)
        assert row(academy, waiting)[:3] == ("PROCESSING", "", None)
        assert stage.messages() == [waiting]
        lock = f"job:encode:{waiting}:lock"
        assert academy.redis.get(lock) == b"1" and 14_398 <= academy.redis.ttl(lock) <= 14_400
        academy.redis.delete(lock)
        academy.sql("UPDATE video_video SET status = 'UPLOADED'")
        assert worker.work(job)
        assert row(academy, waiting)[0] == "READY"
        assert not stage.messages()
        assert lock not in keys(academy)

    def test_renews_the_lock(self, academy, stage, waiting):
        lock, cancel = f"job:encode:{waiting}:lock", f"tenant:1:video:{waiting}:cancel_requested"
        left = []

        def shorten(event):
            if event["event"] == "beat":
                left.append(academy.redis.ttl(lock))
                academy.redis.expire(lock, 10)
                if len(left) == 3:
                    academy.redis.set(cancel, "1")

        worker = stage.worker(
            "w",
            path="careless",
            habits=Habits(job_lock=True, honours_cancel=True),
            pace=Pace(time_scale=0.001, encode_s=3_600_000, lock_s=100_000, renew_lock_every_s=0),
            tell=shorten,
        )
        worker.work(worker.receive())
        assert len(left) == 3 and min(left) > 10

    def test_killed_it_leaves_the_lock_and_the_next_message_ends_in_the_dead_letter_queue(
        self, academy, stage, waiting, older
    ):
        killed = older("killed")
        killed.begin(killed.receive())
        academy.sql("UPDATE video_video SET status = 'UPLOADED'")  # as the reclaim leaves it
        stage.queue.visibility_s = 0.01
        stage.queue.put(json.dumps({"video_id": waiting, "tenant_id": 1}), sender="platform")
        worker = older("w")
        for _ in range(3):
            assert not worker.work(worker.receive(wait_s=5))
        give_up = time.monotonic() + 10
        while not stage.queue.dead and time.monotonic() < give_up:
            assert worker.receive() is None
        assert [json.loads(body)["video_id"] for body in stage.queue.dead] == [waiting]
        assert row(academy, waiting)[0] == "UPLOADED"

    def test_goes_on_with_what_is_processed_already(self, academy, stage, held, older):
        worker = older("w")
        assert worker.work(worker.receive())
        assert row(academy, held)[0] == "READY"

    def test_deletes_the_message_of_a_video_that_is_ready(self, academy, stage, waiting, older):
        academy.sql("UPDATE video_video SET status = 'READY'")
        worker = older("w")
        assert not worker.work(worker.receive())
        assert not stage.messages()
        assert not keys(academy)

    def test_has_no_lease(self, stage):
        with pytest.raises(ValueError, match="no lease"):
            stage.worker("w", habits=Habits(job_lock=True))


def test_names_the_instance_and_the_request_in_the_lease(academy, stage, waiting):
    worker = stage.worker("i-0123456789abcdef0", habits=Habits(request_ids=True))
    job = worker.receive()
    assert worker.claim(job)
    holder = row(academy, waiting)[1]
    assert re.fullmatch(r"i-0123456789abcdef0-[0-9a-f]{8}", holder)
    assert worker.claim(job)  # the same request recognizes its own claim
    stage.queue.put(json.dumps({"video_id": waiting, "tenant_id": 1}), sender="platform")
    academy.sql("UPDATE video_video SET status = 'UPLOADED'")
    assert worker.claim(worker.receive())
    assert row(academy, waiting)[1] != holder
