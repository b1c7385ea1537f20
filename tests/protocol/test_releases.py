"""An operator releases what the product quarantined, and nothing that failed for another reason."""

import pytest

from dev.chaos.environment import Timing
from dev.chaos.injection import RAISE

OTHER_REASON = "ffmpeg ended with status 1"


@pytest.fixture
def timing():
    return Timing(max_reclaims=1)


@pytest.fixture
def quarantined(stage, academy):
    video = academy.add(until=-1)
    stage.execute("reclaims")
    stage.die(video)
    stage.execute("gives-up")
    assert academy.state(video) == ("FAILED", "", False)
    return video


def fail(academy, video):
    academy.sql("UPDATE video_video SET error_reason = %s WHERE id = %s", (OTHER_REASON, video))


def test_a_quarantined_video_goes_back_to_work(stage, academy, quarantined):
    stage.execute("releases", release=[quarantined])
    assert academy.state(quarantined) == ("UPLOADED", "", False)
    assert academy.sql("SELECT error_reason FROM video_video") == [(None,)]
    assert [(body["video_id"], body["attempt"]) for body in stage.queue.bodies()] == [(quarantined, 1)]
    assert stage.violated() == []


def test_what_failed_for_another_reason_is_not_released(stage, academy, quarantined):
    fail(academy, quarantined)
    stage.execute("releases", release=[quarantined])
    assert academy.state(quarantined)[0] == "FAILED"
    assert not stage.messages()


def test_what_fails_for_another_reason_meanwhile_is_not_released(stage, academy, quarantined):
    """A worker that was thought dead writes its own result just before the release."""
    stage.inject_once("lease for handoff", "before", lambda *_: fail(academy, quarantined))
    stage.execute("releases", release=[quarantined])
    assert academy.sql("SELECT status, error_reason FROM video_video") == [("FAILED", OTHER_REASON)]
    assert not stage.messages()


def test_two_executions_release_once(stage, academy, quarantined):
    def overtake(*_):
        stage.calm()
        stage.execute("second", release=[quarantined])

    stage.inject_once("lease for handoff", "before", overtake)
    stage.execute("first", release=[quarantined])
    assert stage.messages() == [quarantined]


def test_a_redrive_of_an_old_release_does_not_free_what_was_quarantined_again_since(
    stage, academy, quarantined
):
    stage.environment.inject = lambda _i, call, when: (
        RAISE.format("40P01") if (call, when) == ("lease for handoff", "before") else None
    )
    old = stage.execute("fails", release=[quarantined])
    assert old.status == "FAILED"
    stage.calm()
    stage.execute("releases", release=[quarantined])
    for _ in range(2):
        stage.die(quarantined)
        stage.execute()
    assert academy.state(quarantined)[0] == "FAILED"
    old.redrive()
    assert academy.state(quarantined)[0] == "FAILED"
    assert not stage.messages()
