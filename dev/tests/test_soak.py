"""A short soak; `make chaos` runs the long one."""

import pytest

from dev.chaos.plan import Plan, RealPlatform
from dev.chaos.soak import soak

SEED = 20
FAULTS = 120


@pytest.mark.long
def test_a_soak_breaks_no_rule():
    plan = Plan(
        FAULTS, videos=30, workers=4, seed=SEED, minute_s=0.33, real_platform=RealPlatform.all(), limit_s=90
    )
    outcome = soak(plan)
    shown = [*map(str, outcome.violations), *outcome.story, f"seed {SEED}"]
    assert not outcome.violations, "\n".join(shown)
    assert outcome.faults.total() >= FAULTS
    assert outcome.counts["reclaims"] and outcome.counts["handoffs cleared"]
    assert outcome.counts["workers: locked"] and outcome.counts["workers: beatDeleted"], (
        "not the real platform"
    )
