"""A short soak; `make chaos` runs the long one."""

import pytest

from dev.chaos.plan import Plan
from dev.chaos.soak import soak

SEED = 20
FAULTS = 150


@pytest.mark.long
def test_a_soak_breaks_no_rule():
    outcome = soak(Plan(faults=FAULTS, videos=40, workers=4, seed=SEED, minute_s=0.5, limit_s=60))
    shown = [*map(str, outcome.violations), *outcome.story, f"seed {SEED}"]
    assert not outcome.violations, "\n".join(shown)
    assert outcome.faults.total() >= FAULTS
    assert outcome.counts["reclaims"] and outcome.counts["handoffs cleared"]
