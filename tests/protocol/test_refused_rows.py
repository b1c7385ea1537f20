"""A row that PostgreSQL refuses, to write or to read, stops nobody else."""

import pytest

pytestmark = pytest.mark.every_postgres

_TRIGGER = """
CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id = {video} AND NEW.status <> OLD.status THEN
        RAISE EXCEPTION 'archived' USING ERRCODE = '{code}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_one BEFORE UPDATE ON video_video FOR EACH ROW EXECUTE FUNCTION refuse_one();
"""


@pytest.fixture
def refused(academy):
    """A video that can't be written, by a trigger with the code that a test gives."""
    video = academy.add(until=-100)

    def refuse(code):
        academy.sql(_TRIGGER.format(video=video, code=code))
        return video

    yield refuse
    academy.sql("DROP FUNCTION IF EXISTS refuse_one CASCADE")


@pytest.mark.parametrize("code", ["42501", "P0001"])
def test_a_trigger_s_refusal_with_any_code_concerns_its_row_alone(stage, academy, refused, code):
    video, good = refused(code), [academy.add(until=-1) for _ in range(60)]
    execution = stage.execute()
    assert execution.status == "SUCCEEDED"
    assert stage.messages() == good
    assert sum(item["did"].get("refused", 0) for item in execution.results) == 1
    assert academy.state(video)[0] == "PROCESSING"


@pytest.mark.parametrize("column", ["leased_until", "processing_started_at"])
@pytest.mark.parametrize("value", ["infinity", "-infinity"])
def test_an_infinite_time_stops_no_listing(stage, academy, column, value):
    """Up to version 16, PostgreSQL subtracts no infinite times."""
    good = [academy.add(until=-1) for _ in range(5)]
    odd = academy.add()
    academy.sql(f"UPDATE video_video SET {column} = %s WHERE id = %s", (value, odd))
    assert stage.execute().status == "SUCCEEDED"
    assert set(good) <= set(stage.messages())
