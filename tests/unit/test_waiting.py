from dataclasses import replace

import pytest

from video_reclaim.rules.staleness import Video
from video_reclaim.rules.waiting import (
    QueueLook,
    Wait,
    Waits,
    gap_limit_s,
    identity,
    lost,
    overdue,
    still_valid,
    track,
)

NOW_S = 1_700_000_000.0
WAITING = Video(
    id=1,
    status="UPLOADED",
    tenant_id=1,
    leased_by="",
    lease="('',…)",
    upload="abc",
    lease_expired=False,
    quarantined=False,
    now_s=NOW_S,
    leased_by_claim=True,
)


def since(ago_s, video=WAITING):
    return Wait(NOW_S - ago_s, identity(video))


def waiting(**ago_s):
    """Waits by id, written as ``_7=900`` for a video 7 that has waited for 900 s."""
    return Waits(now_s=NOW_S, by_id={int(name[1:]): since(ago) for name, ago in ago_s.items()})


@pytest.mark.parametrize(("rate_minutes", "limit_s"), [(1, 300), (4, 300), (5, 960)])
def test_on_a_fast_schedule_every_retry_of_a_user_is_seen(rate_minutes, limit_s):
    assert gap_limit_s(rate_minutes) == limit_s


def test_waits_start_again_after_too_long_without_a_look():
    recorded = {1: since(500)}
    assert still_valid(recorded, NOW_S - 300, now_s=NOW_S, gap_limit_s=300) == recorded
    assert still_valid(recorded, NOW_S - 301, now_s=NOW_S, gap_limit_s=300) == {}
    assert still_valid(recorded, None, now_s=NOW_S, gap_limit_s=300) == {}


def test_a_video_that_is_seen_waiting_for_the_first_time_starts_its_wait():
    waits = track([WAITING], {}, just_retried=())
    assert waits == Waits(now_s=NOW_S, by_id={1: since(0)}, started=[1])
    assert waits.wait_s(1) == 0


def test_a_video_that_waits_unchanged_keeps_its_wait():
    waits = track([WAITING], {1: since(500)}, just_retried=())
    assert waits == Waits(now_s=NOW_S, by_id={1: since(500)})
    assert waits.wait_s(1) == 500


@pytest.mark.parametrize(
    ("changed", "just_retried"),
    [
        pytest.param({"lease": "(other,…)"}, (), id="it-was-claimed-meanwhile"),
        pytest.param({"upload": "def"}, (), id="another-file-was-uploaded"),
        pytest.param({}, {1}, id="a-user-has-just-retried-it"),
    ],
)
def test_a_wait_starts_again(changed, just_retried):
    video = replace(WAITING, **changed)
    waits = track([video], {1: since(500)}, just_retried)
    assert waits == Waits(now_s=NOW_S, by_id={1: since(0, video)}, started=[1])


def test_the_retry_of_another_video_changes_nothing():
    assert track([WAITING], {1: since(500)}, just_retried={2}).started == []


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"status": "PROCESSING"}, id="a-worker-claimed-it"),
        pytest.param({"status": "READY"}, id="it-is-ready"),
        pytest.param({"leased_by": "reclaim:other"}, id="an-execution-hands-it-over"),
    ],
)
def test_a_wait_ends_when_the_video_no_longer_waits(changed):
    waits = track([replace(WAITING, **changed)], {1: since(500)}, just_retried=())
    assert waits == Waits(now_s=0, ended=[1])


def test_a_wait_ends_when_the_video_is_not_there_any_more():
    waits = track([replace(WAITING, id=2)], {1: since(500), 2: since(3)}, just_retried=())
    assert (waits.ended, waits.started, list(waits.by_id)) == ([1], [], [2])


def test_the_latest_reading_is_now():
    videos = [replace(WAITING, id=1, now_s=NOW_S + 2), replace(WAITING, id=2)]
    assert track(videos, {}, just_retried=()).now_s == NOW_S + 2


@pytest.mark.parametrize(
    ("waits", "longest_s"),
    [
        pytest.param(Waits(), 0, id="nothing-waits"),
        pytest.param(waiting(_1=0), 0, id="first-seen-now"),
        pytest.param(waiting(_1=40, _2=60, _3=50), 60, id="the-longest-of-several"),
    ],
)
def test_the_longest_wait(waits, longest_s):
    assert waits.longest_s() == longest_s


def test_a_wait_of_exactly_the_limit_is_overdue_and_the_longest_comes_first():
    waits = waiting(_1=900, _2=899.9, _3=2000, _4=901)
    assert overdue(waits, lost_after_s=900) == [3, 4, 1]


def test_nothing_is_overdue_when_nothing_waits():
    assert overdue(Waits(), lost_after_s=1) == []


EMPTY_FOR_A_MINUTE = QueueLook(NOW_S - 60, None)


@pytest.mark.parametrize(
    ("queue", "found"),
    [
        pytest.param(EMPTY_FOR_A_MINUTE, [1], id="two-looks-60-s-apart-found-the-queue-empty"),
        pytest.param(QueueLook(NOW_S - 59.9, None), [], id="less-than-60-s-apart"),
        pytest.param(QueueLook(NOW_S, None), [], id="only-one-look-found-it-empty"),
        pytest.param(QueueLook(NOW_S + 5, None), [], id="empty-since-a-time-in-the-future"),
        pytest.param(None, [], id="the-queue-is-unknown"),
        pytest.param(QueueLook(None, None), [], id="the-age-of-the-oldest-message-is-unknown"),
        pytest.param(
            QueueLook(None, 1099.9), [1], id="even-the-oldest-message-is-younger-by-more-than-900-s"
        ),
        pytest.param(QueueLook(None, 1100), [], id="the-oldest-message-is-younger-by-exactly-900-s"),
        pytest.param(QueueLook(None, 2000), [], id="a-long-queue-in-which-the-video-merely-waits"),
        pytest.param(QueueLook(None, 0), [1], id="the-oldest-message-has-just-come"),
    ],
)
def test_the_message_of_a_video_that_has_waited_2000_s(queue, found):
    assert lost([1], waiting(_1=2000), queue) == found


def test_each_wait_is_compared_with_the_oldest_message():
    waits = waiting(_1=1500, _2=1900, _3=1000)
    assert lost([2, 1, 3], waits, QueueLook(None, 500)) == [2, 1]


@pytest.mark.parametrize("queue", [EMPTY_FOR_A_MINUTE, QueueLook(None, 0)], ids=["empty", "not-empty"])
def test_only_what_is_overdue_can_be_lost(queue):
    waits = waiting(_1=2000, _2=3000)
    assert lost([2], waits, queue) == [2]
    assert lost([], waits, queue) == []
