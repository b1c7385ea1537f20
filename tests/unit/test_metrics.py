import json
from pathlib import Path

import pytest

from video_reclaim import metrics
from video_reclaim.metrics import METRICS, Series, series
from video_reclaim.records import Malformed, from_json

ENTRIES = json.loads(Path(metrics.__file__).with_suffix(".json").read_text())


def test_every_entry_of_the_list_is_read():
    assert list(METRICS) == [entry["name"] for entry in ENTRIES]


@pytest.mark.parametrize("key", ["name", "meaning"])
def test_no_two_entries_share_a_name_or_a_meaning(key):
    values = [entry[key] for entry in ENTRIES]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_every_entry_is_complete(entry):
    assert set(entry) == {"name", "unit", "statistic", "dimension", "meaning"}
    assert entry["name"].isalnum()
    assert entry["meaning"].strip()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"unit": "Percent"}, id="a-unit-that-the-product-does-not-use"),
        pytest.param({"statistic": "p99"}, id="a-statistic-that-the-product-does-not-use"),
        pytest.param({"dimension": "Stage"}, id="another-dimension"),
        pytest.param({"meaning": None}, id="no-meaning"),
        pytest.param({"alarm": True}, id="an-unknown-field"),
    ],
)
def test_an_entry_that_is_malformed_is_refused(changes):
    with pytest.raises(Malformed):
        from_json(json.dumps(ENTRIES[0] | changes), metrics.Metric)


def test_a_series_has_the_unit_of_the_list_and_sorted_dimensions():
    assert series("OldestBacklogAge", {"Stage": "test", "Product": "reclaim"}) == Series(
        "OldestBacklogAge", "Seconds", (("Product", "reclaim"), ("Stage", "test"))
    )


def test_the_order_of_dimensions_does_not_tell_series_apart():
    one = series("BacklogCount", {"a": "1", "b": "2"})
    assert {one: 1.0}[series("BacklogCount", {"b": "2", "a": "1"})] == 1.0


@pytest.mark.parametrize("name", ["BacklogAge", "backlogcount", ""])
def test_a_series_of_an_unknown_name_is_refused(name):
    with pytest.raises(KeyError):
        series(name, {})
