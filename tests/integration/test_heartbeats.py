"""Heartbeats, strikes and counts, on a real server."""

from dataclasses import replace

import pytest

from video_reclaim.adapters.heartbeats import RECLAIMS_REMEMBERED_S, Heartbeats
from video_reclaim.rules.reclaiming import History
from video_reclaim.rules.staleness import Heartbeat, Strike, Video
from video_reclaim.settings import Redis, read

NOW_S = 1_700_000_000.0
VIDEO = Video(
    id=7,
    status="PROCESSING",
    tenant_id=2,
    leased_by="w",
    lease='(w,"2026-01-01 00:00:00+00",)',
    lease_expired=False,
    now_s=NOW_S,
)


@pytest.fixture
def heartbeats(academy, environment):
    return Heartbeats(read(Redis))


def test_a_heartbeat_is_there_or_missing(academy, heartbeats):
    academy.redis.set("tenant:2:video:7:heartbeat", "1")
    silent = replace(VIDEO, id=8)
    assert heartbeats.read([VIDEO, silent]) == {7: Heartbeat(present=True), 8: Heartbeat(present=False)}


def test_a_heartbeat_of_another_tenant_is_not_ours(academy, heartbeats):
    academy.redis.set("tenant:1:video:7:heartbeat", "1")
    assert heartbeats.read([VIDEO]) == {7: Heartbeat(present=False)}


@pytest.mark.parametrize(
    "video",
    [
        pytest.param(replace(VIDEO, lease_expired=True), id="expired"),
        pytest.param(replace(VIDEO, tenant_id=None), id="without-tenant"),
        pytest.param(replace(VIDEO, status="UPLOADED"), id="orphan"),
    ],
)
def test_asks_only_where_the_heartbeat_decides(heartbeats, video):
    assert heartbeats.read([video]) == {}


def test_strikes_are_kept_for_a_while_and_can_be_forgotten(academy, heartbeats):
    strike = Strike(at_s=NOW_S, lease=VIDEO.lease)
    assert heartbeats.record_strikes([VIDEO], {7: strike}, memory_s=900)
    assert heartbeats.read([VIDEO]) == {7: Heartbeat(present=False, strike=strike)}
    assert 890 < academy.redis.ttl("tenant:2:video:7:silence") <= 900
    assert heartbeats.record_strikes([VIDEO], {7: None}, memory_s=900)
    assert not academy.redis.keys("*")


def test_a_strike_that_is_not_ours_is_none(academy, heartbeats):
    academy.redis.set("tenant:2:video:7:silence", "what?")
    assert heartbeats.read([VIDEO]) == {7: Heartbeat(present=False)}


SILENT = {7: Heartbeat(present=False)}


def test_a_claim_is_counted_once_however_often_and_by_whomever(heartbeats):
    assert heartbeats.read_and_count([VIDEO], {7: "a"}) == History(SILENT, {7: 0}, {7})
    for _ in range(3):
        assert heartbeats.read_and_count([VIDEO], {7: "a"}) == History(SILENT, {7: 0}, set())
    assert heartbeats.read_and_count([VIDEO], {7: "b"}) == History(SILENT, {7: 1}, {7})


def test_a_video_on_its_way_to_the_queue_is_asked_about_and_not_counted(heartbeats):
    carried = replace(VIDEO, status="UPLOADED")
    assert heartbeats.read_and_count([carried], {}) == History({}, {7: 0}, set())
    for claim in ("a", "b", "c"):
        heartbeats.read_and_count([VIDEO], {7: claim})
    assert heartbeats.read_and_count([carried, VIDEO], {}) == History(SILENT, {7: 2}, set())


def test_several_videos_keep_their_own_counts(heartbeats):
    other = replace(VIDEO, id=8, status="UPLOADED")
    third = replace(VIDEO, id=9, lease_expired=True)
    heartbeats.read_and_count([third], {9: "earlier"})
    told = heartbeats.read_and_count([VIDEO, other, third], {7: "a", 9: "b"})
    assert told == History(SILENT, {7: 0, 8: 0, 9: 1}, {7, 9})


def test_reclaims_older_than_a_week_do_not_count(heartbeats):
    heartbeats.read_and_count([VIDEO], {7: "a"})
    later = replace(VIDEO, now_s=NOW_S + RECLAIMS_REMEMBERED_S + 1)
    assert heartbeats.read_and_count([later], {7: "b"}).earlier_reclaims == {7: 0}


def test_counts_outlive_nothing_but_redis_itself(academy, heartbeats):
    heartbeats.read_and_count([VIDEO], {7: "a"})
    assert 0 < academy.redis.ttl("tenant:2:video:7:reclaims") <= RECLAIMS_REMEMBERED_S


def test_a_count_can_be_taken_back_and_forgotten(academy, heartbeats):
    heartbeats.read_and_count([VIDEO], {7: "a"})
    heartbeats.read_and_count([VIDEO], {7: "b"})
    heartbeats.undo_counts([VIDEO], {7: "b"})
    assert heartbeats.read_and_count([VIDEO], {7: "c"}).earlier_reclaims == {7: 1}
    heartbeats.clear_counts([VIDEO])
    assert not academy.redis.keys("*")


def test_many_videos_keep_their_own_answers(academy, heartbeats):
    videos = [replace(VIDEO, id=i) for i in range(6_000)]  # more than one call's worth
    for i in range(0, 6_000, 3):
        academy.redis.set(f"tenant:2:video:{i}:heartbeat", "1")
    pulses = heartbeats.read(videos)
    assert all(pulses[i].present is (i % 3 == 0) for i in range(6_000))


class TestRedisThatCannotAnswerSaysNothing:
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
        assert broken.read([VIDEO]) is None

    def test_when_asked_to_count(self, broken):
        assert broken.read_and_count([VIDEO], {7: "a"}) is None

    def test_when_told_of_a_strike(self, broken):
        assert broken.record_strikes([VIDEO], {7: Strike(NOW_S, "l")}, memory_s=60) is False


def test_a_kept_connection_that_died_is_opened_anew(academy, heartbeats, valkey):
    assert heartbeats.read([VIDEO]) is not None
    valkey.restart()
    assert heartbeats.read([VIDEO]) == {7: Heartbeat(present=False)}
