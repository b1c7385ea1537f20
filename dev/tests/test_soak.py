"""A short soak; `make chaos` runs the long one."""

import pytest

from dev.chaos.environment import SoakPlan
from dev.chaos.soak import soak

PLAN = SoakPlan(faults=150, videos=40, workers=6, seed=20)


@pytest.mark.long
def test_a_soak_breaks_no_rule_and_is_repeated_by_its_seed():
    outcome = soak(PLAN)
    shown = [*map(str, outcome.violations), *outcome.story, str(PLAN)]
    assert not outcome.violations, "\n".join(shown)
    assert outcome.faults.total() >= PLAN.faults
    counts = outcome.counts
    assert counts["reclaims"] and counts["handoffs cleared"] and counts["resends"]
    assert counts["workers: locked"] and counts["workers: beatDeleted"], "not the real platform"
    assert soak(PLAN) == outcome
