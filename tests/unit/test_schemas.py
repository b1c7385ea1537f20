"""The JSON Schemas in docs/schemas/ describe the types in the code."""

import json

import pytest

from dev.schemas import COMMAND, DESCRIBED, FOLDER, schema
from video_reclaim.rules.run_record import RunRecord


@pytest.mark.parametrize("name", DESCRIBED)
def test_stored_schema_is_the_one_of_the_code(name):
    assert json.loads((FOLDER / f"{name}.json").read_text()) == schema(DESCRIBED[name]), f"run: {COMMAND}"


def test_there_is_no_schema_without_a_type():
    assert {path.stem for path in FOLDER.iterdir()} == set(DESCRIBED)


def test_properties_have_the_names_of_the_json_form():
    properties = schema(RunRecord)["$defs"]["RunRecord"]["properties"]
    assert {"dryRun", "longestWaitS", "decision", "scalingError"} <= set(properties)
