"""``make schemas``: write the JSON Schemas in docs/schemas/ anew, from the types in the code."""

import json
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.run_record import RunRecord
from video_reclaim.scaling.records import Override

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
COMMAND = "make schemas"

DESCRIBED: dict[str, type] = {"input": ExecutionInput, "record": RunRecord, "override": Override}
"""Name of the file in docs/schemas/, and the type that it describes."""


def schema(kind: type) -> dict[str, Any]:
    """Return the JSON Schema of a record's JSON form; a docstring becomes the description."""
    described = msgspec.json.schema(kind)
    for part in described["$defs"].values():
        if "description" in part:
            part["description"] = cleandoc(part["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Written by {COMMAND}.",
        **described,
    }


def text(kind: type) -> str:
    """Return the content of a type's file."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, kind in DESCRIBED.items():
        (FOLDER / f"{name}.json").write_text(text(kind))
