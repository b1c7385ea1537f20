import json
from pathlib import Path

import pytest

from video_reclaim import metrics
from video_reclaim.conversion import Malformed, from_json
from video_reclaim.metrics import METRICS, Series, series

ENTRIES = json.loads(Path(metrics.__file__).with_suffix(".json").read_text())


def test_every_entry_of_the_list_is_read():
    assert list(METRICS) == [entry["name"] for entry in ENTRIES]


def test_entries_are_complete_and_share_no_name_and_no_meaning():
    for key in ("name", "meaning"):
        assert len({entry[key] for entry in ENTRIES}) == len(ENTRIES)
    for entry in ENTRIES:
        assert set(entry) == {"name", "unit", "statistic", "dimension", "meaning"}
        assert entry["name"].isalnum() and entry["meaning"].strip()


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


def test_a_series_of_an_unknown_name_is_refused():
    with pytest.raises(KeyError):
        series("BacklogAge", {})
