"""The table of protections is the documented one, and every test that it names is there."""

import re
from pathlib import Path

from tests.protocol.protections import PROTECTIONS

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs/protocol.md"


def test_the_documented_table_is_the_one_that_is_proved():
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `([^`]+)` \|$", TABLE.read_text(), re.MULTILINE)
    assert rows == [(protection.name, protection.test) for protection in PROTECTIONS]


def test_each_protection_is_proved_by_a_test_that_exists():
    for protection in PROTECTIONS:
        module, _, name = protection.test.partition("::")
        assert f"def {name.rpartition('::')[2]}(" in (HERE / module).read_text()
