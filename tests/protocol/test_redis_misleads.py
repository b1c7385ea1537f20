"""A worker that sends heartbeats keeps its video, whatever happens to Redis."""

import time
from contextlib import closing
from dataclasses import replace

import pytest
import redis

from dev.chaos import product, verdicts
from dev.chaos.boundary import boundary
from dev.chaos.environment import Timing
from dev.local.valkey import Valkey
from dev.local.worker import Pace

CONFIRM_S = 0.5


@pytest.fixture
def timing():
    return Timing(confirm_s=CONFIRM_S, redis_patience_s=0.5, retry_scale=0.0)


@pytest.fixture
def platforms_rule():
    """The platform's own rule, which knows no second strike."""
    return Timing(confirm_s=0, redis_patience_s=0.5, retry_scale=0.0)


@pytest.fixture
def working(academy, stage):
    """A worker with a live lease that sends heartbeats, and its video."""
    video = academy.add("UPLOADED")
    stage.queue.put(f'{{"video_id": {video}, "tenant_id": 1}}', sender="platform")
    worker = stage.worker("worker-alive", pace=Pace())
    job = worker.receive()
    assert worker.claim(job)
    worker.beat(job)
    return worker, job


def status(stage, job):
    return stage.academy.state(job.video_id)[0]


def test_a_worker_keeps_its_video_when_redis_is_flushed(stage, working):
    """Another worker sends a heartbeat first, so that this Redis is credible."""
    worker, job = working
    stage.academy.redis.flushall()
    stage.academy.add(by="worker-2", beats=True)
    stage.execute("right-after")
    assert status(stage, job) == "PROCESSING"
    worker.beat(job)
    time.sleep(CONFIRM_S)
    stage.execute("once-it-beats-again")
    assert status(stage, job) == "PROCESSING"
    assert stage.violated() == []


def test_a_worker_keeps_its_video_while_redis_has_seen_no_heartbeat(stage, working):
    """The wrong Redis, or one that lost its data before the first worker sent another heartbeat."""
    _, job = working
    stage.academy.redis.flushall()
    for number in range(3):
        stage.execute(f"run-{number}")
        time.sleep(CONFIRM_S)
    assert status(stage, job) == "PROCESSING"
    assert not stage.messages()


def test_workers_that_cannot_reach_redis_keep_their_videos(stage, academy):
    videos = [academy.add(by=f"worker-{number}", until=3600, beats=True) for number in range(5)]
    stage.execute("all-are-heard")
    for video in videos:
        academy.redis.delete(f"tenant:1:video:{video}:heartbeat")
    for number in range(3):
        stage.execute(f"run-{number}")
        time.sleep(CONFIRM_S)
    assert {academy.state(video)[0] for video in videos} == {"PROCESSING"}
    assert not stage.messages()


def test_a_worker_keeps_its_video_through_repeated_flushes(stage, working):
    worker, job = working
    for number in range(4):
        stage.academy.redis.flushall()
        stage.execute(f"run-{number}")
        time.sleep(CONFIRM_S)
        stage.academy.redis.flushall()  # takes the strike along
        stage.execute(f"again-{number}")
        worker.beat(job)
    assert status(stage, job) == "PROCESSING"


def test_the_video_of_a_worker_without_a_heartbeat_is_reclaimed_at_the_second_look(stage, working):
    _, job = working
    stage.academy.redis.delete(job.heartbeat_key)
    stage.execute("first-strike")
    assert status(stage, job) == "PROCESSING"
    time.sleep(CONFIRM_S)
    stage.execute("second-strike")
    assert status(stage, job) == "UPLOADED"
    assert stage.messages() == [job.video_id]
    stage.beat_ttl_s = 0.0  # the heartbeat was removed by hand
    assert stage.violated(*verdicts.RULES) == []


def test_a_strike_under_an_earlier_lease_does_not_count(stage, academy, working):
    _, job = working
    academy.redis.delete(job.heartbeat_key)
    stage.execute("strike")
    time.sleep(CONFIRM_S)
    academy.sql("UPDATE video_video SET leased_by = 'worker-new', processing_started_at = now()")
    stage.execute("another-claim")
    assert status(stage, job) == "PROCESSING"


def test_a_strike_does_not_count_after_more_than_three_rounds_without_a_look(stage, academy, working):
    """Redis is flushed, the schedule stands still for some minutes, and Redis is flushed again."""
    worker, job = working
    academy.redis.delete(job.heartbeat_key)
    stage.execute("strike")
    worker.beat(job)
    stage.pass_time(stage.environment.timing.strike_memory_s + 1)
    stage.execute("misses-once")
    assert status(stage, job) == "PROCESSING"


@pytest.mark.parametrize("failure", ["unreachable", "loading"])
def test_silence_does_not_count_while_redis_does_not_answer(platforms_rule, stage, academy, failure):
    stage.environment.timing = platforms_rule
    silent, expired = academy.add(until=3600), academy.add(until=-1)
    relay = stage.environment.redis_relay
    if failure == "unreachable":
        relay.refusing = True
    else:
        relay.answer = b"-LOADING Valkey is loading the dataset in memory\r\n"
    with settings_of(stage, platforms_rule):
        execution = stage.execute()
    assert execution.status == "SUCCEEDED"
    assert academy.state(silent)[0] == "PROCESSING"
    assert academy.state(expired)[0] == "UPLOADED"


def settings_of(stage, timing):
    """The functions read ``timing`` for as long as this lasts."""
    stage.lambdas.forget()
    return boundary(replace(stage.environment, timing=timing))


def test_silence_does_not_count_while_redis_refuses_writes(stage, academy, working, valkey):
    """A former primary: heartbeats don't reach it any more, and its data becomes outdated."""
    _, job = working
    academy.redis.delete(job.heartbeat_key)
    stage.execute("strike")
    time.sleep(CONFIRM_S)
    with closing(redis.Redis.from_url(valkey.url)) as server:
        server.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            stage.execute("while-it-is-read-only")
        finally:
            server.execute_command("REPLICAOF", "NO", "ONE")
    assert status(stage, job) == "PROCESSING"


def test_a_demoted_redis_is_disconnected_for_the_new_primary(stage, academy, working, tmp_path):
    """After a failover the name leads to the new primary, but connections to the former one stay open."""
    _, job = working
    academy.redis.delete(job.heartbeat_key)
    stage.execute("connects")
    academy.redis.delete(f"tenant:1:video:{job.video_id}:silence")
    with Valkey(tmp_path) as primary, closing(redis.Redis.from_url(primary.url)) as server:
        server.set(product.HEARTBEAT_SEEN_KEY, "1", ex=86_400)
        stage.environment.redis_relay.target_port = primary.port
        academy.redis.replicaof("127.0.0.1", "1")
        try:
            stage.execute("is-refused")
            stage.execute("first-strike")
            time.sleep(CONFIRM_S)
            stage.execute("second-strike")
        finally:
            academy.redis.replicaof("NO", "ONE")
    assert status(stage, job) == "UPLOADED"


def test_a_heartbeat_of_another_type_is_not_missing(stage, academy):
    video = academy.add(until=3600)
    stage.silence(video)
    academy.redis.lpush(f"tenant:1:video:{video}:heartbeat", "1")
    stage.execute()
    assert academy.state(video)[0] == "PROCESSING"


def test_a_key_of_another_type_harms_no_other_video(stage, academy):
    spoilt, other = (academy.add(by=f"worker-{number}", until=3600) for number in range(2))
    stage.silence(spoilt, other)
    academy.redis.set(f"tenant:1:video:{spoilt}:reclaims", "not what it should be")
    academy.redis.set(product.WAITING_KEY, "not what it should be")
    stage.execute()
    assert {academy.state(video)[0] for video in (spoilt, other)} == {"UPLOADED"}
    assert stage.messages() == [spoilt, other]


def test_a_worker_that_beats_between_listing_and_reclaiming_keeps_its_video(stage, working):
    worker, job = working
    stage.academy.redis.delete(job.heartbeat_key)
    stage.execute("strike")
    time.sleep(CONFIRM_S)
    struck = stage.inject_once("read videos", "before", lambda *_: worker.beat(job) and None)
    stage.execute("too-late")
    assert struck
    assert status(stage, job) == "PROCESSING"
