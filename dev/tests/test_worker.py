"""The reference worker keeps the contract, also where the contract has holes."""

import json
import signal

import pytest

from dev.local.worker import Pace, WorkerProcess


@pytest.fixture
def waiting(academy, stage):
    """A video that waits, and its message."""
    video = academy.add("UPLOADED")
    stage.queue.put(json.dumps({"video_id": video, "tenant_id": 1, "attempt": 2}), sender="platform")
    return video


def row(academy, video):
    return academy.sql(
        "SELECT status, leased_by, round(date_part('epoch', leased_until - now())::numeric, -1)::int,"
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
def test_claims(academy, stage, waiting, path, claimed):
    academy.sql("UPDATE video_video SET leased_by = 'reclaim:t', leased_until = now() + interval '900 s'")
    worker = stage.worker("w", path=path)
    job = worker.receive()
    assert (job.video_id, job.tenant_id, job.attempt) == (waiting, 1, 2)
    assert not stage.queue.bodies()  # deleted on receipt
    assert worker.claim(job)
    assert row(academy, waiting) == claimed


def test_refuses_what_is_not_uploaded(academy, stage, waiting):
    academy.sql("UPDATE video_video SET status = 'READY'")
    before = academy.rows()
    worker = stage.worker("w")
    assert worker.work(worker.receive()) is False
    assert academy.rows() == before


def test_beats_until_it_is_done(academy, stage, waiting):
    worker = stage.worker("w", pace=Pace(time_scale=0.001, encode_s=100))
    worker.work(worker.receive())
    beats = [event for event in stage.told if event["event"] == "beat"]
    assert len(beats) >= 3
    assert row(academy, waiting)[:3] == ("READY", "", None)


def test_its_heartbeat_is_the_platforms(academy, stage, waiting):
    worker = stage.worker("w")
    job = worker.receive()
    assert worker.beat(job)
    key = f"tenant:1:video:{waiting}:heartbeat"
    assert academy.redis.get(key) == b"1" and 58 <= academy.redis.ttl(key) <= 60
    worker.cut_off = True
    academy.redis.flushall()
    assert not worker.beat(job)
    assert not academy.redis.exists(key)


def test_fails_with_a_reason(academy, stage, waiting):
    worker = stage.worker("w", failing_share=1.0)
    worker.work(worker.receive())
    assert row(academy, waiting)[:3] == ("FAILED", "", None)
    assert row(academy, waiting)[4]


@pytest.mark.parametrize(("fenced", "status"), [(False, "READY"), (True, "PROCESSING")])
def test_a_fence_keeps_a_robbed_worker_from_ending_anothers_work(academy, stage, waiting, fenced, status):
    worker = stage.worker("robbed", fenced=fenced)
    job = worker.receive()
    since = worker.claim(job)
    academy.sql("UPDATE video_video SET leased_by = 'another', processing_started_at = now()")
    worker.complete(job, since)
    assert row(academy, waiting)[0] == status


def test_recognizes_its_own_claim_when_the_answer_was_lost(academy, stage, waiting):
    worker = stage.worker("w")
    job = worker.receive()
    worker.claim(job)
    assert worker.claim(job)
    assert stage.worker("another").claim(job) is None


@pytest.mark.parametrize("name", ["", "x" * 65, "reclaim:me"])
def test_has_a_name_that_is_nobody_elses(stage, name):
    with pytest.raises(ValueError, match="can't be called"):
        stage.worker(name)


def test_as_a_process_it_can_be_killed(academy, stage, waiting, postgres, valkey, tmp_path):
    log = tmp_path / "worker.log"
    places = {
        "--dsn": postgres.dsn,
        "--redis-url": valkey.url,
        "--endpoint-url": stage.queue.endpoint_url,
        "--queue-url": stage.queue.url,
        "--region": "us-east-1",
    }
    worker = WorkerProcess("w", *[text for pair in places.items() for text in pair], log=log)
    try:
        worker.wait_ready(lambda: '"beat"' in log.read_text())
        worker.pause()
        worker.resume()
        worker.cut_off()
        worker.reconnect()
        assert worker.running
        worker.kill()
    finally:
        worker.stop(signal.SIGKILL)
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()][:4] == [
        "received",
        "deleted",
        "claimed",
        "beat",
    ]
    assert row(academy, waiting)[:2] == ("PROCESSING", "w")
