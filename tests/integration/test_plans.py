"""Which indexes the statements use, when the statistics know nothing of a mass reclaim that is under way."""

import json
import re

import pytest

from video_reclaim.adapters.postgres import statements

HOLDER = "reclaim:mass.0123456789ab"
OTHERS = 3_000


@pytest.fixture
def surprised_planner(academy):
    """Many videos that are being handed over, and as many stuck, of which the statistics know nothing."""
    academy.sql(
        "INSERT INTO video_video (session_id, file_key, status, leased_by, created_at, updated_at)"
        " SELECT 21 + i %% 3, 'key', 'READY', '', now(), now() FROM generate_series(1, %s) i",
        (4 * OTHERS,),
    )
    academy.sql("ANALYZE video_video")
    academy.sql(
        "UPDATE video_video SET status = CASE id %% 2 WHEN 0 THEN 'UPLOADED' ELSE 'PROCESSING' END,"
        " leased_by = CASE id %% 2 WHEN 0 THEN %s ELSE 'worker' END,"
        " leased_until = now() + CASE id %% 2 WHEN 0 THEN 900 ELSE -60 END * interval '1 second'"
        " WHERE id <= %s",
        (HOLDER, 2 * OTHERS),
    )
    return academy


IDS = list(range(1, 101))
PARAMETERS = {
    "ids": IDS,
    "rows": json.dumps(dict.fromkeys(IDS, "PROCESSING (worker,,)")),
    "reasons": json.dumps(dict.fromkeys(IDS, "because")),
    "untils": ["2026-01-01 00:00:00+00"],
    "holder": HOLDER,
    "handoff_s": 900,
}


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(statements.READ_VIDEOS, id="read-videos"),
        pytest.param(statements.LEASE_FOR_HANDOFF, id="lease-for-handoff"),
        pytest.param(statements.QUARANTINE, id="quarantine"),
        pytest.param(statements.READ_HANDOFFS, id="read-handoffs"),
        pytest.param(statements.CLEAR_HANDOFFS, id="clear-handoffs"),
        pytest.param(statements.READ_UNCLEARED, id="read-uncleared"),
    ],
)
def test_a_batch_is_found_by_its_ids_whatever_the_statistics_say(surprised_planner, statement):
    plan = "\n".join(line for (line,) in surprised_planner.sql("EXPLAIN " + statement, PARAMETERS))
    assert "video_video_pkey" in plan
    assert re.findall(r"video_video_\w*(?:status|leased)\w*", plan) == [], plan
