"""The verification of what `make up` deploys."""

import pytest

from cdk.verify import main

pytestmark = pytest.mark.xdist_group("deployed")


def test_the_local_stage_has_no_problem(deployed, tmp_path, monkeypatch, capsys):
    deployed.stack.save(tmp_path / ".local")
    monkeypatch.chdir(tmp_path)

    status = main("local")

    found = capsys.readouterr().out.splitlines()
    assert (status, [line for line in found if line.startswith("FAIL")]) == (0, [])
    assert [line.split(":")[0] for line in found if not line.startswith("ok")] == ["note topics"]


def test_without_a_local_stack_it_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main("local") == 2
    assert "make up" in capsys.readouterr().err
