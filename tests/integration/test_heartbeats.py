"""Heartbeats, and what the product remembers beside them, on a real server."""

import re
import time
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace

from dev.testing.servers import HEARD_KEY, SEEN_KEY, STAGE
from dev.testing.videos import NOW_S, a_handoff, a_video, a_waiting_video
from video_reclaim.adapters.redis.heartbeats import Heartbeats
from video_reclaim.rules.platform import Job
from video_reclaim.rules.reclaiming import Tally
from video_reclaim.rules.sightings import Look, Sighting
from video_reclaim.rules.staleness import Reason
from video_reclaim.rules.view import Notes
from video_reclaim.settings import Redis, read

VIDEO = a_video(id=7, tenant_id=2)
WAITING = a_waiting_video(id=7, tenant_id=2)
SIGHTING = Sighting(NOW_S, NOW_S + 60, "0123456789abcdef")
JOB = Job(7, "key", 2, "south", "")
WEEK_S = 7 * 86_400
DEPLOYING = Path(__file__).parents[2] / "docs" / "deploying.md"


@pytest.fixture
def heartbeats(academy, environment):
    return Heartbeats(read(Redis), STAGE)


def some_notes(look=None, **changes):
    values = {
        "look": look or Look(True, NOW_S, heard_ttl_s=30 * 86_400),
        "changed": {},
        "ended": [],
        "heard": False,
        "mass_silence_since_s": None,
        "queue_clear_since_s": None,
        "lost": [],
    }
    return Notes(**values | changes)


def keys(academy):
    """The keys in Redis, but for the mark that heartbeats were seen."""
    return sorted(key.decode() for key in academy.redis.keys("*") if key != HEARD_KEY.encode())


class TestLooking:
    def test_tells_when_a_heartbeat_expires_by_the_servers_clock(self, academy, heartbeats):
        academy.redis.set("tenant:2:video:7:heartbeat", "1", px=50_000)
        look = heartbeats.look([VIDEO, replace(VIDEO, id=8), replace(VIDEO, id=9, tenant_id=None)])
        assert look.expires_s.keys() == {7, 8}
        assert look.expires_s[8] is None
        assert 40 < look.expires_s[7] - look.now_s <= 50
        assert abs(look.now_s - time.time()) < 10

    def test_a_second_look_at_one_heartbeat_tells_the_same_time(self, academy, heartbeats):
        academy.redis.set("tenant:2:video:7:heartbeat", "1", px=50_000)
        first = heartbeats.look([VIDEO]).expires_s[7]
        time.sleep(0.05)
        assert abs(heartbeats.look([VIDEO], whole=False).expires_s[7] - first) <= 0.02

    @pytest.mark.parametrize("command", ["set", "lpush"])
    def test_a_heartbeat_that_never_expires_is_unknown_and_harms_no_other(self, academy, heartbeats, command):
        getattr(academy.redis, command)("tenant:2:video:7:heartbeat", "1")
        look = heartbeats.look([VIDEO, replace(VIDEO, id=8)])
        assert look.expires_s == {8: None}

    def test_a_heartbeat_of_another_tenant_is_not_ours(self, academy, heartbeats):
        academy.redis.set("tenant:1:video:7:heartbeat", "1", ex=60)
        assert heartbeats.look([VIDEO]).expires_s == {7: None}

    def test_a_waiting_video_that_a_user_has_just_retried_is_told(self, academy, heartbeats):
        for video_id in (7, 9):
            academy.redis.set(f"tenant:2:video:{video_id}:cancel_requested", "1", ex=300)
        look = heartbeats.look([WAITING, replace(WAITING, id=8), replace(VIDEO, id=9)])
        assert look.retried == {7}

    def test_many_videos_keep_their_own_answers(self, academy, heartbeats):
        for video_id in range(0, 6_000, 3):
            academy.redis.set(f"tenant:2:video:{video_id}:heartbeat", "1", ex=60)
        found = heartbeats.look([replace(VIDEO, id=video_id) for video_id in range(6_000)]).expires_s
        assert all((found[i] is not None) is (i % 3 == 0) for i in range(6_000))


class TestRemembering:
    def test_what_was_seen_is_remembered_until_nobody_looks_and_deleted_when_it_ends(
        self, academy, heartbeats
    ):
        changed = {7: SIGHTING, 8: replace(SIGHTING, expires_s=None)}
        assert heartbeats.record(
            some_notes(changed=changed, mass_silence_since_s=1.5, queue_clear_since_s=2.5, lost=[8]),
            memory_s=240,
        )
        look = heartbeats.look([])
        assert (look.recorded, look.lost) == (changed, {8})
        assert (look.looked_at_s, look.mass_silence_since_s, look.queue_clear_since_s) == (NOW_S, 1.5, 2.5)
        assert 230 < academy.redis.ttl(SEEN_KEY) <= 240
        heartbeats.record(some_notes(look, ended=[8]), memory_s=960)
        assert 950 < academy.redis.ttl(SEEN_KEY) <= 960
        again = heartbeats.look([])
        assert (again.recorded, again.looked_at_s) == ({7: SIGHTING}, look.now_s)
        look = again
        assert (look.mass_silence_since_s, look.queue_clear_since_s, look.lost) == (None, None, frozenset())

    def test_of_a_batch_only_its_own_sightings_are_read(self, heartbeats):
        changed = {7: SIGHTING, 8: SIGHTING}
        heartbeats.record(
            some_notes(changed=changed, mass_silence_since_s=1.5, queue_clear_since_s=2.5), memory_s=240
        )
        look = heartbeats.look([VIDEO], whole=False)
        assert (look.recorded, look.looked_at_s) == ({7: SIGHTING}, NOW_S)
        assert (look.mass_silence_since_s, look.queue_clear_since_s) == (1.5, 2.5)

    def test_what_another_execution_wrote_or_took_meanwhile_stays(self, academy, heartbeats):
        heartbeats.record(some_notes(changed={7: SIGHTING}, queue_clear_since_s=2.5), memory_s=240)
        look = heartbeats.look([])
        academy.redis.hdel(SEEN_KEY, "7")
        heartbeats.record(some_notes(look, queue_clear_since_s=2.5), memory_s=240)
        assert heartbeats.look([]).recorded == {}

    def test_nothing_to_remember_is_no_round_trip(self, academy, heartbeats):
        assert heartbeats.record(some_notes(), memory_s=240)
        assert keys(academy) == []

    def test_another_stage_remembers_for_itself(self, academy, environment, heartbeats):
        heartbeats.record(some_notes(Look(True), changed={7: SIGHTING}, heard=True), memory_s=240)
        academy.redis.delete(HEARD_KEY)
        heartbeats.record(some_notes(Look(True), changed={7: SIGHTING}, heard=True), memory_s=240)
        other = Heartbeats(read(Redis), "day").look([])
        assert (other.recorded, other.heard_ttl_s) == ({}, -2)

    @pytest.mark.parametrize(
        ("ttl_s", "heard", "written"),
        [
            pytest.param(-2, True, True, id="the-first"),
            pytest.param(28 * 86_400, True, True, id="a-day-and-more-later"),
            pytest.param(30 * 86_400 - 60, True, False, id="within-a-day"),
            pytest.param(-2, False, False, id="nothing-moved"),
        ],
    )
    def test_that_a_heartbeat_moved_is_remembered_for_30_days(
        self, academy, heartbeats, ttl_s, heard, written
    ):
        academy.redis.delete(HEARD_KEY)
        heartbeats.record(some_notes(Look(True, heard_ttl_s=ttl_s), heard=heard), memory_s=240)
        assert (academy.redis.ttl(HEARD_KEY) > 29 * 86_400) is written

    def test_many_sightings_are_all_written(self, heartbeats):
        changed = dict.fromkeys(range(5_001), SIGHTING)  # more than one call's worth
        assert heartbeats.record(some_notes(changed=changed), memory_s=240)
        look = heartbeats.look([])
        assert look.recorded == changed
        heartbeats.record(some_notes(look, ended=list(changed)), memory_s=240)
        assert heartbeats.look([]).recorded == {}


DEAD = {7: Reason.SILENT}


class TestCounting:
    def test_a_claim_is_counted_once_however_often_and_by_whomever(self, academy, heartbeats):
        for _ in range(3):
            assert heartbeats.count([VIDEO], DEAD, {}) == Tally({7: 1}, answered=True)
        another = replace(VIDEO, lease="(another)")
        assert heartbeats.count([another], {7: Reason.WORKER_GONE}, {}).reclaims == {7: 2}
        assert WEEK_S - 60 < academy.redis.ttl("tenant:2:video:7:reclaims") <= WEEK_S

    @pytest.mark.parametrize("reason", [Reason.ORPHANED, Reason.RELEASED])
    def test_an_adoption_and_a_release_count_nothing(self, heartbeats, reason):
        carried = a_handoff("x", id=7, tenant_id=2)
        assert heartbeats.count([carried], {7: reason}, {}).reclaims == {7: 0}
        heartbeats.count([VIDEO], DEAD, {})
        assert heartbeats.count([carried], {7: reason}, {}).reclaims == {7: 1}

    def test_a_count_belongs_to_one_upload(self, heartbeats):
        heartbeats.count([VIDEO], DEAD, {})
        assert heartbeats.count([replace(VIDEO, upload="another")], DEAD, {}).reclaims == {7: 1}

    def test_a_claim_counts_for_a_week_from_the_time_that_it_was_first_counted(self, heartbeats):
        for passed_s in (0, WEEK_S - 60):
            heartbeats.count([replace(VIDEO, now_s=NOW_S + passed_s)], DEAD, {})
        carried = a_handoff("x", id=7, tenant_id=2)
        for passed_s, reclaims in ((WEEK_S - 1, 1), (WEEK_S + 1, 0)):
            at = replace(carried, now_s=NOW_S + passed_s)
            assert heartbeats.count([at], {7: Reason.ORPHANED}, {}).reclaims == {7: reclaims}

    def test_what_was_written_after_another_execution_took_it_is_not_taken(self, heartbeats):
        heartbeats.record(some_notes(changed={7: SIGHTING}), memory_s=240)
        earlier = {7: replace(SIGHTING, since_s=NOW_S - 400)}
        assert heartbeats.count([WAITING], {7: Reason.MESSAGE_LOST}, earlier).taken == set()

    def test_a_lost_message_is_taken_by_the_first_that_asks_and_counts_nothing(self, heartbeats):
        heartbeats.record(some_notes(changed={7: SIGHTING}), memory_s=240)
        reasons = {7: Reason.MESSAGE_LOST}
        first, second = (heartbeats.count([WAITING], reasons, {7: SIGHTING}) for _ in range(2))
        assert (first.taken, second.taken) == ({7}, set())
        assert first.reclaims == {7: 0}

    def test_several_videos_keep_their_own_counts(self, heartbeats):
        videos = [VIDEO, replace(WAITING, id=8), a_handoff("x", id=9, tenant_id=2), replace(VIDEO, id=10)]
        reasons = {7: Reason.SILENT, 8: Reason.MESSAGE_LOST, 9: Reason.ORPHANED, 10: Reason.BEATING}
        heartbeats.count([replace(VIDEO, id=8)], {8: Reason.SILENT}, {})
        assert heartbeats.count(videos, reasons, {}) == Tally({7: 1, 8: 1, 9: 0}, answered=True)
        assert heartbeats.count([], {}, {}) == Tally(answered=True)

    def test_a_count_of_another_type_is_unknown_and_harms_no_other(self, academy, heartbeats):
        academy.redis.set("tenant:2:video:7:reclaims", "not what it should be")
        tally = heartbeats.count([VIDEO, replace(VIDEO, id=8)], {**DEAD, 8: Reason.SILENT}, {})
        assert tally == Tally({8: 1}, answered=True)


class TestQuarantining:
    def videos(self, *ids):
        return [replace(VIDEO, id=video_id) for video_id in ids]

    def test_three_an_hour_may_begin_and_their_counts_end(self, academy, heartbeats):
        for video in self.videos(1, 2, 3, 4):
            heartbeats.count([video], {video.id: Reason.SILENT}, {})
        assert heartbeats.begin_quarantine(self.videos(1, 2)) == {1, 2}
        assert heartbeats.begin_quarantine(self.videos(3, 4)) == {3}
        assert heartbeats.begin_quarantine(self.videos(4)) == set()
        assert academy.redis.keys("*:reclaims") == [b"tenant:2:video:4:reclaims"]
        assert 3_590 < academy.redis.ttl(f"video-reclaim:{STAGE}:quarantines") <= 3_600
        academy.redis.delete(f"video-reclaim:{STAGE}:quarantines")
        assert heartbeats.begin_quarantine(self.videos(4)) == {4}

    def test_an_hour_always_ends(self, academy, heartbeats):
        academy.redis.set(f"video-reclaim:{STAGE}:quarantines", 7)
        assert heartbeats.begin_quarantine(self.videos(1)) == set()
        assert academy.redis.ttl(f"video-reclaim:{STAGE}:quarantines") > 3_590

    def test_the_platforms_cached_status_can_be_forgotten(self, academy, heartbeats):
        academy.redis.set("tenant:2:video:7:status", "PROCESSING")
        heartbeats.forget_status([VIDEO])
        heartbeats.forget_status([])
        assert keys(academy) == []


class TestJobKeys:
    def test_without_jobs_nothing_is_asked_and_redis_is_not_away(self, heartbeats):
        assert heartbeats.prepare_jobs([]) == {}

    def test_a_message_is_delayed_while_a_worker_would_drop_it(self, academy, heartbeats):
        key = "tenant:2:video:7:cancel_requested"
        academy.redis.set(key, "1", px=99_900)
        delays_s = heartbeats.prepare_jobs([JOB, replace(JOB, video_id=8)])
        assert set(delays_s) == {7}
        assert academy.redis.pttl(key) / 1000 <= delays_s[7] <= 100, "no second too few"

    def test_the_lock_of_a_dead_worker_is_deleted(self, academy, heartbeats):
        academy.redis.set("job:encode:7:lock", "1", ex=14_400)
        assert heartbeats.prepare_jobs([JOB]) == {}
        assert keys(academy) == []


class TestRedisDoesNotAnswer:
    @pytest.mark.parametrize("how", ["nobody-there", "mute", "wrong-password", "key-of-another-type"])
    def test_nothing_is_known_and_nothing_is_raised(self, academy, environment, valkey, request, how):
        if how == "nobody-there":
            environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        elif how == "wrong-password":
            environment.setenv("REDIS_URL", valkey.url.replace("redis://", "redis://user:wrong@"))
        elif how == "mute":
            valkey.pause()
            request.addfinalizer(valkey.resume)
        else:
            academy.redis.set(SEEN_KEY, "not what it should be")
        broken = Heartbeats(read(Redis), STAGE, timeout_s=0.5)
        assert broken.look([VIDEO]) is None
        assert broken.record(some_notes(changed={7: SIGHTING}), memory_s=240) is False
        assert broken.count([WAITING], {7: Reason.MESSAGE_LOST}, {}).taken == set()
        if how != "key-of-another-type":
            assert broken.count([VIDEO], DEAD, {}) == Tally()
            assert broken.begin_quarantine([VIDEO]) == set()
            broken.forget_status([VIDEO])
            assert broken.prepare_jobs([JOB]) is None

    def test_a_command_that_is_not_permitted_is_no_answer(self, academy, valkey):
        academy.redis.acl_setuser(
            "narrow", reset=True, enabled=True, nopass=True, keys="*", commands=["+ttl"]
        )
        narrow = Heartbeats(Redis(valkey.url.replace("redis://", "redis://narrow:any@")), STAGE)
        assert narrow.look([VIDEO]) is None

    def test_the_documented_rights_are_enough_for_everything(self, academy, valkey):
        rights = re.search(r"^    (~tenant.*?)\n\n", DEPLOYING.read_text(), re.DOTALL | re.MULTILINE)[
            1
        ].split()
        academy.redis.execute_command("ACL", "SETUSER", "documented", "reset", "on", "nopass", *rights)
        user = Heartbeats(Redis(valkey.url.replace("redis://", "redis://documented:any@")), STAGE)
        assert user.record(some_notes(changed={7: SIGHTING}, lost=[7], heard=True), memory_s=240)
        assert user.record(some_notes(user.look([WAITING])), memory_s=240)
        assert user.look([VIDEO], whole=False).recorded == {7: SIGHTING}
        waiting, silent = replace(WAITING, id=7), replace(VIDEO, id=8)
        reasons = {7: Reason.MESSAGE_LOST, 8: Reason.SILENT}
        assert user.count([waiting, silent], reasons, {7: SIGHTING}) == Tally({7: 0, 8: 1}, {7}, True)
        assert user.begin_quarantine([VIDEO]) == {7}
        assert user.prepare_jobs([JOB]) == {}
        academy.redis.set("tenant:2:video:7:status", "x")
        user.forget_status([VIDEO])
        assert not academy.redis.exists("tenant:2:video:7:status")

    def test_a_redis_that_is_too_old_for_a_command_takes_no_count(self, heartbeats, monkeypatch):
        """Before 6.2, ZRANGE knows no BYSCORE and answers that the syntax is wrong."""
        old = lambda self, name, start, end, byscore: self.execute_command("ZRANGE", name, start, end, "BY?")  # noqa: E731
        monkeypatch.setattr(redis.client.Pipeline, "zrange", old)
        assert heartbeats.count([VIDEO], DEAD, {}) == Tally()

    def test_a_former_primary_is_disconnected_at_once(self, academy, heartbeats):
        def connected():
            return {one["id"] for one in academy.redis.client_list() if one["name"] == "video-reclaim"}

        others = connected()
        heartbeats.look([VIDEO])
        own = connected() - others
        assert len(own) == 1
        academy.redis.replicaof("127.0.0.1", "1")
        try:
            assert heartbeats.record(some_notes(changed={7: SIGHTING}), memory_s=240) is False
            give_up = time.monotonic() + 10
            while connected() & own:  # the server notices a moment later
                assert time.monotonic() < give_up, "the connection is kept"
                time.sleep(0.01)
        finally:
            academy.redis.replicaof("NO", "ONE")
        assert heartbeats.record(some_notes(changed={7: SIGHTING}), memory_s=240)

    def test_a_kept_connection_that_was_lost_is_opened_again(self, heartbeats, valkey):
        assert heartbeats.look([VIDEO]) is not None
        valkey.restart()
        assert heartbeats.look([VIDEO]) is not None
