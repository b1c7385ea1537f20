"""A listing in pages: what is counted over all of them, and what is kept."""

from dataclasses import replace

import pytest

from video_reclaim.rules.execution_input import MAX_VIDEOS_PER_RUN
from video_reclaim.rules.staleness import UNKNOWN_HEARTBEAT, Criteria, Heartbeat, Reason, Strike, Video
from video_reclaim.rules.survey import Survey

NOW_S = 1_700_000_000.0
LEASED = Video(
    id=7,
    status="PROCESSING",
    tenant_id=1,
    leased_by="w-7",
    lease="(w-7,…)",
    upload="abc",
    lease_expired=False,
    quarantined=False,
    now_s=NOW_S,
    leased_by_claim=True,
)
BEATING = Heartbeat(present=True)
SILENT = Heartbeat(present=False)
STRUCK = Heartbeat(present=False, strike=Strike(NOW_S - 60, LEASED.lease))


def surveyed(*pages, confirm_s=30, mass_s=600):
    """A survey of pages, given as videos and their heartbeats by id."""
    survey = Survey(Criteria(confirm_s), mass_s)
    for videos, heartbeats in pages:
        survey.add(videos, heartbeats)
    return survey


def fleet(workers, **fields):
    return [replace(LEASED, id=i, leased_by=f"w-{i}", **fields) for i in range(workers)]


def all_silent(videos):
    return {video.id: SILENT for video in videos}


@pytest.mark.parametrize(
    ("workers", "seconds"),
    [
        pytest.param(0, 30, id="no-worker"),
        pytest.param(4, 30, id="four-workers-may-all-have-died"),
        pytest.param(5, 600, id="five-workers-do-not-all-die-at-once"),
        pytest.param(20, 600, id="twenty-workers-do-not-either"),
    ],
)
def test_when_no_worker_is_heard_silence_counts_later(workers, seconds):
    videos = fleet(workers)
    assert surveyed((videos, all_silent(videos))).confirm_silence_s == seconds


@pytest.mark.parametrize(
    ("videos", "heartbeats"),
    [
        pytest.param(fleet(6), {5: BEATING}, id="one-worker-is-heard"),
        pytest.param(fleet(5), {0: UNKNOWN_HEARTBEAT}, id="unknown-is-not-silent"),
        pytest.param(fleet(5), {4: None}, id="absent-is-not-silent"),
        pytest.param(
            [replace(video, leased_by="w-1") for video in fleet(9)],
            {},
            id="videos-of-one-worker-are-one-worker",
        ),
        pytest.param(
            [replace(video, leased_by="") for video in fleet(9)],
            {},
            id="claims-without-a-lease-name-no-worker",
        ),
        pytest.param(
            [*fleet(4), replace(LEASED, id=9, leased_by="")],
            {},
            id="a-claim-without-a-lease-is-no-fifth-worker",
        ),
        pytest.param(fleet(9, lease_expired=True), {}, id="an-expired-lease-says-nothing-about-a-worker"),
    ],
)
def test_silence_is_no_mass_silence(videos, heartbeats):
    beats = {id_: beat for id_, beat in (all_silent(videos) | heartbeats).items() if beat}
    assert surveyed((videos, beats)).confirm_silence_s == 30


def test_a_worker_without_a_lease_that_is_heard_ends_the_mass_silence():
    videos = [*fleet(5), replace(LEASED, id=9, leased_by="")]
    beats = all_silent(videos) | {9: BEATING}
    assert surveyed((videos, beats)).confirm_silence_s == 30


def test_mass_silence_never_counts_earlier_than_silence():
    videos = fleet(5)
    assert surveyed((videos, all_silent(videos)), confirm_s=900).confirm_silence_s == 900


def pages_of(videos, heartbeat, *, of=3):
    return [
        (videos[i : i + of], {video.id: heartbeat for video in videos[i : i + of]})
        for i in range(0, len(videos), of)
    ]


def test_silence_over_all_pages_is_mass_silence_and_counts_later():
    survey = surveyed(*pages_of(fleet(6), STRUCK))
    assert survey.confirm_silence_s == 600
    assert survey.found.counts == {Reason.SILENT_ONCE: 6}
    assert survey.found.stale == {}


def test_one_heartbeat_on_the_last_page_ends_the_mass_silence_of_the_pages_before_it():
    survey = surveyed(*pages_of(fleet(6), STRUCK), ([replace(LEASED, id=99)], {99: BEATING}))
    assert survey.confirm_silence_s == 30
    assert survey.found.counts == {Reason.SILENT_TWICE: 6, Reason.BEATING: 1}
    assert list(survey.found.stale) == [0, 1, 2, 3, 4, 5]


def test_counts_are_those_of_all_pages_in_order():
    expired = [replace(LEASED, id=id_, lease_expired=True) for id_ in (5, 3, 4, 1)]
    survey = surveyed(*pages_of(expired, BEATING, of=2), ([replace(LEASED, id=2)], {2: BEATING}))
    assert list(survey.found.stale) == [5, 3, 4, 1]
    assert survey.found.counts == {Reason.LEASE_EXPIRED: 4, Reason.BEATING: 1}
    assert survey.expired_but_beating == 4


@pytest.mark.parametrize("unknown_page", [0, 1, 2])
def test_one_unknown_heartbeat_on_any_page_is_enough_not_to_trust_them(unknown_page):
    pages = [([replace(LEASED, id=id_)], {id_: BEATING}) for id_ in range(3)]
    assert surveyed(*pages).trusted
    pages[unknown_page] = (pages[unknown_page][0], {})
    assert not surveyed(*pages).trusted


def test_a_page_tells_what_is_known_by_then():
    survey = Survey(Criteria(0), 600)
    assert set(survey.add(fleet(3), all_silent(fleet(3))).values()) == {Reason.SILENT_TWICE}
    assert set(survey.add(fleet(6), all_silent(fleet(6))).values()) == {Reason.SILENT_ONCE}


def test_of_very_many_videos_only_the_first_are_kept_and_all_are_counted():
    survey, expired = Survey(Criteria(30), 600), replace(LEASED, lease_expired=True)
    for start in range(0, 3 * MAX_VIDEOS_PER_RUN, 5_000):
        page = [replace(expired, id=start + i) for i in range(5_000)]
        survey.add(page, {})
        survey.add([replace(LEASED, id=-1 - start - i, tenant_id=None) for i in range(200)], {})
    found = survey.found
    assert list(found.stale) == list(range(MAX_VIDEOS_PER_RUN))
    assert (len(found.spared), len(found.tenant_unknown)) == (1_000, 100)
    assert found.counts == {Reason.LEASE_EXPIRED: 30_000, Reason.TENANT_UNKNOWN: 1_200}
