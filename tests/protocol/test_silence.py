"""A video comes back when its worker's heartbeat has not moved for long enough, and not while it moves."""

from contextlib import closing

import pytest
import redis

from dev.chaos import product
from dev.chaos.environment import Timing
from dev.local.valkey import Valkey

INSTANCE, ANOTHER = "i-0123456789abcdef0", "i-0123456789abcdef1"


def status(stage, video):
    return stage.academy.state(video)[0]


def beat(stage, *videos, ttl_s=60):
    for video in videos:
        stage.academy.redis.set(f"tenant:1:video:{video}:heartbeat", "1", ex=ttl_s)


def forget_mark(stage):
    stage.academy.redis.delete(product.HEARD_KEY)


@pytest.fixture
def others(stage, academy):
    """Two videos whose workers beat throughout, so that a silent one is an exception."""
    videos = [stage.upload() for _ in range(2)]
    for video in videos:
        stage.encode(video, manner="fast")
    return videos


@pytest.mark.parametrize("manner", ["contract", "fast", "older"])
def test_a_killed_worker_s_video_comes_back_within_two_looks_whatever_its_heartbeat_s_time_to_live(
    stage, others, manner
):
    video = stage.upload()
    worker = stage.encode(video, manner=manner)
    stage.look(3)
    stage.timeline.kill(worker)
    killed_at = stage.timeline.now()
    stage.look(2)
    (message,) = [
        e for e in stage.record.events if e.kind == "accepted" and e.details["sender"] != "platform"
    ]
    assert message.at - killed_at < 130
    assert stage.violated() == []


@pytest.mark.parametrize("manner", ["contract", "fast", "older"])
def test_a_worker_that_beats_keeps_its_video(stage, others, manner):
    video = stage.upload()
    stage.encode(video, manner=manner)
    stage.look(12)
    assert status(stage, video) == "PROCESSING"


def test_a_worker_keeps_its_video_while_refused_workers_delete_its_heartbeat(stage, others):
    video = stage.upload()
    stage.encode(video, manner="older")
    stage.look()
    stage.send(video)
    for number in range(3):  # each gives the message back for a minute; then it is a dead letter
        refused = stage.worker(f"refused-{number}", manner="older")
        assert not refused.work(refused.receive())
        stage.look(every_s=61)
    assert status(stage, video) == "PROCESSING"


@pytest.mark.parametrize("manner", ["contract", "fast", "older"])
def test_a_worker_keeps_its_video_while_one_that_outlived_its_lease_ends(stage, academy, others, manner):
    """Whoever ends a job deletes the heartbeat of its video, and that is of the next worker by then."""
    video = stage.upload()
    stage.encode(video, manner=manner)
    for _ in range(4):
        stage.look(every_s=61)
        academy.redis.delete(f"tenant:1:video:{video}:heartbeat")
        stage.look(every_s=61)
    assert status(stage, video) == "PROCESSING"


def test_a_run_that_finds_a_suspect_looks_again_once_and_reclaims_it(stage, others):
    video = stage.upload()
    worker = stage.encode(video)
    stage.look()
    stage.timeline.kill(worker)
    stage.look(every_s=30)
    execution = stage.execute()
    assert execution.record["stale"] == {"silent": 1}
    assert status(stage, video) == "UPLOADED"


def test_a_claim_starts_the_silence_again(stage, academy, others):
    video = academy.add()
    stage.look()
    academy.sql("UPDATE video_video SET processing_started_at = now() WHERE id = %s", (video,))
    stage.execute()
    assert status(stage, video) == "PROCESSING"


def test_a_gap_between_looks_starts_the_silence_again(stage, academy):
    video = academy.add()
    stage.look()
    stage.pass_time(300)
    stage.execute()
    assert status(stage, video) == "PROCESSING"


def test_two_looks_far_apart_do_not_take_one_time_to_live_for_another(stage, academy, others):
    """What a progress record set for 300 s ends when what the thread sets 240 s later for 60 s ends."""
    video = academy.add()
    beat(stage, video, ttl_s=300)
    stage.execute()
    for _ in range(12):
        stage.pass_time(19)
        beat(stage, video)
    stage.pass_time(11)
    beat(stage, video)
    stage.execute()
    assert status(stage, video) == "PROCESSING"


def test_a_heartbeat_between_listing_and_reclaiming_saves_the_video(stage, academy, others):
    video = academy.add()
    stage.look()
    struck = stage.inject_once("read videos", "before", lambda *_: beat(stage, video))
    stage.execute()
    assert struck and status(stage, video) == "PROCESSING"


class TestRedisMisleads:
    def test_a_flush_takes_no_video_from_a_living_worker(self, stage, others):
        for _ in range(4):
            stage.academy.redis.flushall()
            stage.look()
        assert {status(stage, video) for video in others} == {"PROCESSING"}

    @pytest.mark.parametrize("failure", ["unreachable", "loading", "read-only"])
    def test_silence_does_not_count_while_redis_does_not_answer(self, stage, academy, failure):
        silent, expired = academy.add(until=36_000), academy.add(until=-1)
        relay = stage.environment.redis_relay
        stage.look()
        if failure == "unreachable":
            relay.refusing = True
            relay.cut_all()
        elif failure == "loading":
            relay.answer = b"-LOADING Valkey is loading the dataset in memory\r\n"
        else:
            academy.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            execution = stage.execute()
        finally:
            academy.redis.execute_command("REPLICAOF", "NO", "ONE")
        assert execution.record["distrust"] == "redisAway"
        assert (status(stage, silent), status(stage, expired)) == ("PROCESSING", "UPLOADED")

    def test_silence_does_not_count_where_no_heartbeat_ever_moved(self, stage, academy):
        """The wrong Redis."""
        video = academy.add(until=36_000)
        forget_mark(stage)
        execution = stage.look(15)
        assert execution.record["distrust"] == "neverHeard"
        assert status(stage, video) == "PROCESSING"

    def test_a_heartbeat_that_never_expires_or_has_another_type_is_unknown(self, stage, academy, others):
        """A string without a time to live, and a list."""
        videos = [academy.add(until=36_000) for _ in range(2)]
        academy.redis.set(f"tenant:1:video:{videos[0]}:heartbeat", "1")
        academy.redis.lpush(f"tenant:1:video:{videos[1]}:heartbeat", "1")
        stage.look(3)
        assert {status(stage, video) for video in videos} == {"PROCESSING"}

    def test_keys_of_another_type_and_fields_of_any_length_harm_no_other_video(self, stage, academy):
        expired = [academy.add(until=-1) for _ in range(2)]
        academy.redis.set(f"tenant:1:video:{expired[0]}:reclaims", "not what it should be")
        for key in (f"video-reclaim:{product.STAGE}:seen", "video-reclaim:waiting"):
            academy.redis.hset(key, "1" * 5000, "x")
        stage.look()
        assert stage.messages() == expired

    def test_a_demoted_redis_is_left_for_the_new_primary(self, stage, academy, tmp_path):
        """After a failover the name leads to the new primary, but connections to the former one stay open."""
        video = academy.add(until=36_000)
        stage.look()
        with Valkey(tmp_path) as primary, closing(redis.Redis.from_url(primary.url)) as server:
            server.set(product.HEARD_KEY, "1", ex=86_400)
            stage.environment.redis_relay.target_port = primary.port
            academy.redis.replicaof("127.0.0.1", "1")
            try:
                stage.look(3)
            finally:
                academy.redis.replicaof("NO", "ONE")
        assert status(stage, video) == "UPLOADED"


class TestMassSilence:
    """More workers are silent than heard: Redis may be out of their reach."""

    def robbed(self, stage, videos):
        return sum(status(stage, video) != "PROCESSING" for video in videos)

    @pytest.mark.parametrize("leased", [True, False], ids=["leased", "older-path"])
    def test_twenty_workers_that_cannot_reach_redis_keep_their_videos_for_ten_minutes(
        self, stage, academy, leased
    ):
        lease = {"until": 36_000} if leased else {"by": "", "until": None}
        videos = [academy.add(started=-100 - number, **lease) for number in range(20)]
        beat(stage, *videos)
        records = [stage.look().record for _ in range(9)]
        assert self.robbed(stage, videos) == 0
        assert records[-1]["distrust"] == "massSilence"
        stage.look(6)
        assert self.robbed(stage, videos) == 20

    def test_another_environment_s_redis_with_one_heartbeat_of_the_same_key_takes_nothing_for_ten_minutes(
        self, stage, academy
    ):
        videos = [academy.add(by=f"w-{number}", until=36_000) for number in range(20)]
        forget_mark(stage)
        academy.redis.set("video-reclaim:heartbeat-seen", "1", ex=86_400)
        academy.redis.set("video-reclaim:another-stage:heartbeat-moved", "1", ex=86_400)
        for _ in range(18):
            beat(stage, videos[2])
            stage.look(every_s=30)
        assert self.robbed(stage, videos) == 0

    def test_three_dead_workers_of_ten_come_back_at_once(self, stage, academy):
        dead, living = [academy.add() for _ in range(3)], [academy.add() for _ in range(7)]
        for _ in range(6):
            beat(stage, *living)
            stage.look(every_s=30)
        assert (self.robbed(stage, dead), self.robbed(stage, living)) == (3, 0)


class TestTerminated:
    """EventBridge tells which instance of the worker group was terminated."""

    @pytest.fixture
    def video(self, stage):
        video = stage.upload()
        stage.encode(video, name=INSTANCE, manner="fast")
        return video

    def test_its_video_goes_back_at_once_with_or_without_redis(self, stage, video):
        stage.environment.redis_relay.refusing = True
        execution = stage.execute(terminated=[INSTANCE])
        assert execution.record["stale"] == {"workerGone": 1}
        assert stage.messages() == [video]

    def test_the_videos_of_others_stay(self, stage, video):
        stage.execute(terminated=[ANOTHER, INSTANCE[:10]])
        assert status(stage, video) == "PROCESSING"

    def test_a_later_claim_stays(self, stage, academy, video):
        claim = "UPDATE video_video SET leased_by = %s, processing_started_at = now()"
        stage.inject_once("read videos", "before", lambda *_: academy.sql(claim, (ANOTHER,)))
        stage.execute(terminated=[INSTANCE])
        assert academy.state(video) == ("PROCESSING", ANOTHER, True)

    def test_an_instance_in_an_earlier_claim_s_lease_is_not_that_of_a_worker_without_one(
        self, stage, academy, video
    ):
        """A user sends the video again; a worker on the older path leaves the dead one's lease in the row."""
        stage.pass_time(0.3)  # in one of 500 cases the lease would be whole seconds after the second claim
        academy.sql("UPDATE video_video SET status = 'PROCESSING', processing_started_at = clock_timestamp()")
        stage.execute(terminated=[INSTANCE])
        assert status(stage, video) == "PROCESSING"


class TestSpare:
    """``expiredButBeating`` is ``spare``: an expired lease alone takes no video from a worker that beats."""

    @pytest.fixture
    def timing(self):
        return Timing(expired_but_beating="spare")

    def test_a_worker_that_beats_keeps_its_video_after_its_lease(self, stage, others):
        stage.expire(others[0])
        assert stage.look(3).record["expiredButBeating"] == 1
        assert status(stage, others[0]) == "PROCESSING"

    def test_a_claim_of_the_older_path_between_reading_and_taking_is_fenced(self, stage, academy, others):
        """It leaves the expired lease of the dead worker in the row."""
        video = academy.add(until=-10)
        stage.look(1, every_s=0)
        stage.pass_time(30)

        def claim(*_):
            academy.sql("UPDATE video_video SET processing_started_at = now() WHERE id = %s", (video,))
            beat(stage, video)

        struck = stage.inject_once("lease for handoff", "before", claim)
        stage.execute()
        assert struck and status(stage, video) == "PROCESSING"
