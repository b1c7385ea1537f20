"""The stand-in worker keeps the contract, including its weaknesses."""

import json

import pytest

from dev.local.processes import free_port
from dev.local.worker import Pace, WorkerProcess
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
            "region": "us-east-1",
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
