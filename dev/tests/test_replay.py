"""Replaying a recorded decision."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from dev.simulation import replay
from dev.simulation.policies import DEFAULT
from video_reclaim.records import to_builtins
from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.records import Group, Inputs, Point

EPOCH = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def record():
    window = tuple(Point(EPOCH - timedelta(minutes=ago), 2.0) for ago in range(1, 21))
    group = Group(1, 20, 9, 9, "hooked")
    return to_builtins(decide(Inputs(EPOCH, 1, 1, 1, 0, window, group, DEFAULT)))


FORMS = {
    "bare": lambda record: json.dumps(record),
    "pretty": lambda record: json.dumps({"decision": record}, indent=2),
    "log-line": lambda record: (
        "[INFO] 2026-01-05T00:00:00Z 1234 " + json.dumps({"decision": record, "level": "INFO"})
    ),
    "execution-output": lambda record: json.dumps(
        {"status": "SUCCEEDED", "output": json.dumps({"backlog": {"decision": record}})}
    ),
    "with-what-the-handler-adds": lambda record: json.dumps({"decision": {**record, "mode": "apply"}}),
    "among-other-lines": lambda record: "START\n{not json}\n" + json.dumps({"decision": record}) + "\nEND\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_replay_finds_the_record_and_gives_the_same_answer(form, record, tmp_path, capsys):
    path = tmp_path / "log"
    path.write_text(FORMS[form](record))
    assert replay.main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert record["reason"] in printed
    assert printed.count("the same answer") == 1


def test_replay_reads_standard_input(record, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(record)))
    assert replay.main(["-"]) == 0
    assert "scale-in, desired 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action", "hold"),
        ("desired", 4),
        ("reason", "because"),
        ("held", True),
    ],
)
def test_replay_names_what_differs(field, value, record, tmp_path, capsys):
    path = tmp_path / "log"
    path.write_text(
        json.dumps({"decision": {**record, field: value}}) + "\n" + json.dumps({"decision": record})
    )
    assert replay.main([str(path)]) == 1
    printed = capsys.readouterr().out
    assert f"DIFFERS {field}: recorded {value!r}" in printed
    assert printed.count("the same answer") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "no decision record", id="empty"),
        pytest.param('{"decision": null}', "no decision record", id="no-decision"),
        pytest.param(
            '{"inputs": {"at": "2026-01-05T00:00:00Z"}, "desired": 1}',
            "uploaded: is missing",
            id="incomplete",
        ),
    ],
)
def test_replay_says_what_it_cannot_read(text, says, tmp_path, capsys):
    path = tmp_path / "log"
    path.write_text(text)
    assert replay.main([str(path)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["/nonexistent/log"]])
def test_replay_wants_one_file_that_is_there(arguments, capsys):
    assert replay.main(arguments) == 2
    assert capsys.readouterr().err
