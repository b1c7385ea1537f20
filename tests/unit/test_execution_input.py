import re

import pytest

from video_reclaim.errors import InvalidInput
from video_reclaim.rules.execution_input import ExecutionInput


@pytest.mark.parametrize(
    ("event", "parsed"),
    [
        pytest.param({}, ExecutionInput(dry_run=False, limit=10_000), id="every-field-is-optional"),
        pytest.param({"dryRun": True}, ExecutionInput(dry_run=True), id="a-dry-run-has-the-largest-limit"),
        pytest.param({"limit": 1}, ExecutionInput(limit=1), id="one-is-the-smallest-limit"),
        pytest.param(
            {"dryRun": False, "limit": 10_000},
            ExecutionInput(limit=10_000),
            id="ten-thousand-is-the-largest-limit",
        ),
        pytest.param(
            {"terminated": ["i-0123456789abcdef0", "i-0123abcd"]},
            ExecutionInput(terminated=["i-0123456789abcdef0", "i-0123abcd"]),
            id="instances-by-either-form-of-their-ids",
        ),
        pytest.param({"release": []}, ExecutionInput(release=[]), id="nothing-is-released"),
        pytest.param({"release": [1, 2**63 - 1]}, ExecutionInput(release=[1, 2**63 - 1]), id="any-bigint"),
        pytest.param(
            {"release": [7] * 100, "dryRun": True},
            ExecutionInput(dry_run=True, release=[7] * 100),
            id="a-hundred-can-be-released",
        ),
    ],
)
def test_accepts(event, parsed):
    assert ExecutionInput.parse(event) == parsed


@pytest.mark.parametrize(
    ("event", "field"),
    [
        pytest.param(None, "input", id="null-is-no-object"),
        pytest.param([], "input", id="an-array-is-no-object"),
        pytest.param(3, "input", id="a-number-is-no-object"),
        pytest.param({"dryrun": True}, "dryrun", id="an-unknown-field-is-refused"),
        pytest.param({"dryRun": "true"}, "dryRun", id="a-string-is-no-boolean"),
        pytest.param({"dryRun": 1}, "dryRun", id="a-number-is-no-boolean"),
        pytest.param({"limit": True}, "limit", id="a-boolean-is-no-number"),
        pytest.param({"limit": 1.0}, "limit", id="a-fraction-is-no-whole-number"),
        pytest.param({"limit": "5"}, "limit", id="a-string-is-no-number"),
        pytest.param({"limit": 0}, "limit", id="zero-is-too-few"),
        pytest.param({"limit": 10_001}, "limit", id="more-than-the-largest-limit"),
        pytest.param({"release": None}, "release", id="null-is-no-list"),
        pytest.param({"release": 7}, "release", id="a-number-is-no-list"),
        pytest.param({"release": [1] * 101}, "release", id="a-hundred-and-one-are-too-many-to-release"),
        pytest.param({"release": [1, "2"]}, "release[1]", id="a-string-is-no-id"),
        pytest.param({"release": [True]}, "release[0]", id="a-boolean-is-no-id"),
        pytest.param({"release": [1.0]}, "release[0]", id="a-fraction-is-no-id"),
        pytest.param({"terminated": "i-0123abcd"}, "terminated", id="an-instance-is-no-list"),
        pytest.param({"terminated": ["i-0123abcd"] * 101}, "terminated", id="more-than-a-hundred-instances"),
        pytest.param({"terminated": ["worker-1"]}, "terminated[0]", id="no-instance-id"),
        pytest.param({"terminated": ["i-0123abcd-1"]}, "terminated[0]", id="a-workers-id-is-no-instance-id"),
        pytest.param({"release": [0]}, "release[0]", id="zero-is-no-id"),
    ],
)
def test_refuses_and_names_the_field(event, field):
    with pytest.raises(InvalidInput, match=f"^{re.escape(field)}: "):
        ExecutionInput.parse(event)
