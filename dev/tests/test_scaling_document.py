"""What docs/scaling.md says of the tables that `make simulate` writes holds in these tables."""

import re
from pathlib import Path

from dev.bench.report import END, begin
from dev.simulation.__main__ import COMMAND, PLACE
from dev.simulation.fleet import SURVIVE
from dev.simulation.policies import BUILDKITE, MAXIMUM, PLATFORM, RECLAIM
from dev.simulation.report import COST, CURVE_TRACES, WAIT
from dev.simulation.traces import COMPARED

DOCUMENT = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
FIRST_FIVE = list(COMPARED)[:5]
DIURNAL, MASS, SPARSE = "diurnal with bursts", "mass upload", "sparse, minimum 0"


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


def test_the_rival_waits_longer_and_costs_less_in_a_protected_group():
    for trace in FIRST_FIVE:
        assert wait(trace, BUILDKITE, "protected") > wait(trace, RECLAIM, "protected")
        assert cost(trace, BUILDKITE, "protected") < cost(trace, RECLAIM, "protected")


def test_the_rival_costs_more_and_waits_less_in_a_hooked_group():
    for trace in CURVE_TRACES:
        assert cost(trace, BUILDKITE, "hooked") > cost(trace, RECLAIM, "hooked")
        assert wait(trace, BUILDKITE, "hooked") < wait(trace, RECLAIM, "hooked")


def test_a_minimum_of_zero():
    for safety in SURVIVE:
        assert cost(SPARSE, RECLAIM, safety) <= 1.15 * cost(SPARSE, BUILDKITE, safety)
        assert 3.5 < wait(SPARSE, RECLAIM, safety) < 4.5 <= wait(SPARSE, BUILDKITE, safety)


def test_unprotected_groups_lose_few_workers_and_the_platforms_policy_loses_many():
    unprotected = {row["policy"]: row for row in rows("Unprotected groups")}
    ended = {name: re.findall(r"[\d.]+", row["busy ended a day"]) for name, row in unprotected.items()}
    assert float(ended[RECLAIM][1]) <= 0.1 and float(ended[PLATFORM][0]) >= 1
    assert float(unprotected[RECLAIM][COST].split()[-1]) < 2.1 * cost("phantom rows", RECLAIM, "protected")
    assert min(wait(trace, PLATFORM, safety) for trace in (DIURNAL, MASS) for safety in SURVIVE) > 100


def test_while_the_database_is_away():
    ours, hold = rows("While the database is away")
    assert float(ours["drain p95, min"]) < 15 and 2 < float(ours["extra instance-hours"]) < 3
    assert float(hold["extra instance-hours"]) < 0.5 and float(hold["drain mean, min"]) > 40
