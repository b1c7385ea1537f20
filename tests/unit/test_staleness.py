from dataclasses import replace

import pytest

from video_reclaim.rules.platform import instance_of
from video_reclaim.rules.staleness import (
    UNKNOWN_HEARTBEAT,
    Criteria,
    Heartbeat,
    Reason,
    Strike,
    Video,
    credible,
    depends_on_heartbeat,
    iso,
    judge,
    strike_memory_s,
    strikes_to_keep,
)

NOW_S = 1_700_000_000.0
INSTANCE = "i-0123456789abcdef0"
LEASED = Video(
    id=7,
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
HANDED_OVER = replace(LEASED, status="UPLOADED", leased_by="reclaim:other", lease="(reclaim:other,…)")
QUARANTINED = replace(LEASED, status="FAILED", leased_by="", lease="('',…)", quarantined=True)
BEATING = Heartbeat(present=True)
SILENT = Heartbeat(present=False)

RECLAIM = Criteria(30, own_token="mine")
SPARE = replace(RECLAIM, spare_beating=True)


def struck(ago_s, lease=LEASED.lease, *, gone=False):
    return Heartbeat(present=False, strike=Strike(NOW_S - ago_s, lease, gone))


@pytest.mark.parametrize(
    ("heartbeat", "reason"),
    [
        pytest.param(BEATING, Reason.BEATING, id="a-heartbeat-spares"),
        pytest.param(SILENT, Reason.SILENT_ONCE, id="the-first-miss-spares"),
        pytest.param(struck(30), Reason.SILENT_TWICE, id="silence-of-exactly-30-s-counts"),
        pytest.param(struck(29.999), Reason.SILENT_ONCE, id="silence-of-less-than-30-s-does-not-count"),
        pytest.param(struck(-5), Reason.SILENT_ONCE, id="a-strike-in-the-future-does-not-count"),
        pytest.param(
            struck(600, "other"), Reason.SILENT_ONCE, id="a-strike-under-another-lease-says-nothing"
        ),
        pytest.param(struck(0, gone=True), Reason.WORKER_GONE, id="a-gone-worker-needs-no-second-look"),
        pytest.param(
            struck(600, "other", gone=True),
            Reason.SILENT_ONCE,
            id="a-worker-that-was-gone-under-another-lease-says-nothing",
        ),
        pytest.param(
            Heartbeat(present=True, strike=struck(600, gone=True).strike),
            Reason.BEATING,
            id="a-heartbeat-counts-more-than-any-strike",
        ),
        pytest.param(
            UNKNOWN_HEARTBEAT, Reason.HEARTBEAT_UNKNOWN, id="a-heartbeat-that-cannot-be-read-spares"
        ),
        pytest.param(
            Heartbeat(present=None, strike=struck(600, gone=True).strike),
            Reason.HEARTBEAT_UNKNOWN,
            id="an-unknown-heartbeat-is-no-second-miss",
        ),
    ],
)
@pytest.mark.parametrize("criteria", [RECLAIM, SPARE], ids=["reclaim", "spare"])
@pytest.mark.parametrize("video", [LEASED, replace(LEASED, leased_by="")], ids=["leased", "without-lease"])
def test_under_a_live_lease_only_confirmed_silence_is_stale(video, criteria, heartbeat, reason):
    assert judge(video, heartbeat, criteria) is reason


@pytest.mark.parametrize(
    ("heartbeat", "reason"),
    [
        pytest.param(SILENT, Reason.SILENT_TWICE, id="the-first-miss-counts"),
        pytest.param(struck(600, "other"), Reason.SILENT_TWICE, id="any-strike"),
        pytest.param(BEATING, Reason.BEATING, id="a-heartbeat-spares"),
        pytest.param(UNKNOWN_HEARTBEAT, Reason.HEARTBEAT_UNKNOWN, id="unknown-is-never-silence"),
    ],
)
def test_with_zero_seconds_the_first_miss_counts(heartbeat, reason):
    assert judge(LEASED, heartbeat, Criteria(0)) is reason


@pytest.mark.parametrize(
    ("criteria", "heartbeat", "reason"),
    [
        pytest.param(RECLAIM, SILENT, Reason.LEASE_EXPIRED, id="it-is-stale"),
        pytest.param(RECLAIM, BEATING, Reason.LEASE_EXPIRED, id="by-default-despite-heartbeats"),
        pytest.param(RECLAIM, UNKNOWN_HEARTBEAT, Reason.LEASE_EXPIRED, id="by-default-without-redis"),
        pytest.param(SPARE, BEATING, Reason.EXPIRED_BUT_BEATING, id="spared-while-its-worker-beats"),
        pytest.param(SPARE, UNKNOWN_HEARTBEAT, Reason.HEARTBEAT_UNKNOWN, id="spared-while-it-may-beat"),
        pytest.param(SPARE, struck(30), Reason.LEASE_EXPIRED, id="not-spared-when-its-worker-is-silent"),
    ],
)
def test_an_expired_lease(criteria, heartbeat, reason):
    assert judge(EXPIRED, heartbeat, criteria) is reason


@pytest.mark.parametrize(
    ("video", "reason"),
    [
        pytest.param(HANDED_OVER, Reason.MOVED_ON, id="a-live-handoff-of-another-execution-is-left-alone"),
        pytest.param(
            replace(HANDED_OVER, lease_expired=True), Reason.ORPHANED, id="an-expired-handoff-is-orphaned"
        ),
        pytest.param(
            replace(HANDED_OVER, leased_by="reclaim:mine"),
            Reason.ORPHANED,
            id="a-live-handoff-of-this-execution-is-orphaned",
        ),
        pytest.param(
            replace(HANDED_OVER, leased_by="reclaim:"), Reason.MOVED_ON, id="an-empty-token-is-somebody-elses"
        ),
        pytest.param(WAITING, Reason.MOVED_ON, id="a-waiting-video-is-left-alone"),
        pytest.param(
            replace(WAITING, leased_by="w-1", lease_expired=True),
            Reason.MOVED_ON,
            id="a-workers-lease-on-a-waiting-video-says-nothing",
        ),
        pytest.param(QUARANTINED, Reason.MOVED_ON, id="a-quarantined-video-is-left-alone"),
        pytest.param(replace(EXPIRED, status="FAILED"), Reason.MOVED_ON, id="a-failed-video-is-left-alone"),
        pytest.param(replace(EXPIRED, status="READY"), Reason.MOVED_ON, id="a-ready-video-is-left-alone"),
        pytest.param(replace(EXPIRED, status="PENDING"), Reason.MOVED_ON, id="a-pending-video-is-left-alone"),
    ],
)
def test_outside_of_processing_silence_does_not_count(video, reason):
    assert judge(video, SILENT, RECLAIM) is reason


def test_without_a_token_of_its_own_nothing_in_handoff_belongs_to_the_execution():
    assert judge(HANDED_OVER, SILENT, Criteria(30)) is Reason.MOVED_ON


LOST_AND_RELEASED = replace(RECLAIM, lost={7}, released=[7])


@pytest.mark.parametrize("heartbeat", [SILENT, UNKNOWN_HEARTBEAT], ids=["silent", "without-redis"])
@pytest.mark.parametrize(
    ("video", "reason"),
    [
        pytest.param(WAITING, Reason.MESSAGE_LOST, id="a-waiting-video-whose-message-is-lost"),
        pytest.param(HANDED_OVER, Reason.MOVED_ON, id="between-database-and-queue-no-message-is-lost"),
        pytest.param(QUARANTINED, Reason.RELEASED, id="a-video-that-the-product-quarantined-is-released"),
        pytest.param(
            replace(QUARANTINED, quarantined=False),
            Reason.MOVED_ON,
            id="a-video-that-the-platform-failed-is-never-released",
        ),
        pytest.param(
            replace(LEASED, status="READY"), Reason.MOVED_ON, id="a-video-that-is-ready-is-never-released"
        ),
        pytest.param(
            replace(WAITING, id=8),
            Reason.MOVED_ON,
            id="a-waiting-video-whose-message-may-exist-is-left-alone",
        ),
        pytest.param(
            replace(QUARANTINED, id=8), Reason.MOVED_ON, id="a-quarantined-video-not-named-is-left-alone"
        ),
    ],
)
def test_lost_messages_and_releases(video, heartbeat, reason):
    assert judge(video, heartbeat, LOST_AND_RELEASED) is reason


@pytest.mark.parametrize(
    "video",
    [LEASED, EXPIRED, WAITING, replace(HANDED_OVER, lease_expired=True), QUARANTINED],
    ids=["leased", "expired", "message-lost", "orphaned", "released"],
)
def test_a_video_without_a_tenant_is_never_stale(video):
    assert judge(replace(video, tenant_id=None), SILENT, LOST_AND_RELEASED) is Reason.TENANT_UNKNOWN


def test_the_reasons_that_are_stale():
    assert {str(reason) for reason in Reason if reason.stale} == {
        "leaseExpired",
        "silentTwice",
        "workerGone",
        "orphaned",
        "messageLost",
        "released",
    }


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_every_reason_has_a_meaning(reason):
    assert reason.meaning.strip()


@pytest.mark.parametrize(
    ("video", "waits", "token"),
    [
        pytest.param(WAITING, True, None, id="a-waiting-video"),
        pytest.param(replace(WAITING, leased_by="w-1"), True, None, id="a-workers-lease-is-no-handoff"),
        pytest.param(HANDED_OVER, False, "other", id="between-database-and-queue"),
        pytest.param(replace(HANDED_OVER, status="PROCESSING"), False, None, id="a-worker-claimed-it-since"),
        pytest.param(QUARANTINED, False, None, id="a-failed-video"),
    ],
)
def test_a_video_waits_unless_somebody_hands_it_over(video, waits, token):
    assert (video.waits, video.handoff_token) == (waits, token)


@pytest.mark.parametrize(
    "other",
    [{"status": "UPLOADED"}, {"lease": "(w-2,…)"}],
    ids=["another-status", "another-lease"],
)
def test_a_write_is_fenced_on_status_and_lease(other):
    assert LEASED.row == "PROCESSING (w-1,…)"
    assert replace(LEASED, **other).row != LEASED.row


MIXED = {1: SILENT, 2: struck(30), 3: UNKNOWN_HEARTBEAT}


def test_silence_is_unknown_in_a_redis_where_no_heartbeat_was_ever_seen():
    assert credible(MIXED, seen_before=False) == {
        1: UNKNOWN_HEARTBEAT,
        2: Heartbeat(present=None, strike=struck(30).strike),
        3: UNKNOWN_HEARTBEAT,
    }


@pytest.mark.parametrize(
    ("heartbeats", "seen_before"),
    [
        pytest.param(MIXED, True, id="one-was-seen-earlier"),
        pytest.param({**MIXED, 4: BEATING}, False, id="one-is-seen-now"),
        pytest.param({}, False, id="nothing-was-asked"),
    ],
)
def test_silence_is_credible_once_a_heartbeat_was_seen(heartbeats, seen_before):
    assert credible(heartbeats, seen_before=seen_before) == heartbeats


@pytest.mark.parametrize(
    ("ago_s", "gone", "reason"),
    [
        pytest.param(599.9, False, Reason.SILENT_ONCE, id="silence-of-less-than-600-s-does-not-count"),
        pytest.param(600, False, Reason.SILENT_TWICE, id="silence-of-exactly-600-s-counts"),
        pytest.param(0, True, Reason.WORKER_GONE, id="a-gone-worker-is-gone-in-mass-silence-too"),
    ],
)
def test_in_mass_silence(ago_s, gone, reason):
    assert judge(LEASED, struck(ago_s, gone=gone), Criteria(600)) is reason


FIRST_MISS = {7: Strike(NOW_S, LEASED.lease)}


@pytest.mark.parametrize(
    ("video", "heartbeat", "changes"),
    [
        pytest.param(LEASED, SILENT, FIRST_MISS, id="a-first-miss-is-recorded"),
        pytest.param(
            LEASED, struck(30), {7: struck(30).strike}, id="a-second-miss-writes-the-first-strike-again"
        ),
        pytest.param(
            LEASED, struck(30, "other"), FIRST_MISS, id="a-miss-under-a-new-lease-replaces-the-strike"
        ),
        pytest.param(LEASED, BEATING, {}, id="a-heartbeat-without-a-strike-changes-nothing"),
        pytest.param(
            LEASED, Heartbeat(True, struck(30).strike), {7: None}, id="a-heartbeat-deletes-the-strike"
        ),
        pytest.param(
            LEASED, Heartbeat(None, struck(30).strike), {}, id="an-unknown-heartbeat-changes-nothing"
        ),
    ],
)
def test_strikes_to_keep(video, heartbeat, changes):
    assert strikes_to_keep([video], {7: heartbeat}, gone=()) == changes


@pytest.mark.parametrize(
    ("video", "spare", "depends"),
    [
        pytest.param(LEASED, False, True, id="under-a-live-lease-the-heartbeat-decides"),
        pytest.param(EXPIRED, False, False, id="an-expired-lease-decides-alone"),
        pytest.param(EXPIRED, True, True, id="with-spare-an-expired-lease-needs-silence-too"),
        pytest.param(
            replace(LEASED, tenant_id=None), True, False, id="without-a-tenant-there-is-no-heartbeat"
        ),
        pytest.param(WAITING, True, False, id="a-waiting-video-has-no-worker"),
    ],
)
def test_which_videos_depend_on_a_heartbeat(video, spare, depends):
    assert depends_on_heartbeat(video, spare_beating=spare) is depends


def test_a_video_that_redis_was_not_asked_about_gets_no_strike():
    assert strikes_to_keep([LEASED], {}, gone={INSTANCE}) == {}


@pytest.mark.parametrize(
    ("leased_by", "heartbeat", "gone_now", "gone"),
    [
        pytest.param(f"{INSTANCE}-4711", SILENT, {INSTANCE}, True, id="its-instance-left-the-group"),
        pytest.param(f"{INSTANCE}-4711", SILENT, {"i-0fedcba9876543210"}, False, id="another-instance-left"),
        pytest.param(
            f"{INSTANCE}-4711", SILENT, set(), False, id="a-group-that-did-not-answer-excuses-no-reclaim"
        ),
        pytest.param("host-12", SILENT, {INSTANCE}, False, id="its-worker-names-no-instance"),
        pytest.param("", SILENT, {INSTANCE}, False, id="its-claim-names-no-worker"),
        pytest.param(f"{INSTANCE}-4711", struck(30), {INSTANCE}, True, id="it-left-after-the-first-miss"),
        pytest.param(
            f"{INSTANCE}-4711", struck(30, gone=True), set(), False, id="what-the-last-look-knew-is-not-kept"
        ),
    ],
)
def test_a_strike_says_whether_the_worker_is_gone(leased_by, heartbeat, gone_now, gone):
    video = replace(LEASED, leased_by=leased_by)
    assert strikes_to_keep([video], {7: heartbeat}, gone_now)[7].gone is gone


@pytest.mark.parametrize(
    ("leased_by", "instance"),
    [
        pytest.param(INSTANCE, INSTANCE, id="the-long-form"),
        pytest.param("i-0123abcd", "i-0123abcd", id="the-short-form"),
        pytest.param(f"{INSTANCE}-4711", INSTANCE, id="with-a-process-id"),
        pytest.param(f"{INSTANCE}/worker", INSTANCE, id="with-a-name"),
        pytest.param("i-0123abcd.host", "i-0123abcd", id="the-short-form-with-a-name"),
        pytest.param(f"{INSTANCE}1", None, id="too-many-digits"),
        pytest.param(INSTANCE[:-1], None, id="too-few-digits"),
        pytest.param("i-0123abcd0", None, id="between-both-forms"),
        pytest.param("I-0123ABCD", None, id="upper-case"),
        pytest.param(f"worker-{INSTANCE}", None, id="not-at-the-beginning"),
        pytest.param("reclaim:i-0123abcd", None, id="a-handoff"),
        pytest.param("", None, id="nobody"),
    ],
)
def test_the_instance_that_a_workers_id_begins_with(leased_by, instance):
    assert instance_of(leased_by) == instance


@pytest.mark.parametrize(("rate_minutes", "memory_s"), [(1, 240), (5, 960)])
def test_a_strike_is_remembered_for_three_rounds_and_a_minute_of_jitter(rate_minutes, memory_s):
    assert strike_memory_s(rate_minutes) == memory_s


def test_times_are_written_in_utc():
    assert iso(NOW_S + 0.9) == "2023-11-14T22:13:20+00:00"
