import pytest

from video_reclaim.rules.sightings import Look, Seen, Sighting, is_mass_silence, memory_s, see

ROW, OTHER_ROW = "PROCESSING (claim) file", "PROCESSING (another) file"
REDIS_MS = 1_700_000_000_000
THERE = REDIS_MS + 40_000


def sighted(expires_ms, *, row=ROW, since_s=100.0):
    """What is remembered after a look at ``since_s``."""
    return see(row, expires_ms, None, now_s=since_s, redis_ms=REDIS_MS - 60_000).sighting


@pytest.mark.parametrize(
    ("earlier", "now", "unchanged_s", "moved"),
    [
        pytest.param(None, THERE, 0, False, id="never-seen-before"),
        pytest.param(sighted(THERE), THERE, 60, False, id="the-expiry-stands-still"),
        pytest.param(sighted(THERE), THERE + 2_000, 60, False, id="two-readings-of-one-expiry"),
        pytest.param(sighted(THERE), THERE + 2_001, 0, True, id="renewed"),
        pytest.param(sighted(THERE + 240_000), THERE, 0, True, id="renewed-to-an-earlier-expiry"),
        pytest.param(sighted(THERE, row=OTHER_ROW), THERE, 0, False, id="another-claim-or-file"),
        pytest.param(sighted(None), None, 60, False, id="there-was-none-and-is-none"),
        pytest.param(sighted(None), THERE, 0, False, id="the-first-heartbeat"),
        pytest.param(sighted(REDIS_MS - 1), None, 60, False, id="expired-by-its-own-time"),
        pytest.param(sighted(REDIS_MS + 2_001), None, 0, False, id="deleted-before-its-time"),
    ],
)
def test_what_is_seen_has_changed_or_not(earlier, now, unchanged_s, moved):
    seen = see(ROW, now, earlier, now_s=160.0, redis_ms=REDIS_MS)
    assert (seen.unchanged_s, seen.moved, seen.heartbeat_there) == (unchanged_s, moved, now is not None)
    assert seen.sighting.since_s == 160.0 - unchanged_s
    assert seen.sighting.expires_ms == (earlier.expires_ms if unchanged_s else now)


@pytest.mark.parametrize(
    ("expires_ms", "gap_s", "unchanged_s"),
    [
        pytest.param(THERE, 200.0, 200, id="could-be-told-from-another-heartbeat"),
        pytest.param(THERE, 200.1, 0, id="may-be-another-heartbeat-that-ends-at-the-same-time"),
        pytest.param(REDIS_MS - 1, 240.0, 240, id="has-run-out"),
    ],
)
def test_looks_that_are_far_apart_can_t_tell_that_a_heartbeat_stands_still(expires_ms, gap_s, unchanged_s):
    earlier, now = sighted(expires_ms), expires_ms if expires_ms == THERE else None
    given = {"now_s": 100.0 + gap_s, "redis_ms": REDIS_MS, "looked_at_s": 100.0}
    assert see(ROW, now, earlier, **given).unchanged_s == unchanged_s


def test_a_heartbeat_that_others_may_have_deleted_must_be_missing_for_a_beat():
    def look(expires_ms, earlier, now_s):
        return see(ROW, expires_ms, earlier, now_s=now_s, redis_ms=REDIS_MS, deletable=True)

    first = look(None, sighted(REDIS_MS - 1), 160.0)
    assert (first.unchanged_s, first.missing_s, first.may_be_deleted(60)) == (60, 0, True)
    assert first.confirmed_in_s(60) == 20
    second = look(None, first.sighting, 180.0)
    assert (second.unchanged_s, second.missing_s, second.may_be_deleted(60)) == (80, 20, False)
    there = look(THERE, first.sighting, 180.0)
    assert (there.unchanged_s, there.missing_s, there.sighting.missing_since_s) == (0, None, None)
    assert see(ROW, None, sighted(REDIS_MS - 1), now_s=160.0, redis_ms=REDIS_MS).missing_s is None


def test_a_clock_that_is_set_back_only_delays():
    assert see(ROW, None, sighted(None, since_s=200.0), now_s=100.0, redis_ms=0).unchanged_s == 0


@pytest.mark.parametrize(
    ("looked_at_s", "remembered"),
    [
        pytest.param(760.0, True, id="exactly-the-limit-ago"),
        pytest.param(759.9, False, id="longer-ago"),
        pytest.param(None, False, id="never"),
    ],
)
def test_what_was_seen_is_void_after_too_long_without_a_look(looked_at_s, remembered):
    recorded = {7: Sighting(1.0, None, "x")}
    look = Look(
        True, recorded=recorded, looked_at_s=looked_at_s, queue_clear_since_s=2.0, mass_silence_since_s=3.0
    )
    kept = look.void_after(240, now_s=1000.0)
    assert (kept == look) is remembered is not kept.void
    assert remembered or (kept.recorded, kept.queue_clear_since_s, kept.mass_silence_since_s) == (
        {},
        None,
        None,
    )


def test_the_memory_lasts_for_three_rounds_and_a_minute():
    assert (memory_s(1), memory_s(5)) == (240, 960)


def workers(*, silent=0, heard=0, new_without_heartbeat=0, unknown=0):
    return [
        *[Seen(True, True, 20.0)] * silent,
        *[Seen(True, True, 19.9)] * heard,
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
        pytest.param(workers(silent=2, unknown=9), False, id="unknown-is-neither"),
    ],
)
def test_mass_silence(watched, mass):
    assert is_mass_silence(watched, 60) is mass
