"""README.ko.md says in Korean what README.md says: the same commands, links, tables, settings and figures."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, KOREAN = ((ROOT / name).read_text() for name in ("README.md", "README.ko.md"))
TRANSLATED = {"none": "없음", "s": "초", "min": "분", "times in 7 days": "7일 동안의 횟수"}
TRANSLATED |= {"items": "항목", "videos": "동영상", "workers": "워커", "": ""}


def commands(text):
    """Every command, without its comment."""
    return [
        re.sub(r"\s+#.*", "", line).strip() for line in re.findall(r"^    (?=make|\.venv)(.+)$", text, re.M)
    ]


def links(text):
    return re.findall(r"\]\((?!README)([^)]+)\)", text)


def tables(text):
    """Every table as its rows, each a list of cells."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.M)
    return [
        [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()] for table in found
    ]


def code(text):
    return sorted(re.findall(r"`[^`\n]+`", text))


def figures(text):
    return sorted(re.findall(r"\$?\d[\d.,]*", text))


@pytest.mark.parametrize("part", [commands, links], ids=["commands", "links"])
def test_both_have_the_same(part):
    assert part(KOREAN) == part(ENGLISH)


def test_both_have_the_same_diagrams_and_output_of_the_demo():
    english, korean = (re.findall(r"```(?:mermaid|text)\n.*?```", text, re.S) for text in (ENGLISH, KOREAN))
    assert korean == english


def test_both_have_the_same_sections():
    levels = [re.findall(r"^(#+) ", text, re.M) for text in (ENGLISH, KOREAN)]
    assert levels[0] == levels[1]


PAIRS = [
    pytest.param(english, korean, id=english[0] or str(number))
    for number, (one, other) in enumerate(zip(tables(ENGLISH), tables(KOREAN), strict=True))
    for english, korean in zip(one[2:], other[2:], strict=True)
]


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_both_have_the_same_row(english, korean):
    assert len(english) == len(korean)
    for one, other in zip(english, korean, strict=True):
        assert code(one) == code(other)
    if english[0].startswith("`"):
        assert korean[0] == english[0]


@pytest.mark.parametrize(("english", "korean"), [pair for pair in PAIRS if "." in pair.id and "`" in pair.id])
def test_both_have_the_same_default_and_unit(english, korean):
    assert korean[1:3] == [TRANSLATED.get(cell, cell) for cell in english[1:3]]


def test_both_have_the_same_measured_figures():
    english, korean = (
        next(table for table in tables(text) if "dev.bench" in str(table)) for text in (ENGLISH, KOREAN)
    )
    assert [figures(" ".join(row)) for row in korean] == [figures(" ".join(row)) for row in english]
