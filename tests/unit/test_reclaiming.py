from dataclasses import replace

import pytest

from video_reclaim.reclaiming import candidates, plan, to_count
from video_reclaim.staleness import Pulse, Verdict, Video

NOW_S = 1_700_000_000.0
EXPIRED = Video(
    id=1, status="PROCESSING", tenant_id=1, leased_by="w-1", lease="(w-1,…)", lease_expired=True, now_s=NOW_S
)
BEATING = replace(EXPIRED, id=2, lease_expired=False)
READY = replace(EXPIRED, id=3, status="READY")
ORPHAN = replace(EXPIRED, id=4, status="UPLOADED", leased_by="reclaim:crashed")


def planned(*videos, reclaims=None, max_reclaims=5):
    return plan(
        videos,
        {BEATING.id: Pulse(beating=True)},
        reclaims or {},
        token="mine",
        confirm_silence_s=60,
        max_reclaims=max_reclaims,
    )


def test_takes_what_is_stale_and_counts_the_rest_by_reason():
    result = planned(EXPIRED, BEATING, READY, ORPHAN)
    assert result.take == [EXPIRED, ORPHAN]
    assert result.skipped == {Verdict.BEATING: 1, Verdict.MOVED_ON: 1}


@pytest.mark.parametrize(
    ("earlier", "attempt"),
    [
        pytest.param({}, 2, id="an-unknown-count-is-none"),
        pytest.param({1: 0}, 2, id="first-reclaim"),
        pytest.param({1: 4}, 6, id="fifth-reclaim"),
    ],
)
def test_the_attempt_is_one_more_than_the_reclaims(earlier, attempt):
    assert planned(EXPIRED, reclaims=earlier).attempts == {1: attempt}


@pytest.mark.parametrize(
    ("earlier", "max_reclaims", "quarantined"),
    [
        pytest.param(4, 5, False, id="as-often-as-allowed"),
        pytest.param(5, 5, True, id="once-too-often"),
        pytest.param(500, 0, False, id="no-limit"),
    ],
)
def test_a_video_reclaimed_too_often_is_quarantined(earlier, max_reclaims, quarantined):
    result = planned(EXPIRED, reclaims={1: earlier}, max_reclaims=max_reclaims)
    assert [case.video for case in result.quarantine] == ([EXPIRED] if quarantined else [])
    assert result.take == ([] if quarantined else [EXPIRED])


def test_the_reason_for_quarantine_says_why_by_whom_and_how_often():
    (case,) = planned(EXPIRED, reclaims={1: 5}).quarantine
    assert case.reason == (
        "Quarantined by video-reclaim: stuck 6 times within 7 days (limit 5); "
        "last time its lease expired; last leased by w-1."
    )


@pytest.mark.parametrize(
    "video",
    [
        pytest.param(ORPHAN, id="an-orphan-names-no-worker"),
        pytest.param(replace(EXPIRED, leased_by=""), id="nor-does-the-path-without-leases"),
    ],
)
def test_the_reason_invents_no_holder(video):
    (case,) = planned(video, reclaims={video.id: 5}).quarantine
    assert case.reason.endswith("last leased by nobody on record.")


def test_only_what_is_taken_from_a_worker_counts_as_a_reclaim():
    own = replace(ORPHAN, id=5, leased_by="reclaim:mine", lease_expired=False)
    assert to_count([EXPIRED, ORPHAN, own]) == {EXPIRED.id: EXPIRED.lease}


def test_redis_is_asked_only_about_what_could_be_taken():
    own = replace(ORPHAN, id=5, leased_by="reclaim:mine", lease_expired=False)
    carried = replace(ORPHAN, id=6, lease_expired=False)
    without_tenant = replace(EXPIRED, id=7, tenant_id=None)
    everything = [EXPIRED, BEATING, READY, ORPHAN, own, carried, without_tenant]
    assert candidates(everything, "mine") == [EXPIRED, BEATING, ORPHAN, own]
