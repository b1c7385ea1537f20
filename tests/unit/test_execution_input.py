import pytest

from video_reclaim.errors import InvalidInput
from video_reclaim.execution_input import ExecutionInput


@pytest.mark.parametrize(
    ("event", "parsed"),
    [
        pytest.param({}, ExecutionInput(dry_run=False, limit=10_000), id="empty-object-gives-the-defaults"),
        pytest.param({"dryRun": True}, ExecutionInput(dry_run=True), id="dry-run"),
        pytest.param({"limit": 1}, ExecutionInput(limit=1), id="smallest-limit"),
        pytest.param({"dryRun": False, "limit": 10_000}, ExecutionInput(limit=10_000), id="largest-limit"),
    ],
)
def test_valid_input_is_accepted(event, parsed):
    assert ExecutionInput.parse(event) == parsed


@pytest.mark.parametrize(
    ("event", "field"),
    [
        pytest.param(None, "input", id="null"),
        pytest.param([], "input", id="array"),
        pytest.param("{}", "input", id="string"),
        pytest.param(True, "input", id="boolean"),
        pytest.param(3, "input", id="number"),
        pytest.param({"dryrun": True}, "dryrun", id="unknown-field"),
        pytest.param({"dryRun": "true"}, "dryRun", id="dry-run-as-string"),
        pytest.param({"dryRun": 1}, "dryRun", id="dry-run-as-number"),
        pytest.param({"dryRun": None}, "dryRun", id="dry-run-null"),
        pytest.param({"limit": True}, "limit", id="limit-as-boolean"),
        pytest.param({"limit": 1.0}, "limit", id="limit-as-float"),
        pytest.param({"limit": "5"}, "limit", id="limit-as-string"),
        pytest.param({"limit": {}}, "limit", id="limit-as-object"),
        pytest.param({"limit": 0}, "limit", id="limit-zero"),
        pytest.param({"limit": -1}, "limit", id="limit-negative"),
        pytest.param({"limit": 10_001}, "limit", id="limit-above-the-maximum"),
    ],
)
def test_invalid_input_is_rejected_and_the_error_names_the_field(event, field):
    with pytest.raises(InvalidInput, match=f"^{field}: ") as caught:
        ExecutionInput.parse(event)
    assert caught.value.field == field
