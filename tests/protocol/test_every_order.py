"""Every order in which executions, workers, users and time can come at one video."""

import pytest

from tests.protocol.explorer import Explorer

SCENES = {
    "late functions": {"executions": "A", "retries": 2, "claims": 2, "deaths": 1, "sqs": 1},
    "a redrive": {"executions": "A", "retries": 2, "claims": 1, "expiries": 1, "zombies": 1},
    "overlap": {"claims": 2, "deaths": 1, "zombies": 1},
    "overlap and a late function": {"retries": 1, "claims": 1},
    "overlap over an orphan": {"orphan": True, "messages": 1, "claims": 2, "deaths": 1, "expiries": 1},
    "overlap with users": {"claims": 1, "manual": 1, "deletions": 1},
    "overlap while SQS fails": {"claims": 1, "sqs": 1, "retries": 1},
}
# What must have been tried, or the exploration has shrunk without anyone noticing.
AT_LEAST = {
    "late functions": 3_000,
    "a redrive": 3_000,
    "overlap": 300,
    "overlap and a late function": 2_000,
    "overlap over an orphan": 1_000,
    "overlap with users": 500,
    "overlap while SQS fails": 3_000,
}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("path", ["leased", "careless"])
@pytest.mark.parametrize("scene", SCENES)
def test_no_order_of_steps_breaks_a_rule(academy, path, scene):
    explorer = Explorer(academy, path=path)
    found = explorer.explore(explorer.begin(**SCENES[scene]))
    assert not found.wrong
    assert found.states >= AT_LEAST[scene]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("row", "messages", "action", "wrong"),
    [
        pytest.param(("UPLOADED", "", None, None), 0, "function: x", "lost", id="lost"),
        pytest.param(("UPLOADED", "reclaim:A", None, None), 0, "function: x", "stuck", id="stuck"),
        pytest.param(
            ("UPLOADED", "reclaim:A", "2100", None), 0, "function: x", "taken", id="taken-from-a-worker"
        ),
    ],
)
def test_a_wrong_step_is_found(academy, row, messages, action, wrong):
    explorer = Explorer(academy)
    before = explorer.begin()
    before = type(before)(("PROCESSING", "w", "2100", "t"), 0, True, 0, (), ())
    after = type(before)(row, messages, False, 0, (), ())
    assert explorer.wrong(action, before, after).startswith(wrong)
