"""``make schemas``: write the JSON Schemas and the tables of docs/reference.md anew, from the types in the code."""

import json
import re
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from dev.bench import report
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.run_record import RunRecord
from video_reclaim.rules.staleness import Reason
from video_reclaim.scaling.records import Override

DOCS = Path(__file__).parents[1] / "docs"
FOLDER, REFERENCE = DOCS / "schemas", DOCS / "reference.md"
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


def meanings(kind: type) -> dict[str, str]:
    """Return the meaning of each field by its name in JSON, from the docstring's list of attributes.

    Raises KeyError if a field has none.
    """
    listed = cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    found = dict(re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", listed, re.MULTILINE))
    return {field.encode_name: " ".join(found[field.name].split()) for field in structs.fields(kind)}


def tables() -> dict[str, str]:
    """Return the tables of docs/reference.md by name."""
    fields = {
        name: report.table(
            ("field", "meaning"), [(f"`{key}`", said) for key, said in meanings(DESCRIBED[name]).items()]
        )
        for name in ("input", "record")
    }
    rows = [(f"`{reason.value}`", "yes" if reason.stale else "no", reason.meaning) for reason in Reason]
    return fields | {"reasons": report.table(("reason", "put back", "meaning"), rows)}


def main() -> None:
    """Write all of it."""
    for name, kind in DESCRIBED.items():
        (FOLDER / f"{name}.json").write_text(text(kind))
    report.write(REFERENCE, tables(), COMMAND)


if __name__ == "__main__":
    main()
