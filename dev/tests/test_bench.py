"""What the bench makes of its measurements: medians, goals, ratios, the document, the comparison."""

import socket
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from dev.bench import compare, money, plots, report, round_trips
from dev.bench.__main__ import MEASURES, main
from dev.bench.figures import RATIO, Figure, Goal, Growth, Section, Table, number, ratios

FIGURE = Figure("ratio", "ours, times theirs", RATIO, [1.0, 3.0, 2.0], Goal("at most", 2))
SECTION = Section(
    "execution",
    "A whole execution",
    [FIGURE, Figure("seconds", "ours", "s", [0.25])],
    "It means something.",
    [Table("Cells", ("a", "b"), [("1", "2")]), Table("Nothing", ("a",), [])],
    {"A plan": "Index Scan"},
    [Growth("growth", "It grows", "videos", "seconds", {"ours": [(1, 2.0), (10, 3.0)]})],
    "2026-11-23 12:00 UTC",
)


def test_a_figure_quotes_its_median_and_its_spread():
    assert (FIGURE.median, FIGURE.spread) == (2.0, (1.0, 3.0))


@pytest.mark.parametrize(
    ("kind", "value", "met"),
    [
        pytest.param("at most", 2, True, id="exactly-the-most"),
        pytest.param("at most", 2.01, False, id="above-the-most"),
        pytest.param("at least", 2, True, id="exactly-the-least"),
        pytest.param("at least", 1.99, False, id="below-the-least"),
    ],
)
def test_a_goal_is_met_up_to_its_bound(kind, value, met):
    assert Goal(kind, 2).met(value) is met


def test_a_figure_without_a_goal_neither_meets_nor_misses_one():
    assert Figure("a", "a", "s", [1.0]).met is None


def test_ratios_pair_the_repeats():
    assert ratios([2, 9], [1, 3]) == [2, 3]


def test_repeats_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(0, "0", id="nothing"),
        pytest.param(12345.6, "12,346", id="thousands-apart"),
        pytest.param(3.0, "3", id="whole"),
        pytest.param(1.503, "1.5", id="no-trailing-nought"),
        pytest.param(0.1503, "0.15", id="a-tenth-to-three-places"),
        pytest.param(0.01234, "0.0123", id="small-to-four-places"),
    ],
)
def test_a_number_is_written_for_a_reader(value, text):
    assert number(value) == text


def test_a_section_survives_being_stored(tmp_path):
    report.save(tmp_path / "run.json", {"execution": SECTION}, "a machine", "versions")
    (loaded,) = report.load(tmp_path / "run.json").values()
    assert report.render({"execution": loaded}, "m", "v") == report.render({"execution": SECTION}, "m", "v")


def test_a_run_that_was_never_stored_is_empty(tmp_path):
    assert report.load(tmp_path / "none.json") == {}


class TestReport:
    text = report.render({"execution": SECTION}, "a machine", "versions")

    def test_names_the_command_beside_each_section(self):
        assert "`python -m dev.bench execution`, 2026-11-23 12:00 UTC." in self.text

    def test_shows_a_figure_with_spread_goal_and_verdict(self):
        assert f"| ours, times theirs | 2{RATIO} (1 to 3) | ≤ 2 | met |" in self.text

    def test_says_plainly_that_a_goal_is_missed(self):
        missed = replace(SECTION, figures=[replace(FIGURE, goal=Goal("at most", 1.5))])
        assert "| ≤ 1.5 | **missed** |" in report.render({"execution": missed}, "m", "v")

    def test_leaves_out_an_empty_table(self):
        assert "Cells:" in self.text
        assert "Nothing" not in self.text

    def test_shows_plots_and_plans(self):
        assert "![It grows](performance/growth.png)" in self.text
        assert "<summary>A plan</summary>\n\n```\nIndex Scan\n```" in self.text

    def test_is_put_between_the_markers_and_nowhere_else(self, tmp_path):
        document = tmp_path / "performance.md"
        document.write_text(f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n")
        report.write(document, "new\n")
        report.write(document, "newer\n")
        assert document.read_text() == f"above\n{report.BEGIN}\n\nnewer\n\n{report.END}\nbelow\n"

    def test_refuses_a_document_without_markers(self, tmp_path):
        document = tmp_path / "performance.md"
        document.write_text("by hand\n")
        with pytest.raises(ValueError, match="needs one line"):
            report.write(document, "new")
        assert document.read_text() == "by hand\n"


def test_growth_is_drawn_the_same_twice(tmp_path):
    (once,) = plots.draw(tmp_path / "once", SECTION.growth)
    (twice,) = plots.draw(tmp_path / "twice", SECTION.growth)
    assert once.name == "growth.png"
    assert once.read_bytes() == twice.read_bytes()


class TestComparing:
    @pytest.mark.parametrize(
        ("better", "then", "now", "worse"),
        [
            pytest.param("lower", [1.0, 1.0, 1.0], 1.26, True, id="a-quarter-more-is-worse"),
            pytest.param("lower", [1.0, 1.0, 1.0], 1.25, False, id="exactly-a-quarter-is-not"),
            pytest.param("lower", [0.9, 1.0, 1.4], 1.3, False, id="within-the-stored-spread-is-not"),
            pytest.param("lower", [1.0, 1.0, 1.0], 0.1, False, id="less-is-better"),
            pytest.param("higher", [20.0, 20.0, 20.0], 15.9, True, id="a-quarter-slower-is-worse"),
            pytest.param("higher", [20.0, 20.0, 20.0], 40.0, False, id="faster-is-better"),
        ],
    )
    def test_a_ratio_is_worse_beyond_tolerance_and_spread(self, better, then, now, worse):
        stored = Figure("r", "r", RATIO, then, better=better)
        assert compare.worse(stored, replace(stored, values=[now]), 1.25) is worse

    def test_only_ratios_that_both_runs_have_are_compared(self):
        then = {"execution": SECTION}
        now = {"execution": SECTION, "database": replace(SECTION, name="database")}
        assert [(c.section, c.label) for c in compare.compare(then, now)] == [("execution", FIGURE.label)]

    def test_a_regression_fails_the_command(self, tmp_path, capsys):
        stored, last = tmp_path / "stored.json", tmp_path / "last.json"
        slower = replace(SECTION, figures=[replace(FIGURE, values=[9.0])])
        report.save(stored, {"execution": SECTION}, "m", "v")
        report.save(last, {"execution": slower}, "m", "v")
        assert compare.main([str(stored), "--against", str(stored)]) == 0
        assert compare.main([str(last), "--against", str(stored)]) == 1
        assert "WORSE" in capsys.readouterr().out

    def test_nothing_to_compare_is_said(self, tmp_path, capsys):
        assert compare.main([str(tmp_path / "a.json"), "--against", str(tmp_path / "b.json")]) == 2
        assert "run `make bench`" in capsys.readouterr().err


def test_the_stored_run_has_known_sections_and_can_be_compared_with_itself():
    assert {"execution", "database", "cold-start"} <= set(report.load(compare.BASELINE)) <= set(MEASURES)
    assert compare.main([str(compare.BASELINE)]) == 0


def test_an_unknown_section_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["nonesuch"])
    assert "no such section: nonesuch" in capsys.readouterr().err


def test_a_relay_counts_a_question_and_its_answer_as_one_round_trip():
    with socket.create_server(("127.0.0.1", 0)) as server:
        served = threading.Thread(target=_answer_twice, args=(server,))
        served.start()
        relay = round_trips.Relay(server.getsockname()[1])
        with closing(socket.create_connection(("127.0.0.1", relay.port))) as client:
            for _ in range(2):
                client.sendall(b"first half ")
                client.sendall(b"second half;")
                assert client.recv(100) == b"answer"
        served.join()
        relay.close()
    assert relay.round_trips == 2


def _answer_twice(server):
    connection, _ = server.accept()
    with connection:
        for _ in range(2):
            asked = b""
            while not asked.endswith(b";"):
                asked += connection.recv(100)
            connection.sendall(b"answer")


def test_the_cost_section_holds_the_idle_run_to_five_states(monkeypatch):
    durations_s = {"ListStaleVideos": 0.01, "Reclaim": 0.01, "Enqueue": 0.01, "PublishBacklog": 0.01}
    deployment = money.cost.Deployment(1440, 0.5, 4, {})
    definition = money.cost.json.loads(money.cost.DEFINITION.read_text())
    monkeypatch.setattr(money.cost, "measure", lambda _repeats: durations_s)
    monkeypatch.setattr(money.cost, "deployed", lambda: (deployment, definition))
    section = money.measure(quick=True, say=lambda _line: None)
    transitions = section.figure("transitions")
    assert (transitions.median, transitions.met) == (5, True)
    assert section.figure("naive").median > 10
