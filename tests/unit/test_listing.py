from dataclasses import replace

import pytest
from msgspec import UNSET, structs

from dev.testing.videos import CRITERIA, NOW_S, a_video, a_waiting_video
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.listing import MAX_LISTED, findings, judge_all, listing
from video_reclaim.rules.run_record import ListedVideo, RunRecord
from video_reclaim.rules.sightings import Look, Seen, Sighting
from video_reclaim.rules.staleness import Reason
from video_reclaim.rules.view import BLIND, View, compare, most_are_silent, notes

SIGHTING = Sighting(NOW_S - 60, None, "x")
BEATING = Seen(True, True, 0.0, sighting=SIGHTING)
MASS = replace(CRITERIA, mass_silence=True)
NEVER_HEARD, NEVER_EXPIRES = Seen(sighting=SIGHTING), Seen()


def quiet(for_s):
    return Seen(True, False, for_s, sighting=SIGHTING)


def view_of(**by_id):
    return View(Look(True), {int(name[1:]): seen for name, seen in by_id.items()})


def listed(view, found, *, videos=(), criteria=CRITERIA, earlier=None, **request):
    return listing(videos, view, found, ExecutionInput(**request), earlier, criteria)


FOUND = {
    1: Reason.LEASE_EXPIRED,
    2: Reason.SUSPECT,
    3: Reason.ORPHANED,
    4: Reason.TENANT_UNKNOWN,
    5: Reason.BEATING,
}
FIVE = view_of(_1=BEATING, _2=quiet(30.2), _3=Seen(True), _4=NEVER_EXPIRES, _5=BEATING)


def test_the_stale_are_reclaimed_in_order_and_all_are_counted():
    run, ids, confirm_after_s = listed(FIVE, FOUND)
    assert (ids, confirm_after_s) == ([1, 3], 32)
    assert (run.stale, run.spared) == (
        {"leaseExpired": 1, "orphaned": 1},
        {"suspect": 1, "tenantUnknown": 1, "beating": 1},
    )
    assert (run.tenant_unknown, run.left_to_next_run, run.listing_full) == ([4], 0, UNSET)
    assert (run.heartbeats_trusted, run.distrust, run.videos) == (True, UNSET, UNSET)


def test_the_limit_leaves_the_rest_to_the_next_run():
    run, ids, _ = listed(FIVE, FOUND, limit=1)
    assert (ids, run.left_to_next_run) == ([1], 1)


def test_a_dry_run_names_the_videos_and_reclaims_none():
    run, ids, confirm_after_s = listed(FIVE, FOUND, limit=1, dry_run=True)
    assert (ids, confirm_after_s) == ([], 0)
    assert run.videos == [ListedVideo(id_, FOUND[id_]) for id_ in (1, 2, 4, 5)]


def test_a_dry_run_names_a_thousand_videos_stale_ones_first():
    found = dict.fromkeys(range(1, 1_501), Reason.BEATING) | {2_000: Reason.SILENT}
    videos = listed(View(Look(True)), found, dry_run=True).run.videos
    assert (len(videos), videos[0].id, videos[1].id) == (1_000, 2_000, 1)


@pytest.mark.parametrize(
    ("suspects", "criteria", "confirm_after_s"),
    [
        pytest.param([quiet(22.0)], CRITERIA, 40, id="a-beat-is-missing"),
        pytest.param([quiet(50.0), quiet(30.0)], CRITERIA, 32, id="the-last-of-them"),
        pytest.param([quiet(59.5)], CRITERIA, 3, id="whole-seconds"),
        pytest.param([quiet(0.0)], CRITERIA, 24, id="new-without-a-heartbeat"),
        pytest.param([Seen(True, True, 0.0)], CRITERIA, 0, id="new-with-a-heartbeat"),
        pytest.param([quiet(30.0)], MASS, 0, id="no-second-look-tells-more-in-mass-silence"),
    ],
)
def test_a_second_look_comes_when_the_suspects_can_be_judged(suspects, criteria, confirm_after_s):
    view = View(Look(True), dict(enumerate(suspects)))
    found = dict.fromkeys(range(len(suspects)), Reason.SUSPECT)
    assert listed(view, found, criteria=criteria).confirm_after_s == confirm_after_s
    assert listed(view, found, criteria=criteria, earlier=RunRecord()).confirm_after_s == 0, "once a run"


def test_the_second_look_adds_its_stale_videos_and_tells_again_what_is_spared():
    first = listed(FIVE, FOUND).run
    first.expired_but_beating = 7
    second, ids, _ = listed(FIVE, {2: Reason.SILENT, 6: Reason.BEATING}, earlier=first)
    assert (ids, second.expired_but_beating) == ([2], 7)
    assert second.stale == {"leaseExpired": 1, "orphaned": 1, "silent": 1}
    assert second.spared == {"beating": 1}


def test_the_limit_holds_over_both_looks_and_what_it_left_over_counts_once():
    first = listed(FIVE, FOUND, limit=1).run
    second, ids, _ = listed(FIVE, {3: Reason.ORPHANED, 2: Reason.SILENT}, earlier=first, limit=1)
    assert (ids, second.stale, second.left_to_next_run) == ([], {"leaseExpired": 1, "orphaned": 1}, 2)


@pytest.mark.parametrize(
    ("view", "reason", "criteria", "distrust"),
    [
        pytest.param(view_of(_1=BEATING), Reason.BEATING, CRITERIA, UNSET, id="none"),
        pytest.param(BLIND, Reason.BEATING, CRITERIA, "redisAway", id="redis-away"),
        pytest.param(
            view_of(_1=NEVER_HEARD), Reason.HEARTBEAT_UNKNOWN, CRITERIA, "neverHeard", id="never-heard"
        ),
        pytest.param(
            view_of(_1=NEVER_EXPIRES), Reason.HEARTBEAT_UNKNOWN, CRITERIA, "neverExpires", id="never-expires"
        ),
        pytest.param(view_of(_1=quiet(99)), Reason.MASS_SILENCE, MASS, "massSilence", id="mass-silence"),
    ],
)
def test_the_record_says_why_silence_does_not_count(view, reason, criteria, distrust):
    run = listed(view, {1: reason}, criteria=criteria).run
    assert (run.distrust, run.heartbeats_trusted) == (distrust, distrust is UNSET)
    again = listed(view_of(_1=BEATING), {1: Reason.BEATING}, earlier=run).run
    assert (again.distrust, again.heartbeats_trusted) == (distrust, distrust is UNSET), (
        "the worst look counts"
    )


def test_what_is_counted_besides():
    videos = [
        a_video(id=1, lease_expired=True),
        a_video(id=2, lease_expired=True),
        a_video(id=3),
        a_waiting_video(id=4),
        a_waiting_video(id=5),
    ]
    view = view_of(_1=BEATING, _2=quiet(5), _3=BEATING, _4=quiet(70.5), _5=quiet(9))
    run = listed(view, {}, videos=videos).run
    assert (run.expired_but_beating, run.longest_wait_s) == (1, 70.5)
    assert listed(BLIND, {}, videos=videos).run.longest_wait_s is UNSET
    assert listed(view, {}, videos=[videos[0]] * MAX_LISTED).run.listing_full is True


def test_videos_that_merely_wait_have_no_reason():
    videos = [a_waiting_video(id=1), a_waiting_video(id=2), a_video(id=3, status="READY")]
    found = judge_all(videos, view_of(_1=Seen(True), _2=Seen(True)), CRITERIA, lost={2})
    assert found == {2: Reason.MESSAGE_LOST, 3: Reason.MOVED_ON}


def test_each_stale_video_and_each_that_is_left_alone_is_told_with_its_evidence():
    videos = [a_video(id=1, leased_by="w-1", lease="(a)"), a_video(id=2), a_waiting_video(id=3)]
    view = replace(
        view_of(_1=quiet(60), _2=BEATING, _3=quiet(300)), look=Look(True, queue_clear_since_s=NOW_S - 80)
    )
    found = {1: Reason.SUSPECT, 2: Reason.BEATING, 3: Reason.MESSAGE_LOST}
    told = list(findings(videos, view, found))
    assert told == [
        (
            "left alone",
            {
                "video": 1,
                "reason": "suspect",
                "holder": "w-1",
                "lease": "(a)",
                "silent_since": "2023-11-14T22:12:20+00:00",
            },
        ),
        (
            "stale",
            {
                "video": 3,
                "reason": "messageLost",
                "holder": "",
                "lease": "(none)",
                "waiting_since": "2023-11-14T22:08:20+00:00",
                "queue_clear_since": "2023-11-14T22:12:00+00:00",
            },
        ),
    ]


def test_no_more_than_a_thousand_videos_are_told_as_left_alone():
    videos = [a_video(id=n) for n in range(1_100)]
    found = dict.fromkeys(range(1_099), Reason.SUSPECT) | {1_099: Reason.SILENT}
    told = [message for message, _ in findings(videos, BLIND, found)]
    assert (told.count("left alone"), told[-1]) == (1_000, "stale")


class TestViews:
    """What a look at Redis comes to, compared with what it remembers."""

    VIDEO, WAITING = a_video(id=1), a_waiting_video(id=2)

    def look(self, *, heard_ttl_s=9, beat=None, unknown=False, **given):
        expires_s = {2: None} if unknown else {1: beat, 2: None}
        return Look(True, NOW_S, expires_s, heard_ttl_s=heard_ttl_s, **given)

    def remembered(self, **changes):
        first = compare([self.VIDEO, self.WAITING], self.look(beat=NOW_S - 1), CRITERIA)
        return {
            video_id: structs.replace(seen.sighting, since_s=NOW_S - 61, **changes)
            for video_id, seen in first.seen.items()
        }

    @pytest.mark.parametrize(
        ("heard_ttl_s", "beat", "known"),
        [
            pytest.param(9, None, True, id="a-heartbeat-once-moved-here"),
            pytest.param(-2, None, False, id="none-ever-did"),
            pytest.param(-2, NOW_S + 59, True, id="one-moves-now"),
        ],
    )
    def test_silence_counts_only_where_a_heartbeat_of_the_stage_moved(self, heard_ttl_s, beat, known):
        look = self.look(heard_ttl_s=heard_ttl_s, beat=beat, recorded=self.remembered(), looked_at_s=NOW_S)
        view = compare([self.VIDEO, self.WAITING], look, CRITERIA)
        assert (view.of(self.VIDEO).known, view.of(self.WAITING).known) == (known, True)
        assert view.of(self.VIDEO).sighting is not None, "it is remembered all the same"

    def test_only_what_is_new_or_has_changed_is_written(self):
        recorded = self.remembered() | {9: Sighting(1.0, None, "gone")}
        look = self.look(beat=NOW_S + 59, recorded=recorded, looked_at_s=NOW_S)
        view = compare([self.VIDEO, self.WAITING], look, CRITERIA)
        written = notes(view, lost=[], queue_clear_since_s=None, mass_silence=False)
        assert (written.changed, written.ended) == ({1: view.of(self.VIDEO).sighting}, [9])
        assert written.heard

    def test_that_a_message_is_lost_is_noted_without_its_sighting(self):
        look = self.look(recorded=self.remembered(), looked_at_s=NOW_S, unknown=True)
        view = compare([self.VIDEO, self.WAITING], look, CRITERIA)
        written = notes(view, lost=[2], queue_clear_since_s=None, mass_silence=False)
        assert (written.lost, written.changed) == ([2], {})

    @pytest.mark.parametrize(
        ("mass", "before_s", "since_s"), [(True, None, NOW_S), (True, 5.0, 5.0), (False, 5.0, None)]
    )
    def test_since_when_most_are_silent(self, mass, before_s, since_s):
        view = View(Look(True, NOW_S, mass_silence_since_s=before_s))
        written = notes(view, lost=[], queue_clear_since_s=None, mass_silence=mass)
        assert written.mass_silence_since_s == since_s

    def test_most_are_silent_among_those_whose_heartbeats_decide(self):
        videos = [a_video(id=n, lease_expired=n > 2) for n in range(5)]
        view = View(Look(True), {n: quiet(30) for n in range(5)})
        assert most_are_silent(videos, view, CRITERIA)
        assert not most_are_silent(videos[1:], view, CRITERIA)
        assert most_are_silent(videos[1:], view, replace(CRITERIA, spare_beating=True))
        for not_watched in (a_video(id=0, tenant_id=None), a_waiting_video(id=0)):
            assert not most_are_silent([not_watched, *videos[1:3]], view, CRITERIA)
