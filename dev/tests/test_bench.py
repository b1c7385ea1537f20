"""The bench: figures and goals, the stored run, the document, and the simulated time to recover."""

import random

import pytest

from dev.bench import recovery, report
from dev.bench.__main__ import DOCUMENT, MEASURES
from dev.bench.report import Figure, number, ratios, spread


@pytest.mark.parametrize(
    ("better", "value", "goal", "met"),
    [
        pytest.param("lower", 2, 2, True, id="exactly-the-most"),
        pytest.param("lower", 2.01, 2, False, id="above-the-most"),
        pytest.param("higher", 2, 2, True, id="exactly-the-least"),
        pytest.param("higher", 1.99, 2, False, id="below-the-least"),
        pytest.param("lower", 1, 0, False, id="a-goal-of-zero"),
        pytest.param("lower", 1, None, None, id="no-goal"),
    ],
)
def test_a_goal_is_met_up_to_its_bound(better, value, goal, met):
    assert Figure("a", "s", [value], goal, better).met is met


def test_a_number_has_three_significant_digits():
    written = {0: "0", 12345.6: "12,346", 3.0: "3", 1.503: "1.5", 0.1503: "0.15", 0.01234: "0.0123"}
    assert {value: number(value) for value in written} == written
    assert (spread([3.0, 1.0, 2.0]), spread([2.0])) == ("2 (1 to 3)", "2")
    assert ratios([2, 9], [1, 3]) == [2, 3]


def test_only_what_is_between_the_markers_is_replaced(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text(f"above\n{report.begin('a')}\nold\n{report.END}\nbelow\n")
    report.write(document, {"a": "new"})
    assert document.read_text() == f"above\n{report.begin('a')}\n\nnew\n\n{report.END}\nbelow\n"
    with pytest.raises(ValueError, match="needs a line"):
        report.write(document, {"a": "newer", "b": "other"})
    assert "newer" not in document.read_text()


def test_the_document_says_what_is_stored_of_every_measure():
    text, sections = DOCUMENT.read_text(), report.load()
    assert list(sections) == list(MEASURES)
    for name, section in sections.items():
        assert f"{report.begin(name)}\n\n{report.render(section)}\n\n{report.END}" in text


@pytest.mark.parametrize(
    ("ttl_s", "looks_s", "silent_s"),
    [
        pytest.param(60, [-59, 25], 57, id="stands-still-and-is-confirmed"),
        pytest.param(60, [-59, 10, 30], 57, id="not-yet-suspect-at-the-first-look"),
        pytest.param(60, [-59, 10, 80], 104, id="missed-without-having-been-seen-to-stand-still"),
        pytest.param(300, [-59, 10, 40], 72, id="a-progress-record-whose-age-is-unknown"),
        pytest.param(60, [-59, 25, 56], 56, id="another-run-looks-during-the-wait"),
    ],
)
def test_a_death_is_recovered_by_the_look_that_finds_enough_silence(ttl_s, looks_s, silent_s):
    assert recovery.silent_s(-5, ttl_s, looks_s) == silent_s


@pytest.mark.parametrize(
    ("first_s", "ready_s", "started_s"),
    [
        pytest.param(10, 10, 10, id="exactly-at-the-start"),
        pytest.param(10, 11, 70, id="just-missed"),
        pytest.param(10, 190, 190, id="at-a-later-start"),
    ],
)
def test_cron_starts_at_fixed_times(first_s, ready_s, started_s, monkeypatch):
    rng = random.Random(1)
    monkeypatch.setattr(rng, "uniform", lambda _low, _high: first_s)
    assert recovery.next_cron(rng, ready_s, 60) == started_s
