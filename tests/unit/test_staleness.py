from dataclasses import replace

import pytest

from dev.testing.videos import CRITERIA, INSTANCE, NOW_S, a_handoff, a_video, a_waiting_video
from video_reclaim.rules.sightings import NOT_SEEN, Seen
from video_reclaim.rules.staleness import Reason, iso, judge

BEATING, SILENT = Seen(True, True, 0.0), Seen(True, False, 60.0)
HANGING_KEY = Seen(True, True, 60.0)
EXPIRED = a_video(lease_expired=True)
QUARANTINED = a_waiting_video(status="FAILED", quarantined=True)
ORPHAN = a_handoff("crashed", lease_expired=True)
OWN = {"own_token": "mine"}
SPARE, GONE, MASS = {"spare_beating": True}, {"terminated": [INSTANCE]}, {"mass_silence": True}
RELEASED = {"released": [1]}


def reason(video, seen, given=None, lost=()):
    return judge(video, seen, replace(CRITERIA, **given or {}), lost=lost)


@pytest.mark.parametrize(
    ("video", "seen", "given", "expected"),
    [
        pytest.param(a_video(), BEATING, {}, "beating", id="beating"),
        pytest.param(a_video(), Seen(True, True, 21.9), {}, "beating", id="not-yet-due-to-be-renewed"),
        pytest.param(a_video(), Seen(True, True, 22.0), {}, "suspect", id="a-beat-is-missing"),
        pytest.param(a_video(), Seen(True, False, 0.0), {}, "suspect", id="new-without-a-heartbeat"),
        pytest.param(a_video(), Seen(True, False, 59.9), {}, "suspect", id="one-moment-short"),
        pytest.param(a_video(), SILENT, {}, "silent", id="silent-for-exactly-the-limit"),
        pytest.param(a_video(), HANGING_KEY, {}, "silent", id="its-key-outlives-its-worker"),
        pytest.param(a_video(leased_by_claim=False), SILENT, {}, "silent", id="silent-without-a-lease"),
        pytest.param(a_video(), NOT_SEEN, {}, "heartbeatUnknown", id="unknown"),
        pytest.param(a_video(), SILENT, MASS, "massSilence", id="most-are-silent"),
        pytest.param(a_video(), Seen(True, False, 700.0), MASS, "silent", id="most-are-silent-for-long"),
        pytest.param(a_video(), BEATING, MASS, "beating", id="most-are-silent-but-not-this-one"),
        pytest.param(EXPIRED, BEATING, {}, "leaseExpired", id="the-platforms-own-rule"),
        pytest.param(EXPIRED, NOT_SEEN, {}, "leaseExpired", id="an-expired-lease-needs-no-redis"),
        pytest.param(EXPIRED, BEATING, SPARE, "expiredButBeating", id="expired-and-spared"),
        pytest.param(EXPIRED, SILENT, SPARE, "leaseExpired", id="expired-and-silent"),
        pytest.param(EXPIRED, NOT_SEEN, SPARE, "heartbeatUnknown", id="expired-spared-and-unknown"),
        pytest.param(EXPIRED, SILENT, {**SPARE, **MASS}, "massSilence", id="expired-spared-in-mass-silence"),
        pytest.param(a_video(), BEATING, GONE, "workerGone", id="terminated-while-its-key-is-there"),
        pytest.param(a_video(), NOT_SEEN, {**GONE, **MASS}, "workerGone", id="terminated-needs-no-redis"),
        pytest.param(a_video(leased_by="w-1"), BEATING, GONE, "beating", id="another-workers"),
        pytest.param(
            a_video(leased_by_claim=False), BEATING, GONE, "beating", id="the-instance-of-an-earlier-claim"
        ),
        pytest.param(a_video(tenant_id=None), SILENT, GONE, "tenantUnknown", id="without-a-tenant"),
        pytest.param(a_video(status="READY"), SILENT, GONE, "movedOn", id="done"),
        pytest.param(a_video(status="PENDING"), SILENT, {}, "movedOn", id="not-uploaded-yet"),
        pytest.param(ORPHAN, SILENT, {}, "orphaned", id="an-orphan"),
        pytest.param(ORPHAN, Seen(True, False, 59.9), {}, "suspect", id="an-orphan-since-a-moment-ago"),
        pytest.param(ORPHAN, BEATING, {}, "beating", id="an-orphan-whose-first-worker-lives"),
        pytest.param(ORPHAN, HANGING_KEY, {}, "beating", id="an-orphan-whose-workers-key-is-there"),
        pytest.param(ORPHAN, NOT_SEEN, {}, "heartbeatUnknown", id="an-orphan-and-redis-away"),
        pytest.param(a_handoff("other"), Seen(True), OWN, "movedOn", id="somebody-hands-it-over"),
        pytest.param(a_handoff("mine"), BEATING, OWN, "orphaned", id="its-own-a-moment-ago"),
        pytest.param(
            a_handoff("mine", lease_expired=True), BEATING, OWN, "beating", id="its-own-of-days-ago"
        ),
        pytest.param(a_handoff(""), Seen(True), {}, "movedOn", id="a-handoff-with-an-empty-token"),
        pytest.param(a_waiting_video(), Seen(True, False, 9e9), {}, "movedOn", id="merely-waiting"),
        pytest.param(a_waiting_video(tenant_id=None), SILENT, {}, "tenantUnknown", id="waiting-for-nobody"),
        pytest.param(QUARANTINED, SILENT, RELEASED, "released", id="released"),
        pytest.param(QUARANTINED, SILENT, {"released": [2]}, "movedOn", id="another-one-is-released"),
        pytest.param(QUARANTINED, BEATING, RELEASED, "beating", id="released-while-its-worker-lives"),
        pytest.param(
            QUARANTINED, SILENT, {**RELEASED, "started_s": NOW_S - 900}, "movedOn", id="claimed-again-since"
        ),
        pytest.param(
            QUARANTINED, SILENT, {**RELEASED, "started_s": NOW_S - 899}, "released", id="claimed-before"
        ),
        pytest.param(
            a_waiting_video(status="FAILED"), SILENT, RELEASED, "movedOn", id="the-platforms-own-failure"
        ),
    ],
)
def test_judge(video, seen, given, expected):
    assert reason(video, seen, given) == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(Seen(True), "messageLost"), (BEATING, "beating"), (NOT_SEEN, "heartbeatUnknown")],
    ids=["lost", "its-first-worker-lives", "redis-away"],
)
def test_a_waiting_video_whose_message_is_lost(seen, expected):
    assert reason(a_waiting_video(), seen, lost={1}) == expected
    assert reason(a_waiting_video(id=2), seen, lost={1}) == "movedOn"


def test_every_reason_has_a_meaning_of_its_own():
    assert len({member.meaning for member in Reason}) == len(Reason)


def test_times_are_written_in_utc():
    assert iso(NOW_S) == "2023-11-14T22:13:20+00:00"
