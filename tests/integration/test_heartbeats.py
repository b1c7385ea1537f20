"""Heartbeats, strikes and counts, on a real server."""

from dataclasses import replace

import pytest
import redis

from video_reclaim.adapters.redis.heartbeats import Heartbeats
from video_reclaim.rules.listing import RedisLook
from video_reclaim.rules.platform import Job
from video_reclaim.rules.reclaiming import History
from video_reclaim.rules.staleness import Heartbeat, Strike, Video
from video_reclaim.rules.waiting import QueueLook, Wait, Waits, track
from video_reclaim.settings import Redis, read

NOW_S = 1_700_000_000.0
VIDEO = Video(
    id=7,
    status="PROCESSING",
    tenant_id=2,
    leased_by="w",
    lease='(w,"2026-01-01 00:00:00+00",)',
    upload="file",
    lease_expired=False,
    quarantined=False,
    now_s=NOW_S,
    leased_by_claim=True,
)


@pytest.fixture
def heartbeats(academy, environment):
    return Heartbeats(read(Redis))


@pytest.fixture
def beats(heartbeats):
    return lambda *videos: heartbeats.look(videos).heartbeats


def keys(academy):
    """The keys in Redis, but for the mark that heartbeats were seen and the list of counted videos."""
    kept = {b"video-reclaim:counted", b"video-reclaim:heartbeat-seen"}
    return sorted(key.decode() for key in academy.redis.keys("*") if key not in kept)


def test_a_heartbeat_is_there_or_missing(academy, beats):
    academy.redis.set("tenant:2:video:7:heartbeat", "1")
    silent = replace(VIDEO, id=8)
    assert beats(VIDEO, silent) == {7: Heartbeat(present=True), 8: Heartbeat(present=False)}


def test_a_heartbeat_of_another_tenant_is_not_ours(academy, beats):
    academy.redis.set("tenant:1:video:7:heartbeat", "1")
    assert beats(VIDEO) == {7: Heartbeat(present=False)}


@pytest.mark.parametrize(
    "video",
    [
        pytest.param(replace(VIDEO, tenant_id=None), id="without-tenant"),
        pytest.param(replace(VIDEO, status="UPLOADED"), id="waiting"),
        pytest.param(replace(VIDEO, status="UPLOADED", leased_by="reclaim:x"), id="orphan"),
    ],
)
def test_asks_only_about_videos_that_should_have_a_heartbeat(beats, video):
    assert beats(video) == {}


@pytest.mark.parametrize("value", ["a-list", "a-hash"])
def test_a_heartbeat_key_of_another_type_is_unknown_and_harms_no_other_video(academy, beats, value):
    key = "tenant:2:video:7:heartbeat"
    if value == "a-list":
        academy.redis.lpush(key, "1")
    else:
        academy.redis.hset(key, "1", "1")
    assert beats(VIDEO, replace(VIDEO, id=8)) == {7: Heartbeat(None), 8: Heartbeat(present=False)}


class TestStrikes:
    STRIKE = Strike(at_s=NOW_S, lease=VIDEO.lease)

    def record(self, adapter, strike, **look):
        return adapter.record([VIDEO], {7: strike}, RedisLook(**look), memory_s=240)

    @pytest.mark.parametrize("gone", [False, True])
    def test_are_kept_for_a_while_and_can_be_deleted(self, academy, heartbeats, beats, gone):
        strike = replace(self.STRIKE, gone=gone)
        assert self.record(heartbeats, strike)
        assert beats(VIDEO) == {7: Heartbeat(present=False, strike=strike)}
        assert 230 < academy.redis.ttl("tenant:2:video:7:silence") <= 240
        assert self.record(heartbeats, None)
        assert keys(academy) == []

    @pytest.mark.parametrize("value", ["what?", b"\xff\xfe", ""])
    def test_one_that_cannot_be_read_is_none(self, academy, beats, value):
        academy.redis.set("tenant:2:video:7:silence", value)
        assert beats(VIDEO) == {7: Heartbeat(present=False)}

    def test_a_key_of_another_type_is_overwritten(self, academy, heartbeats, beats):
        academy.redis.lpush("tenant:2:video:7:silence", "1")
        assert beats(VIDEO) == {7: Heartbeat(present=False)}
        assert self.record(heartbeats, self.STRIKE)
        assert beats(VIDEO) == {7: Heartbeat(present=False, strike=self.STRIKE)}

    def test_the_mark_is_set_once_a_heartbeat_is_seen(self, academy, heartbeats):
        academy.redis.flushall()
        assert heartbeats.look([VIDEO]).seen_before is False
        self.record(heartbeats, None, heartbeats={8: Heartbeat(present=False)})
        assert heartbeats.look([VIDEO]).seen_before is False
        self.record(heartbeats, None, heartbeats={8: Heartbeat(present=True)})
        assert heartbeats.look([VIDEO]).seen_before is True
        assert 29 * 86_400 < academy.redis.ttl("video-reclaim:heartbeat-seen") <= 30 * 86_400


class TestWaits:
    WAITING = replace(VIDEO, status="UPLOADED", leased_by="", lease="(,,)")

    def test_are_kept_and_deleted_when_they_end(self, academy, heartbeats):
        waits = track([self.WAITING], {}, set())
        look = heartbeats.look([self.WAITING])
        assert heartbeats.record_waits(waits, look, QueueLook(NOW_S, None))
        look = heartbeats.look([self.WAITING])
        assert look.waits == {7: Wait(NOW_S, "(,,) file")}
        assert look.queue_empty_since_s == NOW_S
        assert heartbeats.record_waits(track([], look.waits, set()), look, None)
        assert keys(academy) == []

    def test_one_that_cannot_be_read_is_none(self, academy, heartbeats):
        academy.redis.hset("video-reclaim:waiting", "7", b"\xff")
        academy.redis.hset("video-reclaim:waiting", "seven", "1 x")
        assert heartbeats.look([self.WAITING]).waits == {}

    def test_a_video_that_a_user_has_just_retried_is_told(self, academy, heartbeats):
        academy.redis.set("tenant:2:video:7:cancel_requested", "1", ex=300)
        assert heartbeats.look([self.WAITING, replace(self.WAITING, id=8)]).just_retried == {7}

    def test_a_lost_message_is_recorded_with_the_wait(self, heartbeats):
        waits = track([self.WAITING], {}, set())
        heartbeats.record_waits(waits, RedisLook(), None)
        waits.lost = [7]
        heartbeats.record_waits(waits, RedisLook(), None)
        assert heartbeats.look([self.WAITING]).waits == {7: Wait(NOW_S, "(,,) file", lost=True)}

    def test_the_wait_is_gone_when_a_user_has_retried_the_video(self, academy, heartbeats):
        other = replace(self.WAITING, id=8)
        heartbeats.record_waits(track([self.WAITING, other], {}, set()), RedisLook(), None)
        academy.redis.set("tenant:2:video:7:cancel_requested", "1", ex=300)
        assert heartbeats.read_and_count([self.WAITING, other], {}).waits == {8: Wait(NOW_S, "(,,) file")}
        assert heartbeats.look([]).waits == {}

    def test_only_a_video_that_waits_can_have_been_retried(self, academy, heartbeats):
        academy.redis.set("tenant:2:video:7:cancel_requested", "1", ex=300)
        assert heartbeats.look([VIDEO]).just_retried == set()

    def test_the_wait_is_taken_by_the_first_that_reclaims(self, heartbeats):
        heartbeats.record_waits(track([self.WAITING], {}, set()), RedisLook(), None)
        first, second = (heartbeats.read_and_count([self.WAITING], {}) for _ in range(2))
        assert (first.waits, second.waits) == ({7: Wait(NOW_S, "(,,) file")}, {})


class TestJobKeys:
    def test_without_jobs_nothing_is_asked_and_redis_is_not_away(self, heartbeats):
        assert heartbeats.prepare_jobs([]) == {}

    JOB = Job(7, "key", 2, "south", "")

    def test_a_message_is_delayed_while_a_worker_would_drop_it(self, academy, heartbeats):
        academy.redis.set("tenant:2:video:7:cancel_requested", "1", ex=100)
        delays_s = heartbeats.prepare_jobs([self.JOB, replace(self.JOB, video_id=8)])
        assert set(delays_s) == {7} and 98 < delays_s[7] <= 100

    def test_the_lock_of_a_dead_worker_is_deleted(self, academy, heartbeats):
        academy.redis.set("job:encode:7:lock", "1", ex=14_400)
        assert heartbeats.prepare_jobs([self.JOB]) == {}
        assert keys(academy) == []


SILENT = {7: Heartbeat(present=False)}


def counts(history):
    return history.earlier_reclaims, history.newly_counted


def test_a_claim_is_counted_once_however_often_and_by_whomever(heartbeats):
    assert counts(heartbeats.read_and_count([VIDEO], {7: "file a"})) == ({7: 0}, {7})
    for _ in range(3):
        assert counts(heartbeats.read_and_count([VIDEO], {7: "file a"})) == ({7: 0}, set())
    assert counts(heartbeats.read_and_count([VIDEO], {7: "file b"})) == ({7: 1}, {7})


def test_a_count_belongs_to_one_upload(heartbeats):
    heartbeats.read_and_count([VIDEO], {7: "file a"})
    again = replace(VIDEO, upload="another")
    assert counts(heartbeats.read_and_count([again], {7: "another b"})) == ({7: 0}, {7})


def test_a_video_on_its_way_to_the_queue_is_asked_about_and_not_counted(heartbeats):
    carried = replace(VIDEO, status="UPLOADED", leased_by="reclaim:x")
    assert heartbeats.read_and_count([carried], {}) == History({}, {}, {7: 0}, seen_before=True)
    for claim in ("file a", "file b", "file c"):
        heartbeats.read_and_count([VIDEO], {7: claim})
    assert counts(heartbeats.read_and_count([carried], {})) == ({7: 2}, set())


def test_several_videos_keep_their_own_counts(heartbeats):
    other = replace(VIDEO, id=8, status="UPLOADED", leased_by="reclaim:x")
    third = replace(VIDEO, id=9, lease_expired=True)
    heartbeats.read_and_count([third], {9: "file earlier"})
    history = heartbeats.read_and_count([VIDEO, other, third], {7: "file a", 9: "file b"})
    assert counts(history) == ({7: 0, 8: 0, 9: 1}, {7, 9})
    assert history.heartbeats == {**SILENT, 9: Heartbeat(present=False)}


def test_reclaims_older_than_a_week_do_not_count(heartbeats):
    heartbeats.read_and_count([VIDEO], {7: "file a"})
    later = replace(VIDEO, now_s=NOW_S + 7 * 86_400 + 1)
    assert heartbeats.read_and_count([later], {7: "file b"}).earlier_reclaims == {7: 0}


def test_a_reclaim_counts_for_a_week_from_the_time_that_it_was_first_counted(heartbeats):
    week_s = 7 * 86_400
    for passed_s in (0, week_s - 60):
        heartbeats.read_and_count([replace(VIDEO, now_s=NOW_S + passed_s)], {7: "file a"})
    for passed_s, earlier in ((week_s - 1, 1), (week_s + 1, 0)):
        at = replace(VIDEO, status="UPLOADED", leased_by="", now_s=NOW_S + passed_s)
        assert heartbeats.read_and_count([at], {}).earlier_reclaims == {7: earlier}


def test_counts_end_with_redis_or_after_a_week(academy, heartbeats):
    heartbeats.read_and_count([VIDEO], {7: "file a"})
    assert 7 * 86_400 - 60 < academy.redis.ttl("tenant:2:video:7:reclaims") <= 7 * 86_400


def test_a_count_can_be_undone_and_ended(academy, heartbeats):
    heartbeats.read_and_count([VIDEO], {7: "file a"})
    heartbeats.read_and_count([VIDEO], {7: "file b"})
    heartbeats.undo_counts([VIDEO], {7: "file b"})
    assert heartbeats.read_and_count([VIDEO], {7: "file c"}).earlier_reclaims == {7: 1}
    assert heartbeats.look([]).counted == {7: 2}
    heartbeats.end_counts([(2, 7)])
    assert not keys(academy)
    assert heartbeats.look([]).counted == {}


def test_of_the_counted_videos_a_thousand_are_told_those_counted_first(academy, heartbeats):
    academy.redis.zadd("video-reclaim:counted", {f"2:{number}": number for number in range(1, 1_003)})
    assert heartbeats.look([]).counted == dict.fromkeys(range(1, 1_001), 2)


def test_the_platforms_cached_status_can_be_forgotten(academy, heartbeats):
    academy.redis.set("tenant:2:video:7:status", "PROCESSING")
    heartbeats.forget_status([VIDEO])
    assert keys(academy) == []


def test_many_videos_keep_their_own_answers(academy, beats):
    videos = [replace(VIDEO, id=i) for i in range(6_000)]  # more than one call's worth
    for i in range(0, 6_000, 3):
        academy.redis.set(f"tenant:2:video:{i}:heartbeat", "1")
    found = beats(*videos)
    assert all(found[i].present is (i % 3 == 0) for i in range(6_000))


def test_many_strikes_are_all_written(academy, heartbeats):
    videos = [replace(VIDEO, id=i) for i in range(5_001)]  # more than one call's worth
    strikes = {video.id: Strike(NOW_S, video.lease) for video in videos}
    assert heartbeats.record(videos, strikes, RedisLook(), memory_s=240)
    assert academy.redis.dbsize() == 5_001 + 1  # and the mark that heartbeats were seen


def test_many_waiting_videos_are_asked_about_one_by_one(academy, heartbeats):
    waiting = [replace(VIDEO, id=i, status="UPLOADED", leased_by="") for i in range(5_003)]
    retried = {0, 4_999, 5_000, 5_002}
    for i in retried:
        academy.redis.set(f"tenant:2:video:{i}:cancel_requested", "1", ex=300)
    academy.redis.set("tenant:2:video:6000:heartbeat", "1")
    look = heartbeats.look([*waiting, replace(VIDEO, id=6_000)])
    assert look.just_retried == retried
    assert look.heartbeats == {6_000: Heartbeat(present=True)}


class TestRedisDoesNotAnswer:
    @pytest.fixture(
        params=["nobody-there", "silent", "wrong-password"],
    )
    def broken(self, request, academy, environment, valkey):
        if request.param == "nobody-there":
            environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        elif request.param == "wrong-password":
            environment.setenv("REDIS_URL", valkey.url.replace("redis://", "redis://user:wrong@"))
        else:
            valkey.pause()
            request.addfinalizer(valkey.resume)
        return Heartbeats(read(Redis), timeout_s=1)

    def test_when_asked_for_heartbeats(self, broken):
        assert broken.look([VIDEO]) is None

    def test_when_asked_to_count(self, broken):
        history = broken.read_and_count([VIDEO], {7: "file a"})
        assert (history.answered, history.newly_counted, history.heartbeats) == (False, {7}, {})

    def test_when_told_of_a_strike(self, broken):
        strikes = {7: Strike(NOW_S, "l")}
        assert broken.record([VIDEO], strikes, RedisLook(), memory_s=60) is False

    def test_when_asked_about_jobs(self, broken):
        assert broken.prepare_jobs([TestJobKeys.JOB]) is None

    def test_when_writing(self, broken):
        assert broken.undo_counts([VIDEO], {VIDEO.id: "l"}) is False
        assert broken.end_counts([(1, VIDEO.id)]) is False
        assert broken.forget_status([VIDEO]) is False
        assert (
            broken.record_waits(Waits(started=[7], by_id={7: Wait(NOW_S, "i")}), RedisLook(), None) is False
        )


def test_a_command_that_is_not_permitted_is_no_answer(academy, valkey):
    academy.redis.acl_setuser(
        "narrow", reset=True, enabled=True, nopass=True, keys="*", commands=["+mget", "+exists"]
    )
    narrow = Heartbeats(Redis(valkey.url.replace("redis://", "redis://narrow:any@")))
    assert narrow.look([VIDEO]) is None


def test_a_redis_that_is_too_old_for_a_command_is_no_answer(academy, heartbeats, monkeypatch):
    """Before 6.2, ZRANGE knows no BYSCORE and answers that the syntax is wrong."""
    old = lambda self, name, start, end, byscore: self.execute_command("ZRANGE", name, start, end, "BY?")  # noqa: E731
    monkeypatch.setattr(redis.client.Pipeline, "zrange", old)
    assert heartbeats.read_and_count([VIDEO], {}) == History(answered=False)


def test_a_former_primary_is_disconnected_at_once(academy, heartbeats, valkey):
    heartbeats.look([VIDEO])
    academy.redis.replicaof("127.0.0.1", "1")
    try:
        assert heartbeats.record([VIDEO], {7: Strike(NOW_S, "l")}, RedisLook(), memory_s=60) is False
        assert heartbeats._session._client is None
    finally:
        academy.redis.replicaof("NO", "ONE")
    assert heartbeats.record([VIDEO], {7: Strike(NOW_S, "l")}, RedisLook(), memory_s=60)


def test_a_kept_connection_that_was_lost_is_opened_again(academy, beats, valkey):
    assert beats(VIDEO) is not None
    valkey.restart()
    assert beats(VIDEO) == SILENT


@pytest.mark.parametrize(
    "key", ["video-reclaim:waiting", "video-reclaim:counted", "tenant:2:video:7:reclaims"]
)
def test_a_key_of_another_type_harms_nothing_else(academy, heartbeats, key):
    academy.redis.set(key, "not what it should be")
    other = replace(VIDEO, id=8)
    assert heartbeats.look([VIDEO, other]).heartbeats == {**SILENT, 8: Heartbeat(present=False)}
    history = heartbeats.read_and_count([VIDEO, other], {7: "file a", 8: "file b"})
    assert history.answered and history.heartbeats == {**SILENT, 8: Heartbeat(present=False)}
    assert history.earlier_reclaims[8] == 0 and 8 in history.newly_counted
