import pytest

from video_reclaim.errors import InvalidInput
from video_reclaim.execution_input import ExecutionInput


@pytest.mark.parametrize(
    ("event", "parsed"),
    [
        pytest.param({}, ExecutionInput(dry_run=False, limit=10_000), id="both-fields-are-optional"),
        pytest.param({"dryRun": True}, ExecutionInput(dry_run=True), id="dry-run"),
        pytest.param({"limit": 1}, ExecutionInput(limit=1), id="smallest-limit"),
        pytest.param({"dryRun": False, "limit": 10_000}, ExecutionInput(limit=10_000), id="largest-limit"),
    ],
)
def test_accepts(event, parsed):
    assert ExecutionInput.parse(event) == parsed


@pytest.mark.parametrize(
    ("event", "field"),
    [
        pytest.param(None, "input", id="null"),
        pytest.param([], "input", id="an-array"),
        pytest.param("{}", "input", id="a-string"),
        pytest.param(True, "input", id="a-boolean"),
        pytest.param(3, "input", id="a-number"),
        pytest.param({"dryrun": True}, "dryrun", id="unknown-field"),
        pytest.param({"dryRun": "true"}, "dryRun", id="boolean-as-string"),
        pytest.param({"dryRun": 1}, "dryRun", id="boolean-as-number"),
        pytest.param({"dryRun": None}, "dryRun", id="null-boolean"),
        pytest.param({"limit": True}, "limit", id="a-boolean-is-no-number"),
        pytest.param({"limit": 1.0}, "limit", id="a-fraction-is-no-whole-number"),
        pytest.param({"limit": "5"}, "limit", id="number-as-string"),
        pytest.param({"limit": {}}, "limit", id="an-object-is-no-number"),
        pytest.param({"limit": 0}, "limit", id="zero"),
        pytest.param({"limit": -1}, "limit", id="negative"),
        pytest.param({"limit": 10_001}, "limit", id="more-than-a-run-takes"),
    ],
)
def test_refuses_and_names_the_field(event, field):
    with pytest.raises(InvalidInput, match=f"^{field}: ") as caught:
        ExecutionInput.parse(event)
    assert caught.value.field == field
