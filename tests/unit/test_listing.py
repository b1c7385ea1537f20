from dataclasses import replace

import pytest
from msgspec import UNSET, structs

from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.listing import judge_all, listing
from video_reclaim.rules.run_record import ListedVideo, RunRecord
from video_reclaim.rules.staleness import Heartbeat, Reason, Strike, Video

NOW_S = 1_700_000_000.0
LEASED = Video(
    id=1, status="PROCESSING", tenant_id=1, leased_by="w-1", lease="(w-1,…)", lease_expired=False, now_s=NOW_S
)
FOUND = {
    1: Reason.LEASE_EXPIRED,
    2: Reason.SILENT_ONCE,
    3: Reason.ORPHANED,
    4: Reason.BEATING,
    5: Reason.SILENT_ONCE,
    6: Reason.LEASE_EXPIRED,
}


def look(found, *, limit=10_000, dry_run=False, heartbeats_trusted=True, earlier=None):
    request = ExecutionInput(dry_run=dry_run, limit=limit)
    return listing(found, request, heartbeats_trusted=heartbeats_trusted, earlier=earlier)


def expired(*ids):
    return dict.fromkeys(ids, Reason.LEASE_EXPIRED)


def test_every_video_is_judged_in_order_and_an_absent_heartbeat_is_unknown():
    videos = [replace(LEASED, id=id_) for id_ in (9, 7, 8)]
    strike = Strike(NOW_S - 60, LEASED.lease)
    beats = {9: Heartbeat(present=False, strike=strike), 7: Heartbeat(present=True)}
    assert list(judge_all(videos, beats, confirm_silence_s=60).items()) == [
        (9, Reason.SILENT_TWICE),
        (7, Reason.BEATING),
        (8, Reason.HEARTBEAT_UNKNOWN),
    ]
    assert judge_all(videos[:1], beats, confirm_silence_s=61) == {9: Reason.SILENT_ONCE}


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
        pytest.param({"heartbeats_trusted": False}, 0, id="a-strike-that-was-not-recorded-cannot"),
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
