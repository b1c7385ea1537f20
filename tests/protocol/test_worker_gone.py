"""A worker whose EC2 instance has left the group loses its video at the first missing heartbeat, and no other does."""

import pytest

from dev.chaos import silence, verdicts
from dev.local.worker import Habits, Pace

INSTANCE, ANOTHER = "i-0123456789abcdef0", "i-0123456789abcdef1"


@pytest.fixture
def job(academy, stage):
    """The work of a worker that was heard once, and is silent now."""
    video = academy.add("UPLOADED")
    stage.queue.put(f'{{"video_id": {video}, "tenant_id": 1}}', sender="platform")
    worker = stage.worker(INSTANCE, pace=Pace(), habits=Habits(request_ids=True))
    job = worker.receive()
    assert worker.claim(job) and worker.beat(job)
    academy.redis.delete(job.heartbeat_key)
    stage.beat_ttl_s = 0.0  # the heartbeat was removed by hand
    return job


def test_the_video_of_a_worker_whose_instance_is_gone_is_reclaimed_at_once(stage, academy, job):
    stage.instances = {ANOTHER}
    stage.execute()
    assert academy.state(job.video_id)[0] == "UPLOADED"
    assert stage.messages() == [job.video_id]
    assert stage.violated(*verdicts.RULES) == []


def test_a_group_that_does_not_answer_has_no_instance_gone(stage, academy, job):
    stage.instances = None
    stage.execute()
    assert academy.state(job.video_id)[0] == "PROCESSING"
    assert not stage.messages()


def test_a_worker_whose_instance_is_there_is_looked_at_twice(stage, academy, job):
    stage.instances = {INSTANCE, ANOTHER}
    stage.execute()
    assert academy.state(job.video_id)[0] == "PROCESSING"
    assert not stage.messages()


def test_an_instance_that_held_an_earlier_lease_is_not_that_of_a_worker_without_one(stage, academy, job):
    """A user sends the video again; a worker on the older path claims it and leaves the dead one's lease in the row."""
    academy.sql("UPDATE video_video SET status = 'UPLOADED'")
    academy.sql("UPDATE video_video SET status = 'PROCESSING', processing_started_at = clock_timestamp()")
    stage.instances = {ANOTHER}
    stage.execute()
    assert academy.state(job.video_id)[0] == "PROCESSING"
    assert not stage.messages()


def test_a_worker_that_is_heard_again_keeps_its_video_although_its_instance_is_gone(stage, academy, job):
    """It may be in another group, or on its way out."""
    stage.instances = {ANOTHER}
    stage.inject_once("read videos", "before", lambda *_: academy.redis.set(job.heartbeat_key, "1") and None)
    assert stage.execute().record["stale"] == {"workerGone": 1}
    assert academy.state(job.video_id)[0] == "PROCESSING"
    assert not stage.messages()


def test_an_instance_that_was_gone_does_not_count_against_the_next_claim(stage, academy, job):
    stage.instances = {ANOTHER}
    stage.inject_once("read videos", "before", lambda *_: claim_by_another(academy, job))
    stage.execute()
    assert academy.state(job.video_id) == ("PROCESSING", ANOTHER, True)


def claim_by_another(academy, job):
    academy.sql(
        "UPDATE video_video SET leased_by = %s, processing_started_at = now() WHERE id = %s",
        (ANOTHER, job.video_id),
    )


def test_a_group_that_had_not_answered_is_no_evidence(stage, academy, job):
    """The strike says that the instance is gone, which no group had said."""
    stage.instances = {INSTANCE}
    stage.execute("strike")
    key = f"tenant:1:video:{job.video_id}:silence"
    at, _, lease = academy.redis.get(key).decode().partition(" ")
    stage.inject_once(
        "read videos", "before", lambda *_: academy.redis.set(key, f"{at} gone {lease}") and None
    )
    stage.silence(job.video_id)
    stage.execute("believes-it")
    assert academy.state(job.video_id)[0] == "UPLOADED"
    assert stage.violated(silence.reclaimed_with_cause) == ["reclaimed_with_cause"]
