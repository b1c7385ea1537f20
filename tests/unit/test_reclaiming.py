from dataclasses import replace

import pytest

from video_reclaim.rules.counts import Counts
from video_reclaim.rules.reclaiming import History, Plan, Written, candidates, claims_to_count, counts, plan
from video_reclaim.rules.staleness import Heartbeat, Reason, Video

NOW_S = 1_700_000_000.0
EXPIRED = Video(
    id=1, status="PROCESSING", tenant_id=1, leased_by="w-1", lease="(w-1,…)", lease_expired=True, now_s=NOW_S
)
BEATING = replace(EXPIRED, id=2, lease_expired=False)
READY = replace(EXPIRED, id=3, status="READY")
ORPHAN = replace(EXPIRED, id=4, status="UPLOADED", leased_by="reclaim:crashed")
OWN = replace(ORPHAN, id=5, leased_by="reclaim:mine", lease_expired=False)


def planned(*videos, reclaims=None, max_reclaims=5):
    history = History({BEATING.id: Heartbeat(present=True)}, reclaims or {})
    return plan(videos, history, token="mine", confirm_silence_s=60, max_reclaims=max_reclaims)


def test_leases_what_is_stale_and_counts_the_rest_by_reason():
    result = planned(EXPIRED, BEATING, READY, ORPHAN)
    assert result.lease == [EXPIRED, ORPHAN]
    assert result.skipped == {Reason.BEATING: 1, Reason.MOVED_ON: 1}
    assert result.quarantine == []


def test_without_an_answer_from_redis_only_the_lease_decides():
    videos = [EXPIRED, replace(BEATING, id=6), ORPHAN, OWN]
    result = plan(videos, History(), token="mine", confirm_silence_s=0, max_reclaims=1)
    assert result.lease == [EXPIRED, ORPHAN, OWN]
    assert result.skipped == {Reason.HEARTBEAT_UNKNOWN: 1}


@pytest.mark.parametrize(
    ("earlier", "attempt"),
    [
        pytest.param({}, 2, id="an-unknown-count-is-zero"),
        pytest.param({1: 0}, 2, id="the-first-reclaim-sends-attempt-two"),
        pytest.param({1: 4}, 6, id="the-fifth-reclaim-sends-attempt-six"),
    ],
)
def test_the_attempt_is_one_more_than_the_reclaims(earlier, attempt):
    assert planned(EXPIRED, reclaims=earlier).attempts == {1: attempt}


@pytest.mark.parametrize(
    ("earlier", "max_reclaims", "quarantined"),
    [
        pytest.param(4, 5, False, id="a-video-is-reclaimed-as-often-as-allowed"),
        pytest.param(5, 5, True, id="a-video-over-the-limit-is-quarantined"),
        pytest.param(500, 0, False, id="zero-means-no-limit"),
    ],
)
def test_a_video_reclaimed_too_often_is_quarantined(earlier, max_reclaims, quarantined):
    result = planned(EXPIRED, reclaims={1: earlier}, max_reclaims=max_reclaims)
    assert result.quarantine == ([EXPIRED] if quarantined else [])
    assert result.lease == ([] if quarantined else [EXPIRED])
    assert set(result.quarantine_reasons) == ({1} if quarantined else set())
    assert set(result.attempts) == (set() if quarantined else {1})


def test_the_reason_for_quarantine_says_why_by_whom_and_how_often():
    assert planned(EXPIRED, reclaims={1: 5}).quarantine_reasons == {
        1: "Quarantined by video-reclaim: stuck 6 times within 7 days (limit 5); "
        "last time its lease expired; last leased by w-1."
    }


@pytest.mark.parametrize(
    "video",
    [
        pytest.param(ORPHAN, id="an-orphan-was-leased-by-no-worker"),
        pytest.param(replace(EXPIRED, leased_by=""), id="the-older-path-sets-no-lease"),
    ],
)
def test_the_reason_invents_no_holder(video):
    reasons = planned(video, reclaims={video.id: 5}).quarantine_reasons
    assert reasons[video.id].endswith("last leased by nobody on record.")


def test_only_what_is_taken_from_a_worker_counts_as_a_reclaim():
    assert claims_to_count([EXPIRED, ORPHAN, OWN]) == {EXPIRED.id: EXPIRED.lease}


def test_redis_is_asked_only_about_what_could_be_reclaimed():
    carried = replace(ORPHAN, id=6, lease_expired=False)
    without_tenant = replace(EXPIRED, id=7, tenant_id=None)
    everything = [EXPIRED, BEATING, READY, ORPHAN, OWN, carried, without_tenant]
    assert candidates(everything, "mine") == [EXPIRED, BEATING, ORPHAN, OWN]


@pytest.mark.parametrize(
    ("asked", "written", "expected"),
    [
        pytest.param(
            3, {"leased": Written([1, 2, 3])}, Counts(), id="a-lease-is-counted-only-once-it-is-sent"
        ),
        pytest.param(
            3,
            {"leased": Written([1], {3: "odd"}), "quarantined": Written([2])},
            Counts(quarantined=1, refused=1),
            id="every-outcome-is-counted",
        ),
        pytest.param(
            3,
            {"leased": Written([1])},
            Counts(skipped={"movedOn": 2}),
            id="what-could-not-be-found-or-written-moved-on",
        ),
        pytest.param(0, {}, Counts(), id="an-empty-batch-counts-nothing"),
    ],
)
def test_every_video_of_a_batch_is_counted(asked, written, expected):
    done = {"leased": Written(), "quarantined": Written(), **written}
    assert counts(Plan(), asked, **done) == expected


def test_videos_that_moved_on_before_and_after_the_reading_add_up():
    todo = planned(EXPIRED, BEATING, READY)
    did = counts(todo, 4, Written(), Written())
    assert did == Counts(skipped={"beating": 1, "movedOn": 3})
    assert all(type(reason) is str for reason in did.skipped)
