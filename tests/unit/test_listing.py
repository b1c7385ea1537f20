from dataclasses import replace

import pytest
from msgspec import UNSET, structs

from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.listing import (
    RedisLook,
    Tally,
    add_counts,
    count_expired_but_beating,
    findings,
    is_trusted,
    judge_all,
    listing,
    silent_instances,
    with_strikes,
)
from video_reclaim.rules.run_record import ListedVideo, RunRecord
from video_reclaim.rules.staleness import Criteria, Heartbeat, Reason, Strike, Video
from video_reclaim.rules.waiting import QueueLook, Wait, Waits

NOW_S = 1_700_000_000.0
INSTANCE = "i-0123456789abcdef0"
LEASED = Video(
    id=1,
    status="PROCESSING",
    tenant_id=1,
    leased_by=f"{INSTANCE}-4711",
    lease="(w-1,…)",
    upload="abc",
    lease_expired=False,
    quarantined=False,
    now_s=NOW_S,
    leased_by_claim=True,
)
EXPIRED = replace(LEASED, lease_expired=True)
WAITING = replace(LEASED, status="UPLOADED", leased_by="", lease="('',…)")
BEATING = Heartbeat(present=True)
SILENT = Heartbeat(present=False)
UNKNOWN = Heartbeat(present=None)
STRIKE = Strike(NOW_S - 30, LEASED.lease)
FOUND = {
    1: Reason.LEASE_EXPIRED,
    2: Reason.SILENT_ONCE,
    3: Reason.ORPHANED,
    4: Reason.BEATING,
    5: Reason.SILENT_ONCE,
    6: Reason.LEASE_EXPIRED,
}


def look(found, *, limit=10_000, dry_run=False, heartbeats_trusted=True, can_confirm=True, earlier=None):
    request = ExecutionInput(dry_run=dry_run, limit=limit)
    tally = Tally()
    tally.add(found)
    return listing(
        tally, request, heartbeats_trusted=heartbeats_trusted, can_confirm=can_confirm, earlier=earlier
    )


def expired(*ids):
    return dict.fromkeys(ids, Reason.LEASE_EXPIRED)


@pytest.mark.parametrize(
    ("seen_ttl_s", "seen"),
    [
        pytest.param(-2, False, id="there-is-no-mark"),
        pytest.param(0, True, id="the-mark-is-about-to-expire"),
        pytest.param(2_592_000, True, id="the-mark-was-just-made"),
    ],
)
def test_a_heartbeat_was_once_seen_in_a_redis_that_carries_the_mark(seen_ttl_s, seen):
    assert RedisLook(seen_ttl_s=seen_ttl_s).seen_before is seen


def test_an_empty_look_has_seen_no_heartbeat():
    assert not RedisLook().seen_before


@pytest.mark.parametrize(
    ("video", "heartbeat", "asked"),
    [
        pytest.param(LEASED, SILENT, {INSTANCE}, id="its-worker-is-silent"),
        pytest.param(LEASED, BEATING, set(), id="its-worker-is-heard"),
        pytest.param(LEASED, UNKNOWN, set(), id="its-heartbeat-is-unknown"),
        pytest.param(LEASED, None, set(), id="redis-said-nothing"),
        pytest.param(replace(LEASED, leased_by="host-1"), SILENT, set(), id="its-worker-names-no-instance"),
    ],
)
def test_the_group_is_asked_only_about_instances_of_silent_workers(video, heartbeat, asked):
    assert silent_instances([video], {1: heartbeat} if heartbeat else {}) == asked


@pytest.mark.parametrize(
    ("strikes", "strike"),
    [
        pytest.param({1: Strike(NOW_S, "new")}, Strike(NOW_S, "new"), id="a-new-strike-counts-at-once"),
        pytest.param({1: None}, None, id="a-deleted-strike-is-gone"),
        pytest.param({}, STRIKE, id="an-unchanged-strike-stays"),
    ],
)
def test_heartbeats_with_the_strikes_as_written(strikes, strike):
    for present in (True, False, None):
        given = {1: Heartbeat(present, STRIKE)}
        assert with_strikes(given, strikes) == {1: Heartbeat(present, strike)}
        assert given == {1: Heartbeat(present, STRIKE)}


def test_every_video_is_judged_in_order_and_an_absent_heartbeat_is_unknown():
    videos = [replace(LEASED, id=id_) for id_ in (9, 7, 8)]
    beats = {9: Heartbeat(present=False, strike=STRIKE), 7: BEATING}
    assert list(judge_all(videos, beats, Criteria(30)).items()) == [
        (9, Reason.SILENT_TWICE),
        (7, Reason.BEATING),
        (8, Reason.HEARTBEAT_UNKNOWN),
    ]
    assert judge_all(videos[:1], beats, Criteria(31)) == {9: Reason.SILENT_ONCE}


def test_videos_that_merely_wait_are_not_judged():
    videos = [replace(WAITING, id=id_) for id_ in (1, 2, 3)]
    assert judge_all(videos, {}, Criteria(30, lost=[2])) == {2: Reason.MESSAGE_LOST}


def test_a_waiting_video_without_a_tenant_is_told_even_when_its_message_is_lost():
    videos = [replace(WAITING, id=id_, tenant_id=None) for id_ in (1, 2)]
    assert judge_all(videos, {}, Criteria(30, lost=[2])) == dict.fromkeys((1, 2), Reason.TENANT_UNKNOWN)


def test_a_named_video_that_is_not_quarantined_is_told():
    ready = replace(LEASED, id=4, status="READY")
    failed = replace(ready, id=5, status="FAILED")
    ours = replace(failed, id=6, quarantined=True)
    assert judge_all([ready, failed, ours], {}, Criteria(30, released=[4, 5, 6])) == {
        4: Reason.MOVED_ON,
        5: Reason.MOVED_ON,
        6: Reason.RELEASED,
    }


@pytest.mark.parametrize(
    ("video", "heartbeat", "count"),
    [
        pytest.param(EXPIRED, BEATING, 1, id="an-expired-lease-with-heartbeats"),
        pytest.param(EXPIRED, SILENT, 0, id="an-expired-lease-in-silence"),
        pytest.param(EXPIRED, UNKNOWN, 0, id="unknown-is-not-beating"),
        pytest.param(EXPIRED, None, 0, id="absent-is-not-beating"),
        pytest.param(LEASED, BEATING, 0, id="a-live-lease"),
    ],
)
def test_expired_leases_with_heartbeats_are_counted(video, heartbeat, count):
    assert count_expired_but_beating([video], {1: heartbeat} if heartbeat else {}) == count


@pytest.mark.parametrize(("earlier", "now", "count"), [(3, 1, 3), (1, 3, 3)])
def test_of_two_looks_the_one_that_found_more_counts(earlier, now, count):
    run = RunRecord(expired_but_beating=earlier, messages_lost=earlier)
    add_counts(run, now, Waits(lost=[*range(now)]), answered=True)
    assert (run.expired_but_beating, run.messages_lost) == (count, count)


def test_without_redis_the_longest_wait_is_unknown():
    run = RunRecord(longest_wait_s=60.0)
    add_counts(run, 0, Waits(), answered=False)
    assert run.longest_wait_s is UNSET


@pytest.mark.parametrize(
    ("video", "heartbeat", "trusted"),
    [
        pytest.param(LEASED, SILENT, True, id="silence-is-known"),
        pytest.param(LEASED, UNKNOWN, False, id="an-unknown-heartbeat-is-not-trusted"),
        pytest.param(LEASED, None, False, id="an-absent-heartbeat-is-not-trusted"),
        pytest.param(EXPIRED, UNKNOWN, True, id="an-expired-lease-asks-for-no-heartbeat"),
        pytest.param(WAITING, None, True, id="a-waiting-video-asks-for-no-heartbeat"),
    ],
)
def test_heartbeats_are_trusted_when_all_that_matter_are_known(video, heartbeat, trusted):
    assert is_trusted([video], {1: heartbeat} if heartbeat else {}, Criteria(30)) is trusted


def evidence(video, **more):
    return {"video": video.id, "holder": video.leased_by, "lease": video.lease, **more}


def test_a_first_miss_leaves_a_trace():
    beats = {1: Heartbeat(present=False, strike=Strike(NOW_S, LEASED.lease))}
    [line] = findings([LEASED], beats, Waits(), {1: Reason.SILENT_ONCE})
    silent_since = "2023-11-14T22:13:20+00:00"
    assert line == ("first miss", evidence(LEASED, reason="silentOnce", silent_since=silent_since))


@pytest.mark.parametrize(
    "heartbeat",
    [Heartbeat(present=False, strike=STRIKE), SILENT],
    ids=["it-left-one-before", "it-was-not-recorded"],
)
def test_a_later_or_unrecorded_miss_leaves_no_trace(heartbeat):
    assert list(findings([LEASED], {1: heartbeat}, Waits(), {1: Reason.SILENT_ONCE})) == []


@pytest.mark.parametrize(
    ("queue", "seen"),
    [
        pytest.param(
            QueueLook(NOW_S - 60, None),
            {"queue_empty_since": "2023-11-14T22:12:20+00:00"},
            id="the-queue-is-empty",
        ),
        pytest.param(QueueLook(None, 0.0), {"queue_oldest_s": 0.0}, id="the-oldest-message-has-just-come"),
        pytest.param(QueueLook(None, 5.0), {"queue_oldest_s": 5.0}, id="the-oldest-message-is-5-s-old"),
        pytest.param(QueueLook(None, None), {}, id="the-age-is-unknown"),
        pytest.param(None, {}, id="the-queue-is-unknown"),
    ],
)
def test_a_lost_message_leaves_a_trace_with_what_the_queue_held(queue, seen):
    waits = Waits(now_s=NOW_S, by_id={1: Wait(NOW_S - 900, "a")}, lost=[1], queue=queue)
    [line] = findings([WAITING], {}, waits, {1: Reason.MESSAGE_LOST})
    waiting_since = "2023-11-14T21:58:20+00:00"
    assert line == (
        "message lost",
        evidence(WAITING, reason="messageLost", waiting_since=waiting_since, **seen),
    )


def test_nothing_else_leaves_a_trace_in_a_listing():
    videos = [LEASED, replace(WAITING, id=2)]
    waits = Waits(now_s=NOW_S, by_id={2: Wait(NOW_S, "a")})
    assert list(findings(videos, {1: SILENT}, waits, {1: Reason.SILENT_TWICE})) == []


def test_the_first_look_lists_what_is_stale_in_order():
    run, ids, first_misses = look(FOUND)
    assert ids == [1, 3, 6]
    assert first_misses == 2
    assert run == RunRecord(
        stale={"leaseExpired": 2, "orphaned": 1},
        spared={"silentOnce": 2, "beating": 1},
        heartbeats_trusted=True,
    )


def test_nothing_found_gives_an_empty_record():
    assert look({}) == (RunRecord(heartbeats_trusted=True), [], 0)


def test_the_limit_leaves_the_rest_to_the_next_run():
    run, ids, _ = look(FOUND, limit=2)
    assert ids == [1, 3]
    assert run.left_to_next_run == 1
    assert run.stale == {"leaseExpired": 2, "orphaned": 1}


def test_the_second_look_adds_what_it_lists_and_replaces_what_was_spared():
    first = look(FOUND)
    second = look({2: Reason.SILENT_TWICE, 5: Reason.BEATING}, earlier=first.run)
    assert second.ids == [2]
    assert second.run.stale == {"leaseExpired": 2, "orphaned": 1, "silentTwice": 1}
    assert second.run.spared == {"beating": 1}


def test_the_second_look_keeps_what_the_items_did():
    earlier = structs.replace(look(FOUND).run, reclaimed=3, enqueued=2, failed={"QueueUnavailable": 1})
    run = look({}, earlier=earlier).run
    assert (run.reclaimed, run.enqueued, run.failed) == (3, 2, {"QueueUnavailable": 1})


@pytest.mark.parametrize(
    ("limit", "ids"),
    [
        pytest.param(2, [], id="a-first-look-that-reached-the-limit-leaves-nothing"),
        pytest.param(3, [11], id="the-second-look-gets-the-rest"),
        pytest.param(10, [11, 12], id="a-limit-that-is-not-reached-cuts-nothing"),
    ],
)
def test_the_limit_holds_over_both_looks_together(limit, ids):
    first = look(expired(1, 2), limit=limit)
    second = look(expired(11, 12), limit=limit, earlier=first.run)
    assert (first.ids, second.ids) == ([1, 2], ids)
    assert second.run.left_to_next_run == 2 - len(ids)


def test_what_the_first_look_left_to_the_next_run_is_not_listed_by_the_second():
    first = look(expired(1, 2, 3), limit=2)
    second = look({**expired(3), 4: Reason.SILENT_TWICE}, limit=2, earlier=first.run)
    assert (first.ids, second.ids) == ([1, 2], [])
    assert second.run.stale == {"leaseExpired": 3}


@pytest.mark.parametrize(
    ("changes", "first_misses"),
    [
        pytest.param({}, 2, id="a-recorded-strike-can-be-confirmed"),
        pytest.param({"can_confirm": False}, 0, id="a-strike-that-was-not-recorded-cannot"),
        pytest.param(
            {"heartbeats_trusted": False}, 2, id="an-unknown-heartbeat-does-not-affect-another-video"
        ),
        pytest.param({"dry_run": True}, 0, id="a-dry-run-records-no-strike"),
        pytest.param({"earlier": RunRecord()}, 0, id="there-is-no-third-look"),
    ],
)
def test_first_misses_count_when_a_second_look_can_confirm_them(changes, first_misses):
    assert look(FOUND, **changes).first_misses == first_misses


@pytest.mark.parametrize(
    ("first", "second", "trusted"),
    [
        pytest.param(True, True, True, id="both-looks-trusted-redis"),
        pytest.param(False, True, False, id="the-first-look-did-not"),
        pytest.param(True, False, False, id="the-second-look-did-not"),
        pytest.param(UNSET, True, True, id="the-first-look-failed"),
    ],
)
def test_heartbeats_are_trusted_when_no_look_found_redis_away(first, second, trusted):
    run = look({}, heartbeats_trusted=second, earlier=RunRecord(heartbeats_trusted=first)).run
    assert run.heartbeats_trusted is trusted


def test_a_dry_run_names_the_videos_stale_ones_first_and_lists_nothing():
    run, ids, _ = look(FOUND, dry_run=True, limit=2)
    assert ids == []
    assert run.dry_run
    assert run.left_to_next_run == 1
    assert run.videos == [ListedVideo(id_, FOUND[id_]) for id_ in (1, 3, 2, 4, 5)]


def test_a_dry_run_names_the_first_thousand_videos():
    run = look(expired(*range(1_001)), dry_run=True).run
    assert [video.id for video in run.videos] == list(range(1_000))
    assert run.stale == {"leaseExpired": 1_001}


def test_a_run_that_is_no_dry_run_names_no_video():
    assert look(FOUND).run.videos is UNSET


def test_the_first_hundred_videos_without_a_tenant_are_named():
    found = {1: Reason.BEATING, **dict.fromkeys(range(2, 200), Reason.TENANT_UNKNOWN)}
    run = look(found).run
    assert run.tenant_unknown == list(range(2, 102))
    assert run.spared == {"beating": 1, "tenantUnknown": 198}
    assert look({1: Reason.BEATING}, earlier=run).run.tenant_unknown is UNSET
