"""The JSON Schemas and the reference describe the types in the code."""

import json

from dev.bench.report import END, begin
from dev.schemas import COMMAND, DESCRIBED, FOLDER, REFERENCE, meanings, schema, tables, text
from video_reclaim.rules.run_record import RunRecord


def test_what_is_stored_is_what_the_command_writes():
    stored = {path.stem: json.loads(path.read_text()) for path in FOLDER.iterdir()}
    assert stored == {name: json.loads(text(kind)) for name, kind in DESCRIBED.items()}, f"run: {COMMAND}"
    for name, table in tables().items():
        assert f"{begin(name, COMMAND)}\n\n{table}\n\n{END}" in REFERENCE.read_text(), f"run: {COMMAND}"


def test_every_field_has_its_meaning_under_its_name_in_json():
    properties = schema(RunRecord)["$defs"]["RunRecord"]["properties"]
    assert meanings(RunRecord).keys() == properties.keys() >= {"dryRun", "longestWaitS", "scalingError"}
    assert meanings(RunRecord)["longestWaitS"].startswith("longest time that a video has been seen waiting")
