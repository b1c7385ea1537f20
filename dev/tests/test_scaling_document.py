"""The figures in the text of docs/scaling.md are those of the tables that `make simulate` writes."""

import re
from pathlib import Path

import pytest

from dev.simulation.fleet import SAFETIES
from dev.simulation.goals import WAIT_MEAN_MIN
from dev.simulation.report import BEGIN, END
from dev.simulation.traces import TRACES

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "scaling.md").read_text()
DIURNAL, TRICKLE, MASS, QUIET, PHANTOM = TRACES
OURS, BUILDKITE, IDLE_AGENTS = (
    "video-reclaim",
    "buildkite, both ways",
    "buildkite, idle agents end, any group",
)
WAIT, COST, HOURS = "mean wait, min", "cost / clairvoyant", "instance-hours per work-hour"
SCALE_IN, REBALANCING = "busy ended a day by scale-in", "by rebalancing"


def tables(text):
    """The tables by heading: the cells by row and column, without their intervals."""
    found = {}
    for part in text.split("\n### ")[1:]:
        lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
        columns = lines[0][1:]
        heading = part.splitlines()[0].partition(", ")[0].lower()
        rows = {row[0]: (re.sub(r" \[.*?\]", "", cell) for cell in row[1:]) for row in lines[1:]}
        found[heading] = {name: dict(zip(columns, cells, strict=True)) for name, cells in rows.items()}
    return found


TABLES = tables(DOCUMENT[DOCUMENT.index(BEGIN) : DOCUMENT.index(END)])


def figure(trace, row, column):
    return float(TABLES[trace][row][column])


def ours(trace, group, column):
    return figure(trace, f"{OURS}, {group}", column)


def span(rows, column, traces=tuple(TRACES)):
    values = [figure(trace, row, column) for trace in traces for row in rows]
    return f"{min(values):.2f} to {max(values):.2f}"


def ratio(trace):
    """How many times as much an unprotected group costs as a protected one."""
    return ours(trace, "unprotected", HOURS) / ours(trace, "protected", HOURS)


def point(heading):
    """A point of "What the tables show", on one line."""
    after = DOCUMENT[DOCUMENT.index("\n## What the tables show") :]
    points = [" ".join(text.split()) for text in after.split("\n\n")[1].split("\n- ")]
    (found,) = (text for text in points if heading in text.partition(".** ")[0])
    return found


LOADED = [ratio(trace) for trace in (DIURNAL, TRICKLE, PHANTOM)]


@pytest.mark.parametrize(
    ("heading", "figures"),
    [
        pytest.param(
            "In a protected group",
            [
                span([f"{BUILDKITE}, protected"], COST),
                span([f"{OURS}, protected"], COST),
                f"{figure(DIURNAL, f'{BUILDKITE}, protected', WAIT):.2f} minutes",
                f"ours {ours(DIURNAL, 'protected', WAIT):.2f}",
            ],
            id="rivals-in-a-protected-group",
        ),
        pytest.param(
            "In a hooked group",
            [
                f"{figure(DIURNAL, f'{BUILDKITE}, hooked', WAIT):.2f} minutes",
                f"ours {ours(DIURNAL, 'hooked', WAIT):.2f}",
                f"{figure(DIURNAL, f'{BUILDKITE}, hooked', COST):.2f} and {ours(DIURNAL, 'hooked', COST):.2f}",
            ],
            id="rivals-in-a-hooked-group",
        ),
        pytest.param(
            "idle agents end",
            [span([IDLE_AGENTS], COST), f"{figure(DIURNAL, IDLE_AGENTS, SCALE_IN):.2f} busy"],
            id="idle-agents",
        ),
        pytest.param(
            "as deployed",
            [span(["platform, as deployed, unprotected"], SCALE_IN)],
            id="platform-as-deployed",
        ),
        pytest.param(
            "a few busy workers are ended",
            [f"up to {max(ours(trace, 'unprotected', REBALANCING) for trace in TRACES):.2f} a day"],
            id="rebalancing",
        ),
        pytest.param(
            "Unprotected groups cost more",
            [f"{min(LOADED):.2f} to {max(LOADED):.2f} times", f"{ratio(MASS):.2f} times"],
            id="unprotected",
        ),
    ],
)
def test_figures_of_the_text_are_those_of_the_tables(heading, figures):
    assert [text for text in figures if text not in point(heading)] == []


def test_rivals_in_a_protected_group_miss_the_goal_of_the_wait():
    for rival in (BUILDKITE, "KEDA/HPA", "target tracking"):
        for trace in (DIURNAL, TRICKLE, PHANTOM):
            assert figure(trace, f"{rival}, protected", WAIT) > WAIT_MEAN_MIN


def test_rivals_in_a_hooked_group_cost_more_and_mostly_wait_less():
    for rival in (BUILDKITE, "KEDA/HPA", "target tracking"):
        for trace in TRACES:
            costs_more = figure(trace, f"{rival}, hooked", COST) > ours(trace, "hooked", COST)
            assert costs_more == (trace != QUIET)
        for trace in (DIURNAL, TRICKLE, PHANTOM):
            waits_less = figure(trace, f"{rival}, hooked", WAIT) < ours(trace, "hooked", WAIT)
            assert waits_less == (rival == BUILDKITE or trace != PHANTOM)


def test_idle_agents_wait_longer_and_one_was_busy_when_it_ended():
    for trace in TRACES:
        own = max(ours(trace, group, WAIT) for group in ("protected", "hooked"))
        assert figure(trace, IDLE_AGENTS, WAIT) > own
        assert (figure(trace, IDLE_AGENTS, SCALE_IN) > 0) == (trace == DIURNAL)


def test_no_busy_worker_of_a_protected_or_hooked_group_is_ended():
    for trace in TRACES:
        for group in ("protected", "hooked"):
            assert ours(trace, group, SCALE_IN) == ours(trace, group, REBALANCING) == 0


def test_unprotected_groups_cost_the_same_in_the_quiet_week():
    assert ratio(QUIET) == pytest.approx(1, abs=0.05)


def test_a_mass_upload_waits_as_long_at_the_maximum():
    least = figure(MASS, "always the maximum, any group", WAIT)
    assert all(ours(MASS, group, WAIT) < 1.03 * least for group in SAFETIES)


def test_the_default_is_the_cheapest_setting_that_meets_the_goal_in_both_kinds_of_group():
    settings = {
        name: {column: float(value) for column, value in cells.items()}
        for name, cells in TABLES["trade-off: spare and windows"].items()
    }
    default = settings["spare workers: 1 (default)"]
    groups = ("protected", "hooked")

    def meets(cells):
        return all(cells[f"{WAIT}, {group}"] < WAIT_MEAN_MIN for group in groups)

    assert meets(default)
    for cells in settings.values():
        assert not meets(cells) or all(
            cells[f"{COST}, {group}"] >= default[f"{COST}, {group}"] for group in groups
        )
    for name in ("spare workers: 0", "long window, min: 10"):
        assert settings[name][f"{WAIT}, hooked"] > WAIT_MEAN_MIN
    for group in groups:
        second = settings["spare workers: 2"]
        assert second[f"{COST}, {group}"] / default[f"{COST}, {group}"] == pytest.approx(1.04, abs=0.005)
        assert 0.15 < default[f"{WAIT}, {group}"] - second[f"{WAIT}, {group}"] < 0.35
