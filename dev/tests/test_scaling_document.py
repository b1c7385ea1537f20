"""What docs/scaling.md says of the tables that `make simulate` writes holds in these tables."""

import re
from itertools import product
from pathlib import Path

from dev.bench.report import END, begin
from dev.simulation.__main__ import COMMAND, PLACE
from dev.simulation.fleet import SURVIVE
from dev.simulation.policies import BUILDKITE, IDLE_AGENTS, MAXIMUM, PLATFORM, RECLAIM
from dev.simulation.report import COST, CURVE_TRACES, WAIT
from dev.simulation.traces import COMPARED

DOCUMENT = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
FIRST_FIVE = list(COMPARED)[:5]
DIURNAL, MASS = "diurnal with bursts", "mass upload"
SPARSE, DEAD = "sparse, minimum 0", "boots without a worker"


def rows(heading):
    """The rows of the table under a heading, each by its columns, without intervals."""
    written = DOCUMENT[DOCUMENT.index(begin(PLACE, COMMAND)) : DOCUMENT.index(END)]
    part = written[written.index(f"### {heading}\n") :].split("\n### ")[0]
    titles, _, *lines = (re.sub(r" ± [\d.]+", "", line) for line in part.splitlines() if line.startswith("|"))
    split = lambda line: [cell.strip() for cell in line.strip("|").split("|")]  # noqa: E731
    return [dict(zip(split(titles), split(line), strict=True)) for line in lines]


COMPARISON = {(row["trace"], row["policy"]): row for row in rows("Protected and hooked groups")}


def wait(trace, policy, safety):
    return float(COMPARISON[trace, policy][f"{WAIT}, {safety}"])


def cost(trace, policy, safety):
    return float(COMPARISON[trace, policy][f"{COST}, {safety}"])


def test_waits_are_short_but_where_the_maximum_rules():
    assert max(wait(trace, RECLAIM, safety) for trace in set(FIRST_FIVE) - {MASS} for safety in SURVIVE) <= 2
    assert wait(MASS, MAXIMUM, "hooked") > 100


def test_rivals_of_a_protected_group_wait_longer_and_cost_less():
    for trace in FIRST_FIVE:
        for rival in (BUILDKITE, IDLE_AGENTS):
            assert wait(trace, rival, "protected") > wait(trace, RECLAIM, "protected")
            assert cost(trace, rival, "protected") <= cost(trace, RECLAIM, "protected")
        assert cost(trace, BUILDKITE, "protected") < cost(trace, RECLAIM, "protected")


def test_a_rival_that_counts_draining_instances_costs_more_and_waits_less():
    for trace in CURVE_TRACES:
        assert cost(trace, BUILDKITE, "hooked") > cost(trace, RECLAIM, "hooked")
        assert wait(trace, BUILDKITE, "hooked") < wait(trace, RECLAIM, "hooked")


def test_a_minimum_of_zero():
    for safety, rival in product(SURVIVE, (BUILDKITE, IDLE_AGENTS)):
        assert cost(SPARSE, RECLAIM, safety) <= 1.15 * cost(SPARSE, rival, safety)
        assert 3.5 < wait(SPARSE, RECLAIM, safety) < 4.5 <= wait(SPARSE, rival, safety)


def test_boots_without_a_worker():
    ours = wait(DEAD, RECLAIM, "protected")
    assert ours > 5 * wait(DIURNAL, RECLAIM, "protected") and ours > 2 * wait(DEAD, RECLAIM, "hooked")
    assert min(wait(DEAD, rival, "protected") for rival in (BUILDKITE, IDLE_AGENTS)) > 0.9 * ours


def test_unprotected_groups_lose_few_workers_and_the_platforms_policy_loses_many():
    unprotected = {row["policy"]: row for row in rows("Unprotected groups")}
    ended = {name: re.findall(r"[\d.]+", row["busy ended a day"]) for name, row in unprotected.items()}
    assert float(ended[RECLAIM][1]) <= 0.1 and float(ended[PLATFORM][0]) >= 1
    assert (
        2 < float(unprotected[RECLAIM][COST].split()[-1]) / cost("phantom rows", RECLAIM, "protected") < 2.1
    )
    assert min(wait(trace, PLATFORM, safety) for trace in (DIURNAL, MASS) for safety in SURVIVE) > 100


def test_while_the_database_is_away():
    ours, hold = rows("While the database is away")
    assert float(ours["drain p95, min, alone"]) < 15 and 1 < float(ours["extra instance-hours, alone"]) < 2
    assert float(ours["extra instance-hours, everybody"]) > 5
    assert float(hold["extra instance-hours, everybody"]) < 1 and float(hold["drain mean, min, alone"]) > 40
