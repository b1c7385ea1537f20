from dataclasses import replace

import pytest

from dev.testing.videos import CRITERIA, NOW_S, a_handoff, a_video, a_waiting_video
from video_reclaim.rules.counts import Counts
from video_reclaim.rules.platform import QUARANTINE_PREFIX
from video_reclaim.rules.reclaiming import (
    Tally,
    Written,
    claims_found_dead,
    counts,
    judge_batch,
    outcomes,
    plan,
    quarantines_due,
)
from video_reclaim.rules.sightings import Look, Seen, Sighting
from video_reclaim.rules.staleness import Reason
from video_reclaim.rules.view import View

DEAD = a_video(id=1)
BEATING = a_video(id=2)
ORPHAN = a_handoff("crashed", id=3, lease_expired=True)
OWN = a_handoff("mine", id=4)
WAITING = a_waiting_video(id=5)
QUARANTINED = a_waiting_video(id=6, status="FAILED", quarantined=True)
SILENT = Seen(True, False, 90.0, sighting=Sighting(NOW_S - 90, None, "x"))
LOST = Seen(True, False, 400.0, sighting=Sighting(NOW_S - 400, None, "x"))
VIEW = View(
    Look(True, lost=frozenset({5})),
    {1: SILENT, 2: Seen(True, True), 3: SILENT, 4: Seen(True, True), 5: LOST, 6: Seen(True)},
)
REASONS = {
    1: Reason.SILENT,
    2: Reason.BEATING,
    3: Reason.ORPHANED,
    4: Reason.ORPHANED,
    5: Reason.MESSAGE_LOST,
    6: Reason.RELEASED,
}
ALL = [DEAD, BEATING, ORPHAN, OWN, WAITING, QUARANTINED]
TALLY = Tally({1: 3, 3: 2, 4: 1, 5: 1, 6: 0}, {5}, answered=True)


def planned(*videos, tally=TALLY, due=(), granted=()):
    reasons = {video.id: REASONS[video.id] for video in videos}
    return plan(videos, reasons, tally, due=set(due), granted=set(granted))


def test_a_batch_is_judged_by_the_rule_of_the_listing():
    criteria = replace(CRITERIA, own_token="mine", released=[6])
    assert judge_batch(ALL, VIEW, criteria) == REASONS


def test_only_claims_that_are_found_dead_are_counted():
    assert claims_found_dead(ALL, REASONS) == {1: "file (claim)"}
    for reason in (Reason.LEASE_EXPIRED, Reason.WORKER_GONE):
        assert claims_found_dead([DEAD], {1: reason}) == {1: "file (claim)"}


@pytest.mark.parametrize(
    ("reclaims", "max_reclaims", "due"),
    [
        pytest.param(5, 5, [], id="as-often-as-allowed"),
        pytest.param(6, 5, [1], id="once-more"),
        pytest.param(2, 1, [1], id="a-limit-of-one"),
        pytest.param(500, 0, [], id="no-limit"),
        pytest.param(None, 1, [], id="an-unknown-number"),
    ],
)
def test_a_video_that_was_reclaimed_too_often_is_due_for_quarantine(reclaims, max_reclaims, due):
    tally = Tally({} if reclaims is None else {1: reclaims, 3: 99, 5: 99, 6: 99}, answered=True)
    assert quarantines_due(REASONS, tally, max_reclaims=max_reclaims) == due


def test_what_is_stale_is_leased():
    todo = planned(*ALL)
    assert todo.lease == [DEAD, ORPHAN, OWN, WAITING, QUARANTINED]
    assert (todo.quarantine, todo.over_limit, todo.reasons) == ([], set(), REASONS)


def test_a_lost_message_that_another_execution_took_is_left_to_that_one():
    todo = planned(WAITING, tally=Tally(answered=True))
    assert (todo.lease, todo.reasons) == ([], {5: Reason.MOVED_ON})


def test_silence_is_unknown_in_a_redis_that_takes_no_count():
    reasons = {1: Reason.SILENT, 2: Reason.LEASE_EXPIRED}
    todo = plan([DEAD, a_video(id=2)], reasons, Tally(), due=(), granted=())
    assert [video.id for video in todo.lease] == [2]
    assert todo.reasons[1] == "heartbeatUnknown"


def test_what_may_be_quarantined_is_and_the_rest_is_put_back_and_told():
    other = a_video(id=2)
    todo = plan([DEAD, other], {1: Reason.SILENT, 2: Reason.SILENT}, TALLY, due=[1, 2], granted=[1])
    assert (todo.quarantine, todo.lease, todo.over_limit) == ([DEAD], [other], {2})


@pytest.mark.parametrize(
    ("video", "tally", "attempt"),
    [
        pytest.param(DEAD, TALLY, 4, id="the-third-reclaim"),
        pytest.param(DEAD, Tally(answered=True), 2, id="an-unknown-number-is-this-one"),
        pytest.param(ORPHAN, TALLY, 3, id="an-adoption-counts-nothing"),
        pytest.param(WAITING, TALLY, 2, id="a-lost-message-counts-nothing"),
        pytest.param(QUARANTINED, TALLY, 1, id="a-release-starts-again"),
    ],
)
def test_the_attempt_is_one_more_than_the_reclaims(video, tally, attempt):
    assert planned(video, tally=tally).attempt(video.id) == attempt


def test_the_users_of_a_quarantined_video_read_a_sentence_that_names_no_host():
    worker = a_video(leased_by="ip-10-0-0-7.internal")
    (text,) = planned(worker, granted=[1]).error_reasons().values()
    assert text.startswith(f"{QUARANTINE_PREFIX}: 3 times within 7 days. ")
    assert "internal" not in text


def counted(todo, asked, *, leased=(), refused=(), quarantined=(), unsent="mine", answered=True):
    written = Written(list(leased), dict.fromkeys(refused, "odd"))
    return counts(todo, asked, written, Written(list(quarantined)), unsent=unsent, answered=answered)


@pytest.mark.parametrize(
    ("todo", "asked", "done", "expected"),
    [
        pytest.param(planned(DEAD), 1, {"leased": [1]}, Counts(), id="a-lease-counts-when-it-is-sent"),
        pytest.param(planned(DEAD), 1, {"refused": [1]}, Counts(refused=1), id="refused"),
        pytest.param(
            planned(DEAD, granted=[1]), 1, {"quarantined": [1]}, Counts(quarantined=1), id="quarantined"
        ),
        pytest.param(
            planned(DEAD, ORPHAN, due=[1]),
            2,
            {"leased": [1, 3]},
            Counts(over_limit=1, duplicates={"adopted": 1}),
            id="put-back-over-the-limit",
        ),
        pytest.param(
            planned(DEAD, BEATING),
            4,
            {},
            Counts(skipped={"beating": 1, "movedOn": 3}),
            id="deleted-or-changed",
        ),
        pytest.param(planned(WAITING, DEAD), 2, {"leased": [1, 5]}, Counts(resent=1), id="sent-again"),
        pytest.param(planned(), 0, {"answered": False}, Counts(redis_away=1), id="redis-away"),
        pytest.param(
            planned(OWN), 1, {"leased": [4]}, Counts(), id="its-own-has-no-message-in-the-first-pass"
        ),
        pytest.param(
            planned(OWN),
            1,
            {"leased": [4], "unsent": None},
            Counts(duplicates={"adopted": 1}),
            id="its-own-may-have-one-in-the-second-pass",
        ),
    ],
)
def test_every_video_of_a_batch_is_counted(todo, asked, done, expected):
    assert counted(todo, asked, **done) == expected


@pytest.mark.parametrize(
    ("video", "given", "written", "message", "more"),
    [
        pytest.param(DEAD, {}, {"leased": Written([1])}, "reclaimed", {"attempt": 4}, id="reclaimed"),
        pytest.param(
            DEAD,
            {"due": [1]},
            {"leased": Written([1])},
            "reclaimed",
            {"attempt": 4, "over_limit": True},
            id="reclaimed-over-the-limit",
        ),
        pytest.param(QUARANTINED, {}, {"leased": Written([6])}, "released", {"attempt": 1}, id="released"),
        pytest.param(
            DEAD, {"granted": [1]}, {"quarantined": Written([1])}, "quarantined", {}, id="quarantined"
        ),
        pytest.param(
            DEAD, {}, {"leased": Written(refused={1: "odd"})}, "refused", {"error": "odd"}, id="refused"
        ),
        pytest.param(BEATING, {}, {}, "skipped", {}, id="no-longer-stale"),
        pytest.param(DEAD, {}, {}, "skipped", {"reason": "movedOn"}, id="changed-before-the-write"),
    ],
)
def test_every_video_leaves_a_trace_with_its_evidence(video, given, written, message, more):
    done = {"leased": Written(), "quarantined": Written()} | written
    [(told, details)] = outcomes([video.id], [video], planned(video, **given), VIEW, **done)
    expected = {
        "video": video.id,
        "reason": REASONS[video.id],
        "holder": video.leased_by,
        "lease": video.lease,
    }
    since = {"silent_since": "2023-11-14T22:11:50+00:00"} if video is DEAD else {}
    assert (told, details) == (message, expected | since | more)


def test_the_trace_follows_the_batch_and_has_what_was_deleted():
    lines = list(outcomes([9, 3, 1], [DEAD, ORPHAN], planned(DEAD, ORPHAN), VIEW, Written([1]), Written()))
    assert [(message, details["video"]) for message, details in lines] == [
        ("skipped", 9),
        ("skipped", 3),
        ("reclaimed", 1),
    ]
    assert lines[0][1] == {"video": 9, "reason": "movedOn"}
