"""Documents: links lead somewhere, commands can be pasted, and the changelog begins with the project version."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "dev" / "README.md"]


def text_of(document):
    """The document without its code blocks, where brackets and # mean something else."""
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(document):
    """The anchors that GitHub gives the headings: lower case, punctuation dropped, spaces as hyphens."""
    headings = re.findall(r"^#+ (.*)$", text_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_relative_links_point_to_existing_files_and_headings():
    for document in DOCUMENTS:
        for target in set(re.findall(r"\]\(([^)\s]+)\)", text_of(document))):
            if not target.startswith("https://"):
                name, _, anchor = target.partition("#")
                linked = (document.parent / name) if name else document
                assert linked.exists(), (document, target)
                assert not anchor or anchor in anchors(linked), (document, target)


def test_commands_to_paste_use_the_environment_of_the_project():
    for document in DOCUMENTS:
        assert re.findall(r"^\s*python3? -m .*", document.read_text(), re.MULTILINE) == [], document


def test_newest_version_in_the_changelog_is_the_project_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == project["version"]
