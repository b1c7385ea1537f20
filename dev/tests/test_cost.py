"""The cost model counts what the definition and the template say."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from dev.bench import report
from dev.cost import (
    BUSY_ROUTE,
    DOCUMENT,
    IDLE,
    IDLE_ROUTE,
    ITEM_STATES,
    Day,
    Footprint,
    document,
    entered,
    monthly,
    read_footprint,
    used,
)
from dev.local import ROOT

DURATIONS = {"ListStaleVideos": 0.1, "Reclaim": 0.2, "Enqueue": 0.4, "PublishBacklog": 0.3}
HERE = Footprint(runs_a_day=1440, memory_gb=0.5, queues=4, fixed={"alarms": 11.0})


def test_the_routes_are_ways_through_the_definition():
    machine = json.loads((ROOT / "state_machines" / "reclaim_videos.asl.json").read_text())
    states = machine["States"]
    for route in (IDLE_ROUTE, BUSY_ROUTE):
        assert route[0] == machine["StartAt"] and states[route[-1]]["End"]
        for name, following in pairwise(route):
            choices = [choice["Next"] for choice in states[name].get("Choices", ())]
            assert following in {*choices, states[name].get("Next"), states[name].get("Default")}
    items = states["ReclaimVideos"]["ItemProcessor"]
    assert (items["StartAt"], items["States"]["Reclaim"]["Next"]) == ITEM_STATES


def test_an_item_enters_two_states_and_an_idle_run_five():
    assert (entered(0).total(), entered(7).total() - entered(6).total()) == (5, 2)


def test_a_run_uses_what_its_states_call():
    run = used(HERE, DURATIONS, 1_000)
    assert run["SQS requests"] == 2 * 4 + 40 * 3
    assert run["Lambda requests"] == 2 + 2 + 40 + 40
    assert run["Lambda GB-seconds (arm64)"] == pytest.approx((0.2 + 0.6 + 8 + 16) * 0.5 * 1_769 / 512)


@pytest.mark.parametrize(
    ("runs", "videos", "metrics"),
    [
        pytest.param(0, 0, 10, id="idle"),
        pytest.param(6, 2, 10.5, id="two-more-in-six-hours-of-a-day"),
        pytest.param(500, 2, 12, id="several-runs-an-hour-are-charged-once"),
    ],
)
def test_a_metric_is_charged_for_the_hours_in_which_it_is_published(runs, videos, metrics):
    here = replace(HERE, fixed={"alarms": 11.0, "custom metrics": 10.0})
    month = monthly(here, DURATIONS, Day("d", runs, videos))
    assert month["custom metrics"] == pytest.approx((metrics, 0.3 * metrics))


def test_a_month_takes_off_the_free_tier_and_adds_what_is_fixed():
    idle = monthly(HERE, DURATIONS, IDLE)
    amount, cost = idle["state transitions"]
    assert amount == pytest.approx(1440 * 30.4 * 5)
    assert cost == pytest.approx((amount - 4_000) * 0.025 / 1_000)
    assert idle["alarms"] == (11.0, pytest.approx(1.1))
    assert idle["Scheduler starts"][1] == 0


def test_the_written_document_is_the_one_that_the_command_writes():
    text = document(read_footprint(), report.load()["cost"].facts)
    assert text in DOCUMENT.read_text(), "run `make cost`"
