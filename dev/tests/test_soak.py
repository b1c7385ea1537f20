"""A short soak; `make chaos` runs the long one."""

import pytest

from dev.chaos.environment import Plan
from dev.chaos.soak import soak

SEED = 20
FAULTS = 250


@pytest.mark.long
def test_a_soak_breaks_no_rule():
    outcome = soak(Plan(FAULTS, videos=40, workers=6, seed=SEED))
    shown = [*map(str, outcome.violations), *outcome.story, f"seed {SEED}"]
    assert not outcome.violations, "\n".join(shown)
    assert outcome.faults.total() >= FAULTS
    assert outcome.counts["reclaims"] and outcome.counts["handoffs cleared"] and outcome.counts["resends"]
    assert outcome.counts["workers: locked"] and outcome.counts["workers: beatDeleted"], (
        "not the real platform"
    )
