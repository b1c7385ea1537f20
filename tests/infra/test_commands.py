"""The make targets that call the CDK: with a CDK that writes down its arguments, without a terminal."""

import shutil
import subprocess

import pytest

from tests.infra.conftest import ROOT

CDK = '#!/bin/sh\necho "cdk $@"\n'
PYTHON = "#!/bin/sh\necho .\n"


@pytest.fixture
def checkout(tmp_path):
    """A folder with a space in its name that looks set up; nothing in it is installed."""
    folder = tmp_path / "a checkout"
    for name in ("requirements", "node_modules/.bin", ".venv/bin", "build", "cdk"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in (
        "package-lock.json",
        "cdk/bundle.py",
        *(f"requirements/{x}.txt" for x in ("dev", "uv", "layer")),
    ):
        (folder / name).touch()
    for name, text in (("node_modules/.bin/cdk", CDK), (".venv/bin/python", PYTHON)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    for name in (".venv/.installed", "node_modules/.installed", "build/.layers"):  # in this order
        (folder / name).touch()
    return folder


def make(checkout, *arguments):
    return subprocess.run(
        ["make", *arguments], cwd=checkout, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def called(checkout, *arguments):
    done = make(checkout, *arguments)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("cdk ")]
    return line.split()[1:]


@pytest.mark.parametrize(
    ("target", "given", "added"),
    [
        ("deploy", "", "--require-approval never"),
        ("deploy", "--outputs-file out.json", "--require-approval never --outputs-file out.json"),
        ("diff", "--fail", "--fail"),
        ("destroy", "--force", "--force"),
        ("bootstrap", "--qualifier mine", "--qualifier mine"),
    ],
)
def test_options_are_passed_on(checkout, target, given, added):
    expected = ["-c", "stage=existing", target, *added.split()]
    assert called(checkout, target, "STAGE=existing", f"ARGS={given}") == expected


def test_nothing_is_removed_when_nobody_can_be_asked(checkout):
    done = make(checkout, "destroy", "STAGE=existing")
    assert done.returncode != 0
    assert "ARGS=--force" in done.stderr
    assert "cdk " not in done.stdout


@pytest.mark.parametrize("target", ["deploy", "destroy", "diff", "bootstrap"])
def test_a_stage_must_be_named(checkout, target):
    done = make(checkout, target)
    assert done.returncode != 0
    assert "Which stage?" in done.stderr
