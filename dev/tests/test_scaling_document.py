"""The figures in the text of docs/scaling.md are those of the tables that `make simulate` writes."""

import re
from pathlib import Path

import pytest

from dev.bench.report import END, begin
from dev.simulation.__main__ import COMMAND, PLACE
from dev.simulation.group import SURVIVE
from dev.simulation.policies import BLIND, IDLE_AGENTS, MAKERS, RECLAIM
from dev.simulation.report import COST, CURVE_TRACES, WAIT
from dev.simulation.traces import COMPARED

DOCUMENT = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
BUILDKITE, PLATFORM, MAXIMUM = "buildkite, both ways", "platform, as deployed", "always the maximum"


def rows(heading):
    """The rows of the table under a heading, each by its columns, without intervals."""
    written = DOCUMENT[DOCUMENT.index(begin(PLACE, COMMAND)) : DOCUMENT.index(END)]
    part = written[written.index(f"### {heading}\n") :].split("\n### ")[0]
    titles, _, *lines = (re.sub(r" ± [\d.]+", "", line) for line in part.splitlines() if line.startswith("|"))
    split = lambda line: [cell.strip() for cell in line.strip("|").split("|")]  # noqa: E731
    return [dict(zip(split(titles), split(line), strict=True)) for line in lines]


COMPARISON = {(row["trace"], row["policy"]): row for row in rows("Protected and hooked groups")}
UNPROTECTED = {row["policy"]: row for row in rows("Unprotected groups")}
AWAY = {row["rule meanwhile"]: row for row in rows("While the database is away")}
RINGS = {row["trace"]: row for row in rows("How often WorkersIdle rings")}


def figure(trace, policy, column, safety):
    return float(COMPARISON[trace, policy][f"{column}, {safety}"])


def span(policy, column, safety, traces=tuple(COMPARED)[:5]):
    values = [figure(trace, policy, column, safety) for trace in traces]
    return f"{min(values):.2f} to {max(values):.2f}"


def point(heading):
    """A point of "What the tables show", on one line."""
    after = DOCUMENT[DOCUMENT.index("\n## What the tables show") :]
    points = [" ".join(text.split()) for text in after.split("\n- ")]
    (found,) = (text for text in points if heading in text.partition(".** ")[0])
    return found


DIURNAL, SPARSE, DEAD, MASS = (
    "diurnal with bursts",
    "sparse, minimum 0",
    "boots without a worker",
    "mass upload",
)
OURS_AWAY, FORMER, TRIED = (AWAY[name] for name in list(BLIND)[:3])


@pytest.mark.parametrize(
    ("heading", "figures"),
    [
        (
            "The mean wait",
            [f"{figure(MASS, RECLAIM, WAIT, 'protected')} min", f"{figure(MASS, MAXIMUM, WAIT, 'hooked')}"],
        ),
        ("cost less, and their", [span(BUILDKITE, COST, "protected"), span(RECLAIM, COST, "protected")]),
        (
            "cost less, and their",
            [f"{figure(DIURNAL, name, WAIT, 'protected')}" for name in (BUILDKITE, RECLAIM)],
        ),
        (
            "cost more, and mostly",
            [f"{figure(DIURNAL, name, WAIT, 'hooked')}" for name in (BUILDKITE, RECLAIM)],
        ),
        (
            "cost more, and mostly",
            [f"{figure(DIURNAL, name, COST, 'hooked')}" for name in (BUILDKITE, RECLAIM)],
        ),
        ("idle agents end", [span(IDLE_AGENTS, COST, "hooked")]),
        ("A minimum of 0", [f"{figure(SPARSE, RECLAIM, COST, safety)}" for safety in SURVIVE]),
        ("A minimum of 0", [f"{figure(SPARSE, BUILDKITE, column, 'protected')}" for column in (WAIT, COST)]),
        ("Boots without", [f"{figure(DEAD, RECLAIM, WAIT, safety)} min" for safety in SURVIVE]),
        ("Boots without", [f"{RINGS[DEAD][f'times a day, {safety}']} times" for safety in SURVIVE]),
        ("Unprotected groups", [UNPROTECTED[RECLAIM]["busy ended a day"], UNPROTECTED[RECLAIM][COST]]),
        ("as deployed", [UNPROTECTED[PLATFORM]["busy ended a day"]]),
        (
            "database is away",
            [f"{one['extra instance-hours, alone']} hours" for one in (OURS_AWAY, FORMER, TRIED)],
        ),
        ("database is away", [f"{one['drain p95, min, alone']} min" for one in (OURS_AWAY, FORMER, TRIED)]),
        ("database is away", [one["extra instance-hours, everybody"] for one in (OURS_AWAY, FORMER)]),
    ],
)
def test_figures_of_the_text_are_those_of_the_tables(heading, figures):
    assert [text for text in figures if text not in point(heading)] == []


def test_the_sentences_that_compare():
    for trace in CURVE_TRACES:
        for rival in (BUILDKITE, IDLE_AGENTS, "KEDA/HPA"):
            assert figure(trace, rival, WAIT, "protected") > figure(trace, RECLAIM, WAIT, "protected")
        for rival in (BUILDKITE, "KEDA/HPA"):
            assert figure(trace, rival, COST, "protected") < figure(trace, RECLAIM, COST, "protected")
            assert figure(trace, rival, COST, "hooked") > figure(trace, RECLAIM, COST, "hooked")
        for safety in SURVIVE:
            assert figure(trace, RECLAIM, WAIT, safety) <= 2
    for safety in SURVIVE:
        rivals = [
            figure(SPARSE, name, COST, safety) for name in MAKERS if name not in (RECLAIM, PLATFORM, MAXIMUM)
        ]
        assert figure(SPARSE, RECLAIM, COST, safety) <= 1.15 * min(rivals)
