import pytest
from msgspec import structs

from dev.testing.videos import CRITERIA, NOW_S, a_handoff, a_video, a_waiting_video
from video_reclaim.rules.sightings import Look, Seen, Sighting
from video_reclaim.rules.view import View, compare
from video_reclaim.rules.waiting import Depth, Proof, needs_look_at_queue, prove, still_lost

EMPTY = Depth(0, 0, 0)
PROVED_S = NOW_S - 60


def view_of(videos, *, waited_s=300.0, lost=False, expires_s=None, unknown=False, **look):
    """A view in which these videos have been seen unchanged for so long, by what a first look remembers."""
    beats = {} if unknown else dict.fromkeys([video.id for video in videos], expires_s)
    first = compare(videos, Look(True, NOW_S, beats, heard_ttl_s=9), CRITERIA)
    recorded = {
        video_id: structs.replace(seen.sighting, since_s=NOW_S - waited_s)
        for video_id, seen in first.seen.items()
        if seen.sighting
    }
    look |= {"looked_at_s": NOW_S - 60, "lost": frozenset(recorded if lost else ())}
    now = Look(True, NOW_S, beats, recorded, heard_ttl_s=9, **look)
    return compare(videos, now, CRITERIA)


def proof(videos, depth=EMPTY, since_s=PROVED_S, **given):
    view = view_of(videos, queue_clear_since_s=since_s, **given)
    return prove(videos, view, depth, lost_after_s=300)


WAITING, WITHOUT_LEASE = a_waiting_video(), a_video(id=2, leased_by_claim=False)


@pytest.mark.parametrize(
    ("depth", "since_s", "expected"),
    [
        pytest.param(EMPTY, None, Proof(NOW_S), id="the-first-look"),
        pytest.param(EMPTY, NOW_S - 59, Proof(NOW_S - 59), id="too-early-for-the-second"),
        pytest.param(EMPTY, PROVED_S, Proof(None, (1,)), id="two-looks-a-minute-apart"),
        pytest.param(Depth(1, 0, 0), PROVED_S, Proof(), id="a-message-waits"),
        pytest.param(Depth(0, 0, 1), PROVED_S, Proof(), id="a-message-is-delayed"),
        pytest.param(Depth(0, 1, 0), PROVED_S, Proof(None, (1,)), id="held-by-the-worker-without-a-lease"),
        pytest.param(Depth(0, 2, 0), PROVED_S, Proof(), id="more-in-flight-than-such-workers"),
        pytest.param(None, PROVED_S, Proof(), id="unknown"),
    ],
)
def test_a_message_is_lost_when_the_queue_could_not_hold_it_in_two_looks(depth, since_s, expected):
    videos = [WAITING, WITHOUT_LEASE, a_video(id=3)]
    assert proof(videos, depth, since_s) == expected


@pytest.mark.parametrize(
    ("video", "given"),
    [
        pytest.param(WAITING, {"waited_s": 299.9}, id="waits-for-less"),
        pytest.param(WAITING, {"retried": frozenset({1})}, id="a-user-has-just-retried-it"),
        pytest.param(WAITING, {"expires_s": NOW_S + 40}, id="its-first-worker-lives"),
        pytest.param(WAITING, {"unknown": True}, id="its-heartbeat-never-expires"),
        pytest.param(a_waiting_video(tenant_id=None), {}, id="no-message-can-be-written"),
        pytest.param(a_handoff("somebody"), {}, id="somebody-hands-it-over"),
        pytest.param(a_video(), {}, id="a-worker-has-it"),
    ],
)
def test_nothing_else_proves_a_loss(video, given):
    assert proof([video], **given) == Proof(PROVED_S)
    assert still_lost([video], view_of([video], lost=True, **given), lost_after_s=300) == set()


def test_the_longest_wait_comes_first_and_a_hundred_are_enough():
    videos = [a_waiting_video(id=n) for n in range(1, 121)]
    look = Look(True, NOW_S, queue_clear_since_s=PROVED_S)
    view = View(look, {video.id: Seen(True, False, 300.0 + video.id) for video in videos})
    lost = prove(videos, view, EMPTY, lost_after_s=300).lost
    assert list(lost) == list(range(120, 20, -1))


@pytest.mark.parametrize(
    ("lost", "expected"),
    [(True, {1}), (False, set())],
    ids=["the-last-listing-found-it-lost", "no-listing-did"],
)
def test_a_reclaim_asks_what_the_last_listing_found(lost, expected):
    assert still_lost([WAITING], view_of([WAITING], lost=lost), lost_after_s=300) == expected


def test_the_queue_is_looked_at_when_a_video_was_waiting_at_an_earlier_look():
    assert needs_look_at_queue([WAITING], view_of([WAITING], waited_s=1))
    assert not needs_look_at_queue([WAITING], view_of([WAITING], waited_s=0))
    assert not needs_look_at_queue([a_video()], view_of([a_video()]))


def test_a_sighting_of_another_claim_is_not_this_wait():
    look = Look(
        True,
        NOW_S,
        {1: None},
        recorded={1: Sighting(0.0, None, "other")},
        lost=frozenset({1}),
        looked_at_s=NOW_S,
    )
    assert still_lost([WAITING], compare([WAITING], look, CRITERIA), lost_after_s=300) == set()
