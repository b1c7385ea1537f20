"""An operator releases what the product quarantined, and nothing that failed for another reason."""

import pytest

from dev.chaos import verdicts
from dev.chaos.environment import Timing

OTHER_REASON = "ffmpeg ended with status 1"


@pytest.fixture
def timing():
    return Timing(max_reclaims=1, retry_scale=0.0, redis_patience_s=0.5)


@pytest.fixture
def quarantined(stage, academy):
    video = academy.add(until=-1)
    stage.count(video, 1)
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
    rules = [rule for rule in verdicts.RULES if rule is not verdicts.quarantined_after_reclaims]
    assert stage.violated(*rules) == []  # the count before the quarantine was arranged


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
