from dataclasses import replace

import pytest

from video_reclaim.staleness import (
    UNKNOWN_PULSE,
    Pulse,
    Strike,
    Verdict,
    Video,
    judge,
    silence_confirmed,
    strikes_to_keep,
)

NOW_S = 1_700_000_000.0
LEASED = Video(
    id=7, status="PROCESSING", tenant_id=1, leased_by="w-1", lease="(w-1,…)", lease_expired=False, now_s=NOW_S
)
EXPIRED = replace(LEASED, lease_expired=True)
HANDED_OVER = replace(LEASED, status="UPLOADED", leased_by="reclaim:other", lease="(reclaim:other,…)")
BEATING = Pulse(beating=True)
SILENT = Pulse(beating=False)


def struck(ago_s, lease=LEASED.lease):
    return Pulse(beating=False, strike=Strike(at_s=NOW_S - ago_s, lease=lease))


@pytest.mark.parametrize(
    ("strike", "after_s", "confirmed"),
    [
        pytest.param(None, 60, False, id="first-miss"),
        pytest.param(Strike(NOW_S - 60, "a"), 60, True, id="silent-for-exactly-the-limit"),
        pytest.param(Strike(NOW_S - 59.9, "a"), 60, False, id="a-moment-short"),
        pytest.param(Strike(NOW_S - 600, "b"), 60, False, id="strike-belongs-to-another-lease"),
        pytest.param(None, 0, True, id="zero-switches-the-wait-off"),
        pytest.param(Strike(NOW_S + 5, "a"), 60, False, id="the-clock-went-back"),
    ],
)
def test_silence_needs_two_strikes_under_one_lease(strike, after_s, confirmed):
    assert silence_confirmed(strike, "a", now_s=NOW_S, after_s=after_s) is confirmed


@pytest.mark.parametrize(
    ("video", "pulse", "verdict"),
    [
        pytest.param(EXPIRED, SILENT, Verdict.LEASE_EXPIRED, id="expired-and-silent"),
        pytest.param(EXPIRED, BEATING, Verdict.LEASE_EXPIRED, id="expired-though-it-beats"),
        pytest.param(EXPIRED, UNKNOWN_PULSE, Verdict.LEASE_EXPIRED, id="expired-and-redis-away"),
        pytest.param(LEASED, BEATING, Verdict.BEATING, id="beats"),
        pytest.param(LEASED, SILENT, Verdict.SILENT_ONCE, id="first-miss"),
        pytest.param(LEASED, struck(60), Verdict.SILENT_TWICE, id="second-miss"),
        pytest.param(LEASED, struck(600, "other"), Verdict.SILENT_ONCE, id="first-miss-under-this-lease"),
        pytest.param(LEASED, UNKNOWN_PULSE, Verdict.HEARTBEAT_UNKNOWN, id="redis-away-says-nothing"),
        pytest.param(replace(LEASED, leased_by=""), struck(60), Verdict.SILENT_TWICE, id="no-lease-at-all"),
        pytest.param(replace(LEASED, tenant_id=None), SILENT, Verdict.TENANT_UNKNOWN, id="no-tenant-no-key"),
        pytest.param(
            replace(EXPIRED, tenant_id=None), SILENT, Verdict.TENANT_UNKNOWN, id="no-tenant-no-message"
        ),
        pytest.param(HANDED_OVER, SILENT, Verdict.MOVED_ON, id="another-run-is-carrying-it"),
        pytest.param(replace(HANDED_OVER, lease_expired=True), SILENT, Verdict.ORPHANED, id="orphan"),
        pytest.param(
            replace(HANDED_OVER, leased_by="reclaim:mine"),
            SILENT,
            Verdict.ORPHANED,
            id="taken-by-a-lost-attempt",
        ),
        pytest.param(
            replace(HANDED_OVER, lease_expired=True, tenant_id=None),
            SILENT,
            Verdict.TENANT_UNKNOWN,
            id="orphan-without-tenant",
        ),
        pytest.param(
            replace(LEASED, status="UPLOADED", leased_by=""), SILENT, Verdict.MOVED_ON, id="waiting"
        ),
        pytest.param(
            replace(EXPIRED, status="UPLOADED", leased_by="w-1"), SILENT, Verdict.MOVED_ON, id="not-our-lease"
        ),
        pytest.param(replace(LEASED, status="PENDING"), SILENT, Verdict.MOVED_ON, id="pending"),
        pytest.param(replace(EXPIRED, status="READY"), SILENT, Verdict.MOVED_ON, id="ready"),
        pytest.param(replace(EXPIRED, status="FAILED"), SILENT, Verdict.MOVED_ON, id="failed"),
    ],
)
def test_verdict(video, pulse, verdict):
    assert judge(video, pulse, confirm_silence_s=60, own_token="mine") is verdict


def test_without_the_second_strike_the_first_miss_counts():
    assert judge(LEASED, SILENT, confirm_silence_s=0) is Verdict.SILENT_TWICE


def test_unknown_is_never_silence_even_without_the_second_strike():
    assert judge(LEASED, UNKNOWN_PULSE, confirm_silence_s=0) is Verdict.HEARTBEAT_UNKNOWN


@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_three_verdicts_are_stale(verdict):
    assert verdict.stale is (verdict in ("leaseExpired", "silentTwice", "orphaned"))


@pytest.mark.parametrize(
    ("video", "pulse", "changes"),
    [
        pytest.param(LEASED, SILENT, {7: Strike(NOW_S, LEASED.lease)}, id="first-miss-is-recorded"),
        pytest.param(LEASED, struck(30), {}, id="second-miss-leaves-the-first-standing"),
        pytest.param(
            LEASED, struck(30, "other"), {7: Strike(NOW_S, LEASED.lease)}, id="a-new-lease-begins-anew"
        ),
        pytest.param(LEASED, BEATING, {}, id="a-beat-needs-nothing"),
        pytest.param(
            LEASED,
            Pulse(beating=True, strike=Strike(NOW_S - 30, LEASED.lease)),
            {7: None},
            id="a-beat-wipes-the-slate",
        ),
        pytest.param(LEASED, UNKNOWN_PULSE, {}, id="unknown-changes-nothing"),
        pytest.param(EXPIRED, SILENT, {}, id="an-expired-lease-needs-no-strike"),
        pytest.param(replace(LEASED, tenant_id=None), SILENT, {}, id="no-tenant-no-key"),
    ],
)
def test_strikes_to_keep(video, pulse, changes):
    assert strikes_to_keep([video], {video.id: pulse}) == changes


def test_a_video_that_redis_was_not_asked_about_gets_no_strike():
    assert strikes_to_keep([LEASED], {}) == {}
