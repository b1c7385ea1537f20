import random
from bisect import insort
from math import ceil

import pytest

from dev.testing.videos import CRITERIA, a_video
from video_reclaim.rules.sightings import Look, Seen, memory_s, see
from video_reclaim.rules.view import View, most_are_silent

ROW, OTHER_ROW = "PROCESSING (claim) file", "PROCESSING (another) file"
SEEN_S, NOW_S = 100.0, 160.0
THERE = NOW_S + 40


def look(expires_s, earlier=None, *, at_s=NOW_S, row=ROW, last_s=SEEN_S):
    """Look at a video with this heartbeat, of which ``earlier`` is remembered from the last look."""
    recorded = {} if earlier is None else {7: earlier}
    return see(7, row, Look(True, at_s, {7: expires_s}, recorded, looked_at_s=last_s), 60)


def sighted(expires_s, *, row=ROW, since_s=SEEN_S):
    """What is remembered after a first look at ``since_s``."""
    return look(expires_s, at_s=since_s, row=row).sighting


@pytest.mark.parametrize(
    ("earlier", "now", "unchanged_s", "moved"),
    [
        pytest.param(None, THERE, 0, False, id="never-seen-before"),
        pytest.param(sighted(THERE), THERE, 60, False, id="the-expiry-stands-still"),
        pytest.param(sighted(THERE), THERE + 2, 60, False, id="two-readings-of-one-expiry"),
        pytest.param(sighted(THERE), THERE + 2.1, 17.9, True, id="renewed"),
        pytest.param(sighted(THERE - 45), THERE - 30, 38, True, id="renewed-all-but-a-beat-ago-at-most"),
        pytest.param(sighted(THERE), THERE + 240, 0, True, id="renewed-for-longer"),
        pytest.param(sighted(THERE + 240), THERE, 20, True, id="renewed-to-an-earlier-expiry"),
        pytest.param(sighted(THERE, row=OTHER_ROW), THERE, 0, False, id="another-claim-or-file"),
        pytest.param(sighted(None), None, 60, False, id="there-was-none-and-is-none"),
        pytest.param(sighted(None), THERE, 0, False, id="the-first-heartbeat"),
        pytest.param(sighted(NOW_S + 2.1), None, 0, False, id="deleted-before-its-time"),
    ],
)
def test_what_is_seen_has_changed_or_not(earlier, now, unchanged_s, moved):
    seen = look(now, earlier)
    assert (seen.moved, seen.heartbeat_there) == (moved, now is not None)
    assert seen.unchanged_s == pytest.approx(unchanged_s)
    assert seen.sighting.since_s == pytest.approx(NOW_S - unchanged_s)
    assert seen.sighting.expires_s == (earlier.expires_s if unchanged_s and not moved else now)


def test_a_worker_that_died_before_a_look_is_silent_a_minute_after_its_last_heartbeat():
    died = look(THERE - 10, sighted(THERE - 45))  # set 30 s ago, or earlier: no living worker's
    assert died.told_in_s(60) == 30
    assert look(None, died.sighting, at_s=NOW_S + 32, last_s=NOW_S).unchanged_s == 62


@pytest.mark.parametrize(
    ("since_s", "last_s", "unchanged_s"),
    [
        pytest.param(100.0, 100.0, 38, id="all-but-a-beat"),
        pytest.param(130.0, 130.0, 30, id="not-longer-than-it-was-seen"),
        pytest.param(100.0, 121.9, 38, id="there-but-not-for-a-beat"),
        pytest.param(100.0, 122.0, 60, id="it-stood-still-for-a-beat-before"),
    ],
)
def test_a_heartbeat_that_has_run_out_may_be_one_that_another_worker_deleted(since_s, last_s, unchanged_s):
    for expires_s in (NOW_S - 1, NOW_S + 2):
        first = look(None, sighted(expires_s, since_s=since_s), last_s=last_s)
        assert (first.unchanged_s, first.moved) == (unchanged_s, False)
        second = look(None, first.sighting, at_s=NOW_S + 22, last_s=NOW_S)
        assert second.unchanged_s == unchanged_s + 22
        assert look(THERE + 60, first.sighting, at_s=NOW_S + 22, last_s=NOW_S).unchanged_s == 0


@pytest.mark.parametrize(
    ("gap_s", "unchanged_s"),
    [
        pytest.param(200.0, 200, id="could-be-told-from-another-heartbeat"),
        pytest.param(200.1, 0, id="may-be-another-heartbeat-that-ends-at-the-same-time"),
    ],
)
def test_looks_that_are_far_apart_can_t_tell_that_a_heartbeat_stands_still(gap_s, unchanged_s):
    lasts = THERE + 240
    assert look(lasts, sighted(lasts), at_s=SEEN_S + gap_s).unchanged_s == unchanged_s
    assert look(lasts, sighted(lasts), at_s=SEEN_S + gap_s, last_s=SEEN_S + 60).unchanged_s == pytest.approx(
        gap_s
    )


def test_a_clock_that_is_set_back_only_delays():
    assert look(None, sighted(None, since_s=200.0)).unchanged_s == 0


def test_a_video_whose_heartbeat_redis_did_not_tell_is_unknown():
    assert see(8, ROW, Look(True, NOW_S, {7: None}), 60) == Seen()


def test_the_memory_lasts_for_three_rounds_and_a_minute():
    assert (memory_s(1), memory_s(5)) == (240, 960)


def workers(*, silent=0, heard=0, new_without_heartbeat=0, unknown=0):
    return [
        *[Seen(True, True, 22.0)] * silent,
        *[Seen(True, True, 21.9)] * heard,
        *[Seen(True, False, 0.0)] * new_without_heartbeat,
        *[Seen(False, False, 900.0)] * unknown,
    ]


@pytest.mark.parametrize(
    ("watched", "mass"),
    [
        pytest.param(workers(silent=3), True, id="three-and-nobody-is-heard"),
        pytest.param(workers(silent=2), False, id="two-are-no-mass"),
        pytest.param(workers(silent=4, heard=3), True, id="more-silent-than-heard"),
        pytest.param(workers(silent=4, heard=4), False, id="as-many-silent-as-heard"),
        pytest.param(workers(silent=3, new_without_heartbeat=9), True, id="a-new-claim-is-neither"),
        pytest.param(
            [*workers(silent=3), *[Seen(True, True)] * 9], True, id="seen-for-the-first-time-is-neither"
        ),
        pytest.param([*workers(silent=3), *[Seen(True, True, moved=True)] * 3], False, id="moved-is-heard"),
        pytest.param([Seen(True, True, 22.0, moved=True)] * 3, True, id="unless-it-moved-too-long-ago"),
        pytest.param(workers(silent=2, unknown=9), False, id="unknown-is-neither"),
    ],
)
def test_mass_silence(watched, mass):
    view = View(Look(True), dict(enumerate(watched)))
    assert most_are_silent([a_video(id=n) for n in view.seen], view, CRITERIA) is mass


LASTS_S = 4_000


def story(chance):
    """A living worker's heartbeats, what others do to the same key about once a minute, and the schedule's runs."""

    def every(least_s, most_s):
        at_s = chance.uniform(0, most_s)
        while at_s < LASTS_S:
            yield at_s
            at_s += chance.uniform(least_s, most_s)

    beats = [(at_s, 60) for at_s in every(20, 21.5)]
    records = [(at_s + chance.uniform(0, 15), 300) for at_s, _ in beats if chance.random() < 0.3]
    others = [(at_s, chance.choice([None, None, 60, 300])) for at_s in every(61, 150)]
    runs = [(at_s + chance.uniform(0, 60), "run") for at_s in every(60, 60)]
    return sorted([*beats, *records, *others, *runs], key=lambda one: one[0])


@pytest.mark.parametrize("seed", range(100))
def test_a_living_worker_is_never_silent_whatever_another_does_to_its_key_once_a_minute(seed):
    due, expires_s, recorded, last_s = story(random.Random(seed)), None, {}, 0.0
    while due[0][0] < LASTS_S - 60:
        at_s, event = due.pop(0)
        if event is None or not isinstance(event, str):
            expires_s = at_s + event if event else None
            continue
        expires_s = None if expires_s is not None and expires_s <= at_s else expires_s
        if at_s - last_s > memory_s(1):
            recorded = {}
        seen = see(7, ROW, Look(True, at_s, {7: expires_s}, recorded, looked_at_s=last_s), 60)
        assert seen.unchanged_s < 60, f"silent at {at_s}"
        recorded, last_s = {7: seen.sighting}, at_s
        if event == "run" and (not seen.heartbeat_there or seen.is_quiet(60)):
            insort(due, (at_s + ceil(seen.told_in_s(60)) + 2, "second look"), key=lambda one: one[0])
