"""The names of the platform's tables, columns, keys and fields, spelled once more: a wrong one is an error nowhere."""

import json
from datetime import UTC, datetime

from video_reclaim.rules import platform
from video_reclaim.rules.platform import Job, Status, message


def test_statuses():
    assert set(Status) == {"UPLOADED", "PROCESSING", "FAILED"}


def test_keys():
    assert platform.Key.HEARTBEAT.of(3, 7) == "tenant:3:video:7:heartbeat"
    assert platform.Key.CANCEL.of(3, 7) == "tenant:3:video:7:cancel_requested"
    assert platform.Key.STATUS.of(3, 7) == "tenant:3:video:7:status"
    assert platform.job_lock_key(7) == "job:encode:7:lock"


def test_a_message():
    job = Job(video_id=7, file_key="k", tenant_id=3, tenant_code="north", handoff_until="")
    body = message(job, attempt=2, at=datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert json.loads(json.dumps(body)) == {
        "video_id": 7,
        "file_key": "k",
        "tenant_id": 3,
        "tenant_code": "north",
        "created_at": "2026-03-01T12:00:00+00:00",
        "attempt": 2,
    }
