"""Which deliberate mistakes there are in the SQL: no tool knows its clauses.

Every condition is replaced by true and by false; every order, lock, assignment, limit and session setting is
dropped; joins and arithmetic are changed. Each statement is changed by itself, so a condition that several of them
share is a mistake in each. A passage that one statement repeats is changed in all places at once.
"""

import ast
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dev.mutants.edits import Edit, describe

_AROUND = 70
_TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|%\(\w+\)s|::|=>|<=|>=|<>|\|\||[\w.]+|\S")
_OPENS = {"WHERE", "AND", "OR", "ON", "WHEN", "NOT", "("}
_ENDS = {
    "AND",
    "OR",
    ")",
    "ORDER",
    "FOR",
    "LIMIT",
    "UNION",
    "RETURNING",
    "THEN",
    "LEFT",
    "JOIN",
    "WHERE",
    ",",
}
_COMPARES = {"<", ">", "<=", ">=", "=", "<>", "IN", "IS", "starts_with"}
_LIST_ENDS = {"FROM", "WHERE", ")", ","}

# Plain exchanges: a pattern, and what takes its place.
_EXCHANGES = [
    (r"\bORDER BY [^()]+?(?= FOR | LIMIT|\)|$)", ""),
    (r"\bFOR UPDATE OF v SKIP LOCKED", ""),
    (r"(?<=FOR UPDATE OF v) SKIP LOCKED", ""),
    (r"\bLIMIT %\(\w+\)s", ""),
    (r"\bLEFT JOIN\b", "JOIN"),
    (r"(?<!LEFT )\bJOIN\b(?= \w+ \w ON)", "LEFT JOIN"),
    (r" NULLS FIRST", " NULLS LAST"),
    (r" / 2\.0", " / 1.0"),
    (r"(?<=now\(\)) \+ ", " - "),
    (r" - (?=make_interval)", " + "),
    (r"\|\| ''", ""),
    (r"'UTC'", "'Asia/Seoul'"),
    (r"'ISO'", "'German'"),
    (r"statement_timeout = %\(statement_ms\)s", "statement_timeout = 0"),
    (r"\bleft\((md5\([\w.]+\)), 12\)", r"\1"),
]


def edits(path: Path, root: Path, values: dict[str, str]) -> Iterator[Edit]:
    """Yield every mistake that can be made in the statements of one module, given their texts by name."""
    source = path.read_text()
    lines = {
        statement.targets[0].id: (statement.lineno, statement.end_lineno or statement.lineno)
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    for name, text in values.items():
        text = " ".join(text.split())
        found = {}
        for start, end, replacement in _mutations(text):
            first, last = max(0, start - _AROUND), end + _AROUND
            passage, changed = text[first:last], text[first:start] + replacement + text[end:last]
            shown = describe(passage, changed)
            found[f"{path.relative_to(root)} {name}: {shown}"] = text.replace(passage, changed)
        for title, mutated in found.items():
            yield Edit(path, title, lines[name], "", partial(_append, source, name, mutated))


def _append(source: str, name: str, mutated: str) -> str:
    return f"{source}\n{name} = {mutated!r}\n"


Change = tuple[int, int, str]
"""Start and end of a passage, and what takes its place."""


def _mutations(text: str) -> Iterator[Change]:
    for pattern, replacement in _EXCHANGES:
        for found in re.finditer(pattern, text):
            yield found.start(), found.end(), found.expand(replacement)
    tokens = list(_TOKEN.finditer(text))
    for index, token in enumerate(tokens):
        if token[0] in _OPENS and (condition := _condition(tokens, index + 1)):
            start, end = condition
            yield start, end, "true"
            yield start, end, "false"
        if token[0] in ("SET", ",") and (assigned := _assignment(text, tokens, index)):
            yield assigned


def _condition(tokens: "list[re.Match[str]]", first: int) -> tuple[int, int] | None:
    """Return where the condition that starts with a token starts and ends; None if it is none."""
    depth, compares, last = 0, False, first - 1
    for index in range(first, len(tokens)):
        word = tokens[index][0]
        if depth == 0 and word in _ENDS:
            break
        depth += (word == "(") - (word == ")")
        compares |= word in _COMPARES
        last = index
    if last < first or not compares or tokens[first][0] in ("SELECT", "UPDATE"):
        return None
    return tokens[first].start(), tokens[last].end()


def _assignment(text: str, tokens: "list[re.Match[str]]", index: int) -> Change | None:
    """Return how to drop the assignment of a SET list that follows a token; None if there is none."""
    before = [token[0] for token in tokens[:index]]
    if tokens[index][0] == "," and (
        "SET" not in before or _depth(before) or "FROM" in before[_last(before, "SET") :]
    ):
        return None
    if index + 2 >= len(tokens) or tokens[index + 2][0] != "=" or text.startswith("SET "):
        return None
    depth, end = 0, index + 1
    while end < len(tokens) and (depth or tokens[end][0] not in _LIST_ENDS):
        depth += (tokens[end][0] == "(") - (tokens[end][0] == ")")
        end += 1
    if tokens[index][0] == ",":
        return tokens[index].start(), tokens[end].start(), " "
    if tokens[end][0] == ",":
        return tokens[index].end(), tokens[end].end(), ""
    return None


def _depth(words: list[str]) -> int:
    return words.count("(") - words.count(")")


def _last(words: list[str], word: str) -> int:
    return len(words) - 1 - words[::-1].index(word)
