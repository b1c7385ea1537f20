"""The simulator's figures, goals and report."""

import re

import numpy as np
import pytest

from dev.simulation import report
from dev.simulation.__main__ import main
from dev.simulation.bounds import Bounds
from dev.simulation.goals import WAIT_MEAN_MIN, Verdict, verdicts
from dev.simulation.measures import MEASURES, Interval, SeedRuns, bootstrap, summarize
from dev.simulation.outcome import Outcome
from dev.simulation.policies import MAKERS, MAXIMUM
from dev.simulation.runs import SPARES, safeties_of
from dev.simulation.traces import TRACES

DAY_S = 86_400.0


def outcome(waits_s, drains_s=(), **changes):
    return Outcome(waits_s=np.array(waits_s, float), drains_s=np.array(drains_s, float), **changes)


@pytest.fixture
def by_seed():
    quiet = outcome([0] * 98, instance_s=7200.0, work_s=3600.0, turns=3, length_s=DAY_S / 2)
    busy = outcome(
        [300, 900],
        [600, 1200],
        instance_s=3600.0,
        work_s=3600.0,
        killed=2,
        rebalanced=1,
        lost_s=1800.0,
        length_s=DAY_S / 2,
    )
    return [
        SeedRuns((quiet,), (Bounds(5400.0, 7200.0, 3600.0),)),
        SeedRuns((busy,), (Bounds(3600.0, 7200.0, 3600.0),)),
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("wait_mean_min", 0.2),
        ("wait_p95_min", 0.0),  # of the pool: the mean of the seeds' own percentiles would be 7.5
        ("drain_p95_min", 20.0),
        ("cost", 1.5),
        ("over_clairvoyant", 1.2),
        ("over_blind", 0.75),
        ("killed", 2.0),
        ("rebalanced", 1.0),
        ("lost_h", 0.5),
        ("turns", 3 / 24),
    ],
)
def test_figures_are_pooled_over_the_seeds(key, value, by_seed):
    assert summarize(by_seed)[key].value == pytest.approx(value)


def test_every_column_of_the_table_is_a_figure(by_seed):
    assert {column.key for column in MEASURES} == summarize(by_seed).keys()


def test_the_interval_comes_from_drawing_seeds_anew(by_seed):
    cost = summarize(by_seed)["cost"]
    assert (cost.low, cost.high) == pytest.approx((1.0, 2.0))  # one seed twice, and the other twice
    assert summarize(by_seed[:1])["cost"] == pytest.approx((2.0, 2.0, 2.0))


def test_nothing_to_measure_is_not_a_number(by_seed):
    assert np.isnan(summarize(by_seed[:1])["drain_p95_min"]).all()


def test_a_bootstrap_interval_holds_the_mean_and_narrows_with_the_seeds():
    few, many = bootstrap([1.0, 2.0, 3.0, 4.0]), bootstrap([1.0, 2.0, 3.0, 4.0] * 25)
    assert few.low < few.value == 2.5 < few.high
    assert many.high - many.low < (few.high - few.low) / 3
    assert bootstrap([2.0, 2.0]) == (2.0, 2.0, 2.0)


def found(**changes):
    """Figures that meet every goal exactly, save what is changed."""

    def find(trace, contender, safety):
        values = {
            "killed": 0.0,
            "rebalanced": 0.0,
            "wait_mean_min": WAIT_MEAN_MIN,
            "drain_p95_min": 10.2 if trace == "mass upload" and contender != MAXIMUM else 10.0,
            "over_clairvoyant": 1.05,
            "over_blind": 1.2,
        }
        return {key: Interval(value, value, value) for key, value in (values | changes).items()}

    return list(verdicts(find))


def test_a_goal_that_is_met_exactly_is_met():
    assert not any(verdict.missed() for verdict in found())


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"killed": 0.001}, len(TRACES)),
        ({"rebalanced": 1.0}, 0),  # the decision has no influence on it
        ({"wait_mean_min": 2.01}, len(TRACES)),
        ({"over_clairvoyant": 1.26}, len(TRACES)),
        ({"over_clairvoyant": 1.2}, len(TRACES) - 1),
        ({"over_clairvoyant": 1.1}, 1),
        ({"over_blind": 1.21}, len(TRACES)),
        ({"drain_p95_min": 10.1}, len(TRACES) - 1),  # relative to the maximum, which has the same
        ({"drain_p95_min": float("nan")}, 0),
    ],
)
def test_a_goal_is_missed_by_a_little(changes, missed):
    assert sum(verdict.missed() for verdict in found(**changes)) == missed


def test_a_value_over_its_limit_is_never_rounded_to_it():
    text = report._goals([Verdict("busy", "trickle", 0.0, (0.0, 0.004, None))])
    assert "| 0.00 met | **0.004 missed** | - |" in text


def test_workers_ended_by_rebalancing_stand_among_the_goals_without_a_verdict():
    text = report._goals(found(rebalanced=0.25))
    rows = [line for line in text.splitlines() if "rebalancing" in line]
    assert len(rows) == len(TRACES)
    assert all(row.endswith("| 0.25 | 0.25 | 0.25 |") for row in rows)


def test_the_overview_spans_the_traces_and_leaves_the_wait_of_a_mass_upload_out():
    waits = dict(zip(TRACES, (3.0, 1.0, 99.0, 2.0, 1.5), strict=True))

    def find(trace, contender, safety):
        values = {
            "wait_mean_min": waits[trace],
            "over_clairvoyant": 1.25 if trace == "mass upload" else 1.0,
            "killed": 0.0,
            "rebalanced": 0.0,
        }
        return {key: Interval(value, value, value) for key, value in values.items()}

    rows = report._overview(find).splitlines()[2:]
    assert len(rows) == sum(len(safeties_of(contender)) for contender in MAKERS)
    assert all(row.endswith("| 1.00 to 3.00 | 1.00 to 1.25 | 0.00 | 0.00 |") for row in rows)


def test_the_text_goes_between_the_markers_and_nowhere_else():
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.insert(document, "new")
    assert once == f"before\n{report.BEGIN}\n\nnew\n{report.END}\nafter\n"
    assert report.insert(once, "new") == once


@pytest.mark.parametrize("document", ["", report.BEGIN, report.END])
def test_a_document_without_markers_is_refused(document):
    with pytest.raises(ValueError, match="written by make simulate"):
        report.insert(document, "new")


@pytest.mark.parametrize(("backlog", "printed"), [(26, ""), (154, "154")])
def test_a_backlog_over_the_axis_is_printed(backlog, printed):
    from dev.simulation import plots  # matplotlib takes a second

    figure, axis = plots.plt.subplots()
    plots._draw_fleet(axis, [(0.0, 1, 1, 1), (60.0, backlog, 20, 20)], 26.0)
    title = axis.get_title(loc="right")
    plots.plt.close(figure)
    assert (printed in title) if printed else not title


@pytest.mark.long
def test_the_command_prints_and_writes_the_same_and_draws(tmp_path, capsys):
    document = tmp_path / "scaling.md"
    document.write_text(f"# Scaling\n\n{report.BEGIN}\n{report.END}\n")
    assert main(["--quick", "--processes", "1", "--docs", str(document)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() in document.read_text()
    for contender in MAKERS:
        rows = len(re.findall(rf"^\| {re.escape(contender)}, ", printed, re.MULTILINE))
        assert rows == len(safeties_of(contender)) * (len(TRACES) + 1)  # and once in the overview
    assert len(re.findall(r"^\| spare workers: ", printed, re.MULTILINE)) == len(SPARES)
    assert printed.count("(default)") == 3
    drawn = sorted((tmp_path / "scaling").iterdir())
    assert len(drawn) == len(TRACES) + 1
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
