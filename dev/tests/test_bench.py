"""The bench: figures and goals, the document, the comparison, relays, and the simulated time to recover."""

import random
import socket
import threading
from contextlib import closing

import pytest
from msgspec.structs import replace

from dev.bench import compare, network, plots, relay, report
from dev.bench.__main__ import DOCUMENT, MEASURES, main
from dev.bench.figures import RATIO, Figure, Plot, Section, Table, number, ratios, spread
from dev.simulation import recovery as model

FIGURE = Figure("ratio", "ours, times theirs", RATIO, [1.0, 3.0, 2.0], 2)
SECTION = Section(
    "network",
    "The user's backlog, over a network",
    [FIGURE, Figure("seconds", "ours", "s", [0.25])],
    [Table("Cells", ("a", "b"), [("1", "2")])],
    [Plot("growth", "It grows", "videos", "seconds", {"ours": [(1, 2.0), (10, 3.0)]})],
    {"Enqueue": 0.25},
    "2026-11-23 12:00 UTC",
)
RUN = report.Run({"network": SECTION}, "a machine", "versions")


@pytest.mark.parametrize(
    ("better", "value", "met"),
    [
        pytest.param("lower", 2, True, id="exactly-the-most"),
        pytest.param("lower", 2.01, False, id="above-the-most"),
        pytest.param("higher", 2, True, id="exactly-the-least"),
        pytest.param("higher", 1.99, False, id="below-the-least"),
    ],
)
def test_a_goal_is_met_up_to_its_bound(better, value, met):
    assert Figure("a", "a", "s", [value], 2, better).met is met


def test_a_figure_without_a_goal_neither_meets_nor_misses_one():
    assert Figure("a", "a", "s", [1.0]).met is None


def test_a_goal_of_zero_is_a_goal():
    assert Figure("wrong", "wrong", "", [1], 0).met is False


def test_repeats_that_do_not_pair_up_are_refused():
    assert ratios([2, 9], [1, 3]) == [2, 3]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(0, "0", id="zero"),
        pytest.param(12345.6, "12,346", id="thousands"),
        pytest.param(3.0, "3", id="whole"),
        pytest.param(1.503, "1.5", id="no-trailing-zero"),
        pytest.param(0.1503, "0.15", id="a-tenth-to-three-places"),
        pytest.param(0.01234, "0.0123", id="small-to-four-places"),
    ],
)
def test_a_number_has_three_significant_digits(value, text):
    assert number(value) == text


def test_the_spread_of_several_values_is_the_smallest_and_the_largest():
    assert (spread([3.0, 1.0, 2.0]), spread([2.0])) == ("2 (1 to 3)", "2")


def test_a_run_survives_being_stored(tmp_path):
    RUN.save(tmp_path / "run.json")
    loaded = report.load(tmp_path / "run.json")
    assert report.render(loaded.sections["network"]) == report.render(SECTION)
    assert loaded.sections["network"].facts == SECTION.facts
    assert report.load(tmp_path / "none.json").sections == {}


class TestReport:
    def test_names_the_command_and_shows_each_figure_with_spread_goal_and_verdict(self):
        text = report.render(SECTION)
        assert "`python -m dev.bench network`, 2026-11-23 12:00 UTC." in text
        assert f"| ours, times theirs | 2{RATIO} (1 to 3) | ≤ 2 | met |" in text
        assert "| ours | 0.25 s |  |  |" in text
        assert "![It grows](performance/growth.png)" in text

    def test_a_missed_goal_is_marked(self):
        missed = replace(SECTION, figures=[replace(FIGURE, goal=1.5)])
        assert "| ≤ 1.5 | **missed** |" in report.render(missed)

    def test_the_overview_has_the_figures_with_a_goal_and_links_to_their_headings(self):
        text = report.goals(RUN, ["network"])
        assert (
            "| [The user's backlog, over a network](#the-users-backlog-over-a-network) | ours, times theirs |"
            in text
        )
        assert "| ours |" not in text
        assert "not measured" not in text

    def test_the_overview_names_what_was_not_measured(self):
        text = report.goals(RUN, ["network", "tests"])
        assert "| `python -m dev.bench tests` | **not measured** |" in text

    def test_only_what_is_between_the_markers_is_replaced(self, tmp_path):
        document = tmp_path / "performance.md"
        document.write_text(
            f"above\n{report.begin('a')}\nold\n{report.END}\nbetween\n{report.begin('b')}\n{report.END}\n"
        )
        report.write(document, {"a": "new", "b": "other"})
        report.write(document, {"a": "newer"})
        assert document.read_text() == (
            f"above\n{report.begin('a')}\n\nnewer\n\n{report.END}\nbetween\n{report.begin('b')}\n\nother\n\n{report.END}\n"
        )

    def test_a_document_without_markers_is_refused_and_not_written(self, tmp_path):
        document = tmp_path / "performance.md"
        document.write_text(f"{report.begin('a')}\n{report.END}\n")
        with pytest.raises(ValueError, match="needs a line"):
            report.write(document, {"a": "new", "b": "new"})
        assert "new" not in document.read_text()


def test_the_document_has_a_heading_and_a_place_for_every_measure():
    text = DOCUMENT.read_text()
    for name, section in report.load(compare.BASELINE).sections.items():
        place = text.partition(f"\n## {section.title}\n")[2].partition("\n## ")[0]
        assert f"\n{report.begin(name)}\n" in place


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_stored_or_said_to_be_missing(name):
    stored = name in report.load(compare.BASELINE).sections
    assert stored != (f"| `python -m dev.bench {name}` | **not measured** |" in DOCUMENT.read_text())


def test_plots_of_the_same_figures_are_the_same_files(tmp_path):
    (once,) = plots.draw(tmp_path / "once", SECTION.plots)
    (twice,) = plots.draw(tmp_path / "twice", SECTION.plots)
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
        assert compare.worse(stored, replace(stored, values=[now])) is worse

    def test_only_ratios_that_both_runs_have_are_compared(self):
        now = {"network": SECTION, "database": replace(SECTION, name="database")}
        assert compare.pairs({"network": SECTION}, now) == [(FIGURE, FIGURE)]

    def test_a_regression_fails_the_command(self, tmp_path, capsys):
        stored, last = tmp_path / "stored.json", tmp_path / "last.json"
        RUN.save(stored)
        slower = replace(SECTION, figures=[replace(FIGURE, values=[9.0])])
        report.Run({"network": slower}).save(last)
        assert compare.main(stored, stored) == 0
        assert compare.main(last, stored) == 1
        assert "WORSE" in capsys.readouterr().out

    def test_nothing_to_compare_is_said(self, tmp_path, capsys):
        assert compare.main(tmp_path / "a.json", tmp_path / "b.json") == 2
        assert "run `make bench`" in capsys.readouterr().err


def test_the_stored_run_has_known_measures_and_can_be_compared_with_itself():
    assert {"network", "database"} <= set(report.load(compare.BASELINE).sections) <= set(MEASURES)
    assert compare.main(compare.BASELINE, compare.BASELINE) == 0


def test_the_latency_of_an_unknown_server_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["--written", "--latency", "Kafka=5"])
    assert "no such server: Kafka; there are PostgreSQL, Redis, SQS" in capsys.readouterr().err


def test_a_run_with_another_latency_is_kept_apart_and_writes_no_document(monkeypatch, tmp_path):
    measured = []

    def measure(*, quick, say):
        measured.append(dict(network.LATENCY_MS))
        return SECTION

    monkeypatch.setattr(network, "LATENCY_MS", dict(network.LATENCY_MS))
    monkeypatch.setitem(MEASURES, "network", measure)
    monkeypatch.setattr(compare, "LAST", tmp_path / "last.json")
    before = DOCUMENT.read_text()
    assert main(["network", "--latency", "SQS=20", "--latency", "Redis=0.5"]) == 0
    assert measured == [{"PostgreSQL": 1.0, "Redis": 0.5, "SQS": 20.0}]
    assert [path.name for path in tmp_path.iterdir()] == ["apart.json"]
    assert DOCUMENT.read_text() == before


def test_an_unknown_measure_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["nonesuch"])
    assert "no such measure: nonesuch" in capsys.readouterr().err


class TestRelay:
    @pytest.fixture
    def relayed(self):
        """A connection by a relay to a server that answers in two parts what ends with a semicolon."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            served = threading.Thread(target=_serve, args=(server,))
            served.start()
            between = relay.Relay(relay.Route(server.getsockname()[1], 0.01))
            with closing(socket.create_connection(("127.0.0.1", between.port))) as client:
                yield between, client
            served.join()
            between.close()

    def test_counts_a_question_and_its_answer_as_one_round_trip_however_many_parts_they_have(self, relayed):
        between, client = relayed
        for _ in range(2):
            client.sendall(b"first half ")
            client.sendall(b"second half;")
            received = b""
            while not received.endswith(b"."):
                received += client.recv(100)
            assert received == b"half an answer, the other half."
        assert between.round_trips == 2

    def test_waits_once_per_round_trip(self, relayed, monkeypatch):
        waits = []
        monkeypatch.setattr(relay.time, "sleep", waits.append)
        _, client = relayed
        client.sendall(b"question;")
        while not client.recv(100).endswith(b"."):
            pass
        assert waits == [0.01]


def _serve(server):
    connection, _ = server.accept()
    with connection:
        asked = b""
        while data := connection.recv(100):
            asked += data
            if asked.endswith(b";"):
                connection.sendall(b"half an answer, ")
                connection.sendall(b"the other half.")
                asked = b""


class TestSimulatedRecovery:
    def test_every_call_returns_the_same(self):
        assert model.simulate(50) == model.simulate(50)

    def test_nothing_recovers_before_its_last_heartbeat_has_expired(self):
        times = model.simulate(500)
        assert min(times[model.GONE]) > model.BEAT_TTL_S - model.BEAT_EVERY_S
        assert min(times[model.PRODUCT]) > 40 + model.CONFIRM_S

    def test_a_second_look_costs_between_its_wait_and_the_next_run(self):
        """The same death and the same schedule, with and without a second look."""
        for seed in range(200):
            once, twice = (model.product_s(random.Random(seed), worker_gone=gone) for gone in (True, False))
            assert model.CONFIRM_S <= round(twice - once, 6) <= model.SECOND_LOOK_S

    @pytest.mark.parametrize(
        ("first_s", "ready_s", "started_s"),
        [
            pytest.param(10, 5, 10, id="the-first-start-is-late-enough"),
            pytest.param(10, 10, 10, id="exactly-at-the-start"),
            pytest.param(10, 11, 70, id="just-missed"),
            pytest.param(10, 190, 190, id="at-a-later-start"),
        ],
    )
    def test_cron_starts_at_fixed_times(self, first_s, ready_s, started_s):
        class Fixed:
            def uniform(self, _low, _high):
                return first_s

        assert model.next_cron(Fixed(), ready_s, 60) == started_s

    @pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.51, 3), (0.95, 4), (1.0, 4), (0.01, 1)])
    def test_a_percentile_is_the_nearest_rank(self, share, expected):
        assert model.percentile([1, 2, 3, 4], share) == expected
