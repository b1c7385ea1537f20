"""The demo, played to its end."""

import subprocess
import sys

import pytest

from dev.testing.programs import ROOT
from video_reclaim.rules.staleness import Reason


@pytest.mark.long
def test_every_act_ends_as_it_should_and_the_last_one_tells_why_a_video_was_reclaimed():
    played = subprocess.run(
        [sys.executable, "-m", "dev.local", "demo"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert played.returncode == 0, played.stdout + played.stderr
    last_act = " ".join(played.stdout.partition("-m ops why")[2].split())
    assert Reason.SILENT.meaning in last_act
    assert "leased by worker-" in last_act
