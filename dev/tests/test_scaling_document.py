"""The figures in the text of docs/scaling.md are those of the tables that `make simulate` writes."""

import re
from itertools import product
from pathlib import Path

import pytest

from dev.bench.report import END, begin
from dev.simulation.__main__ import COMMAND, PLACE
from dev.simulation.fleet import SURVIVE
from dev.simulation.policies import BUILDKITE, IDLE_AGENTS, MAKERS, MAXIMUM, PLATFORM, RECLAIM
from dev.simulation.report import COST, CURVE_TRACES, WAIT
from dev.simulation.traces import COMPARED

DOCUMENT = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()


def rows(heading):
    """The rows of the table under a heading, each by its columns, without intervals."""
    written = DOCUMENT[DOCUMENT.index(begin(PLACE, COMMAND)) : DOCUMENT.index(END)]
    part = written[written.index(f"### {heading}\n") :].split("\n### ")[0]
    titles, _, *lines = (re.sub(r" ± [\d.]+", "", line) for line in part.splitlines() if line.startswith("|"))
    split = lambda line: [cell.strip() for cell in line.strip("|").split("|")]  # noqa: E731
    return [dict(zip(split(titles), split(line), strict=True)) for line in lines]


COMPARISON = {(row["trace"], row["policy"]): row for row in rows("Protected and hooked groups")}
UNPROTECTED = {row["policy"]: row for row in rows("Unprotected groups")}
AWAY = {row["policy"]: row for row in rows("While the database is away")}[RECLAIM]
DIURNAL, MASS = "diurnal with bursts", "mass upload"
SPARSE, DEAD = "sparse, minimum 0", "boots without a worker"


def figure(trace, policy, column, safety):
    return COMPARISON[trace, policy][f"{column}, {safety}"]


def span(policy, safety):
    costs = [float(figure(trace, policy, COST, safety)) for trace in list(COMPARED)[:5]]
    return f"{min(costs):.2f} to {max(costs):.2f}"


FIGURES = {
    "The mean wait": [
        figure(MASS, RECLAIM, WAIT, "protected") + " min",
        figure(MASS, MAXIMUM, WAIT, "hooked"),
    ],
    "costs less, and its": [
        *(span(policy, "protected") for policy in (BUILDKITE, RECLAIM)),
        *(figure(DIURNAL, policy, WAIT, "protected") for policy in (BUILDKITE, RECLAIM)),
    ],
    "costs more, and mostly": [
        figure(DIURNAL, policy, column, "hooked")
        for policy in (BUILDKITE, RECLAIM)
        for column in (WAIT, COST)
    ],
    "idle agents end": [span(IDLE_AGENTS, "hooked")],
    "A minimum of 0": [
        *(figure(SPARSE, RECLAIM, COST, safety) for safety in SURVIVE),
        *(figure(SPARSE, BUILDKITE, column, "protected") for column in (WAIT, COST)),
    ],
    "Boots without": [figure(DEAD, RECLAIM, WAIT, safety) + " min" for safety in SURVIVE],
    "Unprotected groups": [UNPROTECTED[RECLAIM]["busy ended a day"], UNPROTECTED[RECLAIM][COST]],
    "as deployed": [UNPROTECTED[PLATFORM]["busy ended a day"]],
    "database is away": [
        AWAY["extra instance-hours, alone"] + " hours",
        AWAY["drain p95, min, alone"] + " min",
        AWAY["extra instance-hours, everybody"],
    ],
}
"""What each point of "What the tables show" quotes, by a part of its heading."""


@pytest.mark.parametrize("heading", FIGURES)
def test_figures_of_the_text_are_those_of_the_tables(heading):
    after = DOCUMENT[DOCUMENT.index("\n## What the tables show") :]
    points = [" ".join(text.split()) for text in after.split("\n- ")]
    (point,) = (text for text in points if heading in text.partition(".** ")[0])
    assert [text for text in FIGURES[heading] if text not in point] == []


def test_the_sentences_that_compare():
    def number(*place):
        return float(figure(*place))

    for trace in CURVE_TRACES:
        ours = {place: number(trace, RECLAIM, *place) for place in product((WAIT, COST), SURVIVE)}
        for rival in (BUILDKITE, IDLE_AGENTS):
            assert number(trace, rival, WAIT, "protected") > ours[WAIT, "protected"]
        assert number(trace, BUILDKITE, COST, "protected") < ours[COST, "protected"]
        assert number(trace, BUILDKITE, COST, "hooked") > ours[COST, "hooked"]
        assert max(ours[WAIT, safety] for safety in SURVIVE) <= 2
    rivals = MAKERS.keys() - {RECLAIM, PLATFORM, MAXIMUM}
    for safety in SURVIVE:
        cheapest = min(number(SPARSE, name, COST, safety) for name in rivals)
        assert number(SPARSE, RECLAIM, COST, safety) <= 1.15 * cheapest
