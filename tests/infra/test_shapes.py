"""A snapshot of each template's shape, so that a review sees what a change adds to a stage or takes away.

``make shapes`` writes the snapshots anew.
"""

import json
import os

from tests.infra.conftest import ROOT, synthesized

SHAPES = ROOT / "tests" / "infra" / "shapes"


def shape(template):
    """Every resource with its type and the names of its properties, one a line, and every output."""
    return {
        "resources": {
            id_: " ".join([one["Type"], *sorted(one.get("Properties", {}))])
            for id_, one in sorted(template["Resources"].items())
        },
        "outputs": " ".join(sorted(template["Outputs"])),
    }


def test_the_shape_is_that_of_the_snapshot(stage):
    file = SHAPES / f"{stage}.json"
    found = shape(synthesized(stage).template)
    if os.environ.get("UPDATE_SHAPES"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(file.read_text())
