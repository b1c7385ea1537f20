"""Which mistakes are tried in the functions, and what a mutant's run comes to."""

import pytest

from dev.mutants import edits, functions, sql
from dev.mutants.reach import Reach, Users
from dev.mutants.trial import FUNCTIONS


@pytest.fixture
def mutants(tmp_path):
    """The mutants of a module's text: by what each changes, the text of the mutated file."""

    def make(text):
        path = tmp_path / "module.py"
        path.write_text(text)
        return {edit.name.partition(": ")[2]: edit.make() for edit in edits.edits(path, tmp_path)}

    return make


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        pytest.param("a = b < c", {"< c => <= c"}, id="a-comparison"),
        pytest.param("_LIMIT_S = 5", {"5 => 50"}, id="seconds"),
        pytest.param("f(nx=True, ex=30)", {"f(nx=True, ex=30) => f(ex=30)"}, id="an-option-is-dropped"),
        pytest.param(
            "if ready:\n    f()", {"if ready: f() => if not (ready): f()"}, id="a-condition-is-negated"
        ),
        pytest.param("forget()", {"forget() => pass"}, id="a-call-is-left-out"),
        pytest.param(
            "try:\n    f()\nexcept (A, B):\n    pass",
            {"except (A, B): pass => except A: pass"},
            id="an-error-is-not-caught",
        ),
        pytest.param(
            "a = [b for b in c if b.d]", {"for b in c if b.d => for b in c"}, id="a-filter-is-dropped"
        ),
    ],
)
def test_a_mistake_is_tried(mutants, text, changes):
    assert changes <= {name.strip() for name in mutants(text)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('"""What it does."""', id="documentation"),
        pytest.param('log.warning("redis is away", cause=1)', id="a-log-line"),
        pytest.param('raise Failed("gone")', id="the-message-of-an-error"),
        pytest.param("import a.b", id="an-import"),
        pytest.param("if TYPE_CHECKING:\n    a = 1 + 2", id="what-a-type-checker-reads"),
        pytest.param("from a import b\nwanted: int | None", id="an-annotation"),
    ],
)
def test_what_no_test_should_notice_is_left_out(mutants, text):
    assert mutants(text) == {}


def test_a_mutant_is_named_alike_wherever_it_stands(mutants):
    text = "def f():\n    return 1 < 2, 1 < 2\n"
    assert set(mutants(text)) == set(mutants(f"import a\n\n\n{text}"))
    assert len(mutants(text)) == 6


def test_the_conditions_of_a_statement_are_replaced_and_its_clauses_dropped(tmp_path):
    path = tmp_path / "statements.py"
    path.write_text("FIND = 'any'\n")
    statement = "SELECT id FROM t WHERE a = 1 AND (b < 2 OR c IN (3)) ORDER BY id FOR UPDATE OF v SKIP LOCKED"
    found = set()
    for edit in sql.edits(path, tmp_path, {"FIND": statement}):
        namespace = {}
        exec(edit.make(), namespace)
        found.add(namespace["FIND"])
    assert {
        statement.replace("a = 1", "true"),
        statement.replace("a = 1", "false"),
        statement.replace("(b < 2 OR c IN (3))", "true"),
        statement.replace("b < 2", "false"),
        statement.replace("c IN (3)", "true"),
        statement.replace("ORDER BY id ", " ", 1),
        statement.replace(" SKIP LOCKED", ""),
    } <= found
    assert statement not in found


def test_the_statements_of_the_product_are_all_found():
    found = functions._statements()
    assert {"LIST_CANDIDATES", "LEASE_FOR_HANDOFF", "SET_UP_SESSION"} <= set(found)
    assert not [name for name in found if name.startswith("_")]


def test_a_constant_is_tested_by_the_tests_of_its_users():
    edit = next(
        edit
        for edit in edits.edits(FUNCTIONS / "video_reclaim/adapters/sqs.py", FUNCTIONS)
        if edit.name.endswith(": 900 => 9000")
    )
    used = {file for file, _ in Users().of(edit)}
    assert used == {"video_reclaim/adapters/sqs.py"}


def test_failing_tests_are_not_used_and_quick_ones_come_first():
    edit = edits.edits(FUNCTIONS / "video_reclaim/rules/batching.py", FUNCTIONS)[-1]
    line, file = edit.lines[0], "video_reclaim/rules/batching.py"
    reach = Reach()
    reach.add(
        {
            "tests": {file: {str(line): ["t.py::slow", "t.py::quick", "t.py::broken"]}},
            "took_s": {"t.py::slow": 2.0, "t.py::quick": 0.1, "t.py::broken": 0.0},
            "failed": ["t.py::broken"],
        }
    )
    assert reach.tests_for(edit, Users()) == ["t.py::quick", "t.py::slow"]
