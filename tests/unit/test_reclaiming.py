from dataclasses import replace

import pytest

from video_reclaim.rules.counts import Counts
from video_reclaim.rules.platform import QUARANTINE_PREFIX
from video_reclaim.rules.reclaiming import (
    History,
    Plan,
    Written,
    candidates,
    claims_to_count,
    counts,
    outcomes,
    plan,
    still_lost,
)
from video_reclaim.rules.staleness import Criteria, Heartbeat, Reason, Strike, Video
from video_reclaim.rules.waiting import Wait, identity

NOW_S = 1_700_000_000.0
EXPIRED = Video(
    id=1,
    status="PROCESSING",
    tenant_id=1,
    leased_by="w-1",
    lease="(w-1,…)",
    upload="abc",
    lease_expired=True,
    quarantined=False,
    now_s=NOW_S,
    leased_by_claim=True,
)
LEASED = replace(EXPIRED, id=2, lease_expired=False)
READY = replace(EXPIRED, id=3, status="READY")
ORPHAN = replace(EXPIRED, id=4, status="UPLOADED", leased_by="reclaim:crashed")
OWN = replace(ORPHAN, id=5, leased_by="reclaim:mine", lease_expired=False)
CARRIED = replace(ORPHAN, id=6, lease_expired=False)
WAITING = replace(EXPIRED, id=7, status="UPLOADED", leased_by="", lease="('',…)", lease_expired=False)
QUARANTINED = replace(WAITING, id=8, status="FAILED", quarantined=True)
EVERYTHING = [EXPIRED, LEASED, READY, ORPHAN, OWN, CARRIED, WAITING, QUARANTINED]

CRITERIA = Criteria(30, own_token="mine")
BEATING = Heartbeat(present=True)
SILENT = Heartbeat(present=False)
STRUCK = Heartbeat(present=False, strike=Strike(NOW_S - 30, LEASED.lease))


def planned(*videos, criteria=CRITERIA, max_reclaims=5, **history):
    return plan(videos, History(**{"seen_before": True, **history}), criteria, max_reclaims=max_reclaims)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        pytest.param({}, [1, 2, 4, 5, 7], id="a-waiting-video-may-be-lost"),
        pytest.param({"released": [8, 3]}, [1, 2, 4, 5, 7, 8], id="a-quarantined-video-may-be-released"),
        pytest.param({"spare_beating": True}, [1, 2, 4, 5, 7], id="an-expired-lease-may-be-silent"),
        pytest.param({"own_token": None}, [1, 2, 4, 7], id="nothing-in-handoff-is-its-own"),
    ],
)
def test_redis_is_asked_only_about_what_could_be_reclaimed(changes, asked):
    without_tenant = replace(EXPIRED, id=9, tenant_id=None)
    criteria = replace(CRITERIA, confirm_silence_s=600, **changes)
    assert [video.id for video in candidates([*EVERYTHING, without_tenant], criteria)] == asked


def test_what_a_reclaim_ends_is_counted_once_for_one_upload():
    assert claims_to_count(EVERYTHING, "mine") == {
        EXPIRED.id: "abc (w-1,…)",
        LEASED.id: "abc (w-1,…)",
        READY.id: "abc (w-1,…)",
        WAITING.id: "abc mine",
    }


def test_another_execution_that_resends_counts_again():
    assert claims_to_count([WAITING], "other") != claims_to_count([WAITING], "mine")


def test_another_upload_counts_anew():
    assert claims_to_count([replace(EXPIRED, upload="def")], "mine") == {EXPIRED.id: "def (w-1,…)"}


@pytest.mark.parametrize(
    ("video", "wait", "lost"),
    [
        pytest.param(
            WAITING,
            Wait(NOW_S - 900, identity(WAITING), lost=True),
            True,
            id="it-waits-for-exactly-the-limit",
        ),
        pytest.param(
            WAITING, Wait(NOW_S - 899.9, identity(WAITING), lost=True), False, id="it-waits-for-less"
        ),
        pytest.param(WAITING, Wait(NOW_S - 5000, identity(WAITING)), False, id="no-listing-found-it-lost"),
        pytest.param(WAITING, Wait(NOW_S - 5000, "other", lost=True), False, id="it-changed-since"),
        pytest.param(
            replace(WAITING, upload="def"),
            Wait(NOW_S - 5000, identity(WAITING), lost=True),
            False,
            id="another-file-was-uploaded-since",
        ),
        pytest.param(WAITING, None, False, id="another-execution-has-taken-its-wait"),
        pytest.param(
            CARRIED, Wait(NOW_S - 5000, identity(CARRIED), lost=True), False, id="somebody-hands-it-over"
        ),
        pytest.param(
            EXPIRED, Wait(NOW_S - 5000, identity(EXPIRED), lost=True), False, id="a-worker-claimed-it"
        ),
    ],
)
def test_a_message_is_still_lost_while_the_video_waits_unchanged(video, wait, lost):
    waits = {video.id: wait} if wait else {}
    assert still_lost([video], waits, lost_after_s=900) == ({video.id} if lost else set())


def test_leases_what_is_stale_and_gives_a_reason_for_each():
    criteria = replace(CRITERIA, lost={WAITING.id}, released=[QUARANTINED.id])
    result = planned(*EVERYTHING, criteria=criteria, heartbeats={LEASED.id: BEATING})
    assert result.lease == [EXPIRED, ORPHAN, OWN, WAITING, QUARANTINED]
    assert result.reasons == {
        1: Reason.LEASE_EXPIRED,
        2: Reason.BEATING,
        3: Reason.MOVED_ON,
        4: Reason.ORPHANED,
        5: Reason.ORPHANED,
        6: Reason.MOVED_ON,
        7: Reason.MESSAGE_LOST,
        8: Reason.RELEASED,
    }
    assert result.quarantine == []


def test_a_video_that_redis_did_not_tell_about_is_judged_by_its_lease_alone():
    criteria = replace(CRITERIA, confirm_silence_s=0)
    result = planned(EXPIRED, LEASED, ORPHAN, OWN, criteria=criteria, answered=False, seen_before=False)
    assert result.lease == [EXPIRED, ORPHAN, OWN]
    assert result.reasons[LEASED.id] is Reason.HEARTBEAT_UNKNOWN


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        pytest.param({"seen_before": True}, Reason.SILENT_TWICE, id="a-heartbeat-was-once-seen"),
        pytest.param({"seen_before": False}, Reason.HEARTBEAT_UNKNOWN, id="no-heartbeat-was-ever-seen"),
    ],
)
def test_silence_counts_only_in_a_redis_that_has_seen_heartbeats(history, reason):
    assert planned(LEASED, heartbeats={LEASED.id: STRUCK}, **history).reasons == {LEASED.id: reason}


def test_where_nothing_was_asked_no_heartbeat_was_seen():
    assert History() == History(seen_before=False, answered=True)


def test_with_spare_an_expired_lease_is_reclaimed_only_in_confirmed_silence():
    criteria = replace(CRITERIA, spare_beating=True)
    heartbeats = {1: BEATING, 8: SILENT, 9: STRUCK}
    result = planned(
        *(replace(EXPIRED, id=id_) for id_ in heartbeats), criteria=criteria, heartbeats=heartbeats
    )
    assert [video.id for video in result.lease] == [9]
    assert result.reasons == {
        1: Reason.EXPIRED_BUT_BEATING,
        8: Reason.SILENT_ONCE,
        9: Reason.LEASE_EXPIRED,
    }


RESENT = {"criteria": replace(CRITERIA, lost={WAITING.id})}
RELEASED = {"criteria": replace(CRITERIA, released=[QUARANTINED.id])}


@pytest.mark.parametrize(
    ("video", "given", "earlier", "attempt"),
    [
        pytest.param(EXPIRED, {}, {}, 2, id="an-unknown-count-is-zero"),
        pytest.param(EXPIRED, {}, {1: 0}, 2, id="the-first-reclaim-sends-attempt-two"),
        pytest.param(EXPIRED, {}, {1: 4}, 6, id="the-fifth-reclaim-sends-attempt-six"),
        pytest.param(EXPIRED, {}, {9: 4}, 2, id="the-count-of-another-video-says-nothing"),
        pytest.param(WAITING, RESENT, {7: 1}, 3, id="a-message-sent-again-is-an-attempt"),
        pytest.param(QUARANTINED, RELEASED, {}, 1, id="a-released-video-starts-again"),
    ],
)
def test_the_attempt_is_one_more_than_the_reclaims(video, given, earlier, attempt):
    assert planned(video, **given, earlier_reclaims=earlier).attempts == {video.id: attempt}


@pytest.mark.parametrize(
    ("video", "given"), [(EXPIRED, {}), (ORPHAN, {}), (WAITING, RESENT)], ids=["expired", "orphan", "lost"]
)
@pytest.mark.parametrize(
    ("earlier", "max_reclaims", "quarantined"),
    [
        pytest.param(4, 5, False, id="a-video-is-reclaimed-as-often-as-allowed"),
        pytest.param(5, 5, True, id="a-video-over-the-limit-is-quarantined"),
        pytest.param(1, 1, True, id="a-limit-of-one-allows-one-reclaim"),
        pytest.param(500, 0, False, id="zero-means-no-limit"),
    ],
)
def test_a_video_reclaimed_too_often_is_quarantined(video, given, earlier, max_reclaims, quarantined):
    result = planned(video, **given, earlier_reclaims={video.id: earlier}, max_reclaims=max_reclaims)
    assert result.quarantine == ([video] if quarantined else [])
    assert result.lease == ([] if quarantined else [video])
    assert set(result.quarantine_reasons) == ({video.id} if quarantined else set())
    assert set(result.attempts) == (set() if quarantined else {video.id})


def test_what_is_not_stale_is_never_quarantined():
    result = planned(LEASED, heartbeats={LEASED.id: BEATING}, earlier_reclaims={LEASED.id: 9})
    assert (result.quarantine, result.lease) == ([], [])


def test_the_reason_for_quarantine_says_how_often_and_names_no_host():
    worker = replace(EXPIRED, leased_by="ip-10-0-0-7.internal")
    reason = planned(worker, earlier_reclaims={1: 5}).quarantine_reasons[1]
    assert reason.startswith(QUARANTINE_PREFIX)
    assert "6 times within 7 days" in reason
    assert "internal" not in reason


def counted(asked, *, todo=None, leased=None, quarantined=None, unsent="mine", answered=True):
    written = leased or Written(), quarantined or Written()
    return counts(todo or Plan(), asked, *written, unsent=unsent, answered=answered)


@pytest.mark.parametrize(
    ("asked", "done", "expected"),
    [
        pytest.param(
            3, {"leased": Written([1, 2, 3])}, Counts(), id="a-lease-is-counted-only-once-it-is-sent"
        ),
        pytest.param(
            4,
            {"leased": Written([1], {3: "odd"}), "quarantined": Written([2], {4: "odd"})},
            Counts(quarantined=1, refused=2),
            id="every-outcome-is-counted",
        ),
        pytest.param(
            3,
            {"leased": Written([1])},
            Counts(skipped={"movedOn": 2}),
            id="what-could-not-be-found-or-written-moved-on",
        ),
        pytest.param(0, {}, Counts(), id="an-empty-batch-counts-nothing"),
        pytest.param(0, {"answered": False}, Counts(redis_away=1), id="redis-did-not-answer"),
    ],
)
def test_every_video_of_a_batch_is_counted(asked, done, expected):
    assert counted(asked, **done) == expected


def test_videos_that_moved_on_before_and_after_the_reading_add_up():
    todo = planned(EXPIRED, LEASED, READY, heartbeats={LEASED.id: BEATING})
    did = counted(4, todo=todo)
    assert did == Counts(skipped={"beating": 1, "movedOn": 3})
    assert all(type(reason) is str for reason in did.skipped)


def test_messages_sent_again_are_counted_apart():
    todo = planned(EXPIRED, WAITING, QUARANTINED, criteria=replace(CRITERIA, lost={7}, released=[8]))
    assert counted(3, todo=todo, leased=Written([1, 7, 8])) == Counts(resent=1)
    assert counted(3, todo=todo, leased=Written([1, 8])).resent == 0


@pytest.mark.parametrize(
    ("video", "unsent", "adopted"),
    [
        pytest.param(ORPHAN, "mine", 1, id="the-message-of-a-crashed-run-may-exist"),
        pytest.param(OWN, "mine", 0, id="in-the-first-pass-the-execution-has-sent-none-itself"),
        pytest.param(OWN, None, 1, id="in-the-second-pass-its-own-message-may-exist"),
        pytest.param(EXPIRED, "mine", 0, id="a-video-of-a-worker-is-not-adopted"),
        pytest.param(EXPIRED, None, 0, id="a-video-of-a-worker-is-not-adopted-in-the-second-pass"),
    ],
)
def test_videos_whose_message_may_exist_are_counted(video, unsent, adopted):
    todo = planned(video)
    duplicates = {"adopted": adopted} if adopted else {}
    assert counted(1, todo=todo, leased=Written([video.id]), unsent=unsent) == Counts(duplicates=duplicates)
    assert counted(1, todo=todo, unsent=unsent).duplicates == {}


def told(asked, videos, *, criteria=CRITERIA, leased=None, quarantined=None, **history):
    todo = planned(*videos, criteria=criteria, **history)
    written = leased or Written(), quarantined or Written()
    return list(outcomes(asked, videos, todo, History(**history), *written))


def evidence(video, reason, **more):
    return {"video": video.id, "reason": reason, "holder": video.leased_by, "lease": video.lease, **more}


@pytest.mark.parametrize(
    ("video", "given", "outcome"),
    [
        pytest.param(
            EXPIRED,
            {"leased": Written([1]), "earlier_reclaims": {1: 2}},
            ("reclaimed", evidence(EXPIRED, "leaseExpired", attempt=4)),
            id="reclaimed",
        ),
        pytest.param(
            QUARANTINED,
            {"leased": Written([8]), "criteria": replace(CRITERIA, released=[8])},
            ("released", evidence(QUARANTINED, "released", attempt=1)),
            id="released",
        ),
        pytest.param(
            EXPIRED,
            {"quarantined": Written([1]), "earlier_reclaims": {1: 5}},
            ("quarantined", evidence(EXPIRED, "leaseExpired")),
            id="quarantined",
        ),
        pytest.param(
            EXPIRED,
            {"leased": Written(refused={1: "odd"})},
            ("refused", evidence(EXPIRED, "leaseExpired", error="odd")),
            id="the-reclaim-was-refused",
        ),
        pytest.param(
            EXPIRED,
            {"quarantined": Written(refused={1: "odd"}), "earlier_reclaims": {1: 5}},
            ("refused", evidence(EXPIRED, "leaseExpired", error="odd")),
            id="the-quarantine-was-refused",
        ),
        pytest.param(
            LEASED,
            {"heartbeats": {2: BEATING}},
            ("skipped", evidence(LEASED, "beating")),
            id="skipped-as-no-longer-stale",
        ),
        pytest.param(
            EXPIRED,
            {},
            ("skipped", evidence(EXPIRED, "movedOn")),
            id="skipped-as-it-changed-before-the-write",
        ),
    ],
)
def test_every_video_leaves_a_trace_with_its_evidence(video, given, outcome):
    assert told([video.id], [video], **given) == [outcome]


def test_a_video_that_was_deleted_leaves_a_trace_too():
    assert told([9], []) == [("skipped", {"video": 9, "reason": "movedOn"})]


def test_the_trace_follows_the_order_of_the_batch():
    lines = told([9, 4, 1], [EXPIRED, ORPHAN], leased=Written([1]))
    assert [details["video"] for _, details in lines] == [9, 4, 1]


@pytest.mark.parametrize(
    ("strike", "told_since"),
    [
        pytest.param(STRUCK.strike, {"silent_since": "2023-11-14T22:12:50+00:00"}, id="under-this-lease"),
        pytest.param(Strike(NOW_S - 30, "other"), {}, id="under-another-lease"),
    ],
)
def test_the_evidence_says_since_when_the_heartbeat_is_missing(strike, told_since):
    beats = {2: Heartbeat(present=False, strike=strike)}
    [(_, details)] = told([2], [LEASED], heartbeats=beats)
    assert {key: details[key] for key in details if key == "silent_since"} == told_since


def test_the_evidence_says_since_when_the_video_waits():
    waits = {7: Wait(NOW_S - 900, identity(WAITING))}
    lines = told([7], [WAITING], criteria=replace(CRITERIA, lost={7}), waits=waits, leased=Written([7]))
    waiting_since = "2023-11-14T21:58:20+00:00"
    assert lines == [("reclaimed", evidence(WAITING, "messageLost", waiting_since=waiting_since, attempt=2))]
