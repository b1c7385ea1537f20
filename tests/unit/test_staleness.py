from dataclasses import replace

import pytest

from video_reclaim.rules.staleness import (
    UNKNOWN_HEARTBEAT,
    Heartbeat,
    Reason,
    Strike,
    Video,
    judge,
    silence_confirmed,
    strike_memory_s,
    strikes_to_keep,
)

NOW_S = 1_700_000_000.0
LEASED = Video(
    id=7, status="PROCESSING", tenant_id=1, leased_by="w-1", lease="(w-1,…)", lease_expired=False, now_s=NOW_S
)
EXPIRED = replace(LEASED, lease_expired=True)
HANDED_OVER = replace(LEASED, status="UPLOADED", leased_by="reclaim:other", lease="(reclaim:other,…)")
BEATING = Heartbeat(present=True)
SILENT = Heartbeat(present=False)


def struck(ago_s, lease=LEASED.lease):
    return Heartbeat(present=False, strike=Strike(at_s=NOW_S - ago_s, lease=lease))


@pytest.mark.parametrize(
    ("strike", "after_s", "confirmed"),
    [
        pytest.param(None, 60, False, id="the-first-miss-does-not-count"),
        pytest.param(Strike(NOW_S - 60, "a"), 60, True, id="silence-of-exactly-the-limit-counts"),
        pytest.param(Strike(NOW_S - 59.9, "a"), 60, False, id="silence-just-below-the-limit-does-not-count"),
        pytest.param(Strike(NOW_S - 600, "b"), 60, False, id="a-strike-under-another-lease-does-not-count"),
        pytest.param(None, 0, True, id="with-zero-the-first-miss-counts"),
        pytest.param(Strike(NOW_S + 5, "a"), 60, False, id="a-strike-in-the-future-does-not-count"),
    ],
)
def test_silence_needs_two_strikes_under_one_lease(strike, after_s, confirmed):
    assert silence_confirmed(strike, "a", now_s=NOW_S, after_s=after_s) is confirmed


@pytest.mark.parametrize(
    ("video", "heartbeat", "reason"),
    [
        pytest.param(EXPIRED, SILENT, Reason.LEASE_EXPIRED, id="an-expired-lease-is-stale"),
        pytest.param(
            EXPIRED, BEATING, Reason.LEASE_EXPIRED, id="an-expired-lease-is-stale-despite-heartbeats"
        ),
        pytest.param(
            EXPIRED, UNKNOWN_HEARTBEAT, Reason.LEASE_EXPIRED, id="an-expired-lease-is-stale-without-redis"
        ),
        pytest.param(LEASED, BEATING, Reason.BEATING, id="a-heartbeat-spares-a-live-lease"),
        pytest.param(LEASED, SILENT, Reason.SILENT_ONCE, id="a-first-miss-spares-a-live-lease"),
        pytest.param(LEASED, struck(60), Reason.SILENT_TWICE, id="a-second-miss-is-stale"),
        pytest.param(
            LEASED, struck(600, "other"), Reason.SILENT_ONCE, id="a-miss-under-another-lease-is-not-counted"
        ),
        pytest.param(
            LEASED, UNKNOWN_HEARTBEAT, Reason.HEARTBEAT_UNKNOWN, id="without-redis-a-live-lease-is-spared"
        ),
        pytest.param(
            replace(LEASED, leased_by=""),
            struck(60),
            Reason.SILENT_TWICE,
            id="a-second-miss-without-a-lease-is-stale",
        ),
        pytest.param(
            replace(LEASED, tenant_id=None),
            SILENT,
            Reason.TENANT_UNKNOWN,
            id="a-live-lease-without-tenant-is-spared",
        ),
        pytest.param(
            replace(EXPIRED, tenant_id=None),
            SILENT,
            Reason.TENANT_UNKNOWN,
            id="an-expired-lease-without-tenant-is-spared",
        ),
        pytest.param(
            HANDED_OVER, SILENT, Reason.MOVED_ON, id="a-live-handoff-of-another-execution-is-left-alone"
        ),
        pytest.param(
            replace(HANDED_OVER, lease_expired=True),
            SILENT,
            Reason.ORPHANED,
            id="an-expired-handoff-is-orphaned",
        ),
        pytest.param(
            replace(HANDED_OVER, leased_by="reclaim:mine"),
            SILENT,
            Reason.ORPHANED,
            id="a-live-handoff-of-this-execution-is-orphaned",
        ),
        pytest.param(
            replace(HANDED_OVER, lease_expired=True, tenant_id=None),
            SILENT,
            Reason.TENANT_UNKNOWN,
            id="an-expired-handoff-without-tenant-is-spared",
        ),
        pytest.param(
            replace(LEASED, status="UPLOADED", leased_by=""),
            SILENT,
            Reason.MOVED_ON,
            id="a-waiting-video-is-left-alone",
        ),
        pytest.param(
            replace(EXPIRED, status="UPLOADED", leased_by="w-1"),
            SILENT,
            Reason.MOVED_ON,
            id="a-worker-lease-on-an-uploaded-video-is-left-alone",
        ),
        pytest.param(
            replace(LEASED, status="PENDING"), SILENT, Reason.MOVED_ON, id="a-pending-video-is-left-alone"
        ),
        pytest.param(
            replace(EXPIRED, status="READY"), SILENT, Reason.MOVED_ON, id="a-ready-video-is-left-alone"
        ),
        pytest.param(
            replace(EXPIRED, status="FAILED"), SILENT, Reason.MOVED_ON, id="a-failed-video-is-left-alone"
        ),
    ],
)
def test_what_is_found_about_a_video(video, heartbeat, reason):
    assert judge(video, heartbeat, confirm_silence_s=60, own_token="mine") is reason


def test_without_the_second_strike_the_first_miss_counts():
    assert judge(LEASED, SILENT, confirm_silence_s=0) is Reason.SILENT_TWICE


def test_unknown_is_never_silence_even_without_the_second_strike():
    assert judge(LEASED, UNKNOWN_HEARTBEAT, confirm_silence_s=0) is Reason.HEARTBEAT_UNKNOWN


@pytest.mark.parametrize("reason", list(Reason))
def test_only_three_reasons_are_stale(reason):
    assert reason.stale is (reason in ("leaseExpired", "silentTwice", "orphaned"))
    assert reason.meaning


@pytest.mark.parametrize(
    ("video", "heartbeat", "changes"),
    [
        pytest.param(LEASED, SILENT, {7: Strike(NOW_S, LEASED.lease)}, id="a-first-miss-is-recorded"),
        pytest.param(LEASED, struck(30), {}, id="a-second-miss-keeps-the-first-strike"),
        pytest.param(
            LEASED,
            struck(30, "other"),
            {7: Strike(NOW_S, LEASED.lease)},
            id="a-miss-under-a-new-lease-replaces-the-strike",
        ),
        pytest.param(LEASED, BEATING, {}, id="a-heartbeat-without-a-strike-changes-nothing"),
        pytest.param(
            LEASED,
            Heartbeat(present=True, strike=Strike(NOW_S - 30, LEASED.lease)),
            {7: None},
            id="a-heartbeat-deletes-the-strike",
        ),
        pytest.param(LEASED, UNKNOWN_HEARTBEAT, {}, id="an-unknown-heartbeat-changes-nothing"),
        pytest.param(EXPIRED, SILENT, {}, id="an-expired-lease-needs-no-strike"),
        pytest.param(replace(LEASED, tenant_id=None), SILENT, {}, id="a-video-without-tenant-gets-no-strike"),
    ],
)
def test_strikes_to_keep(video, heartbeat, changes):
    assert strikes_to_keep([video], {video.id: heartbeat}) == changes


def test_a_video_that_redis_was_not_asked_about_gets_no_strike():
    assert strikes_to_keep([LEASED], {}) == {}


@pytest.mark.parametrize(
    ("confirm_silence_s", "rate_minutes", "memory_s"),
    [
        pytest.param(60, 1, 900, id="at-least-fifteen-minutes"),
        pytest.param(60, 14, 2580, id="three-runs-after-the-silence-counts"),
        pytest.param(1800, 10, 3600, id="a-long-silence-makes-it-longer"),
    ],
)
def test_a_strike_is_remembered_until_three_runs_can_confirm_it(confirm_silence_s, rate_minutes, memory_s):
    assert strike_memory_s(confirm_silence_s, rate_minutes) == memory_s
