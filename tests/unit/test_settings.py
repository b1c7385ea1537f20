import msgspec
import pytest

from video_reclaim.errors import InvalidSetting
from video_reclaim.settings import (
    Database,
    Metrics,
    Queues,
    Reclaiming,
    Redis,
    Scaling,
    Schedule,
    Stage,
    Workers,
    read,
    variable,
)

# No two values of a kind are equal, so that a setting which is read from another one's variable is seen.
COMPLETE = {
    "DATABASE_HOST": "10",  # text that looks like a number stays text
    "DATABASE_PORT": "6543",
    "DATABASE_NAME": "true",
    "DATABASE_SSL_MODE": "verify-full",
    "DATABASE_STATEMENT_SECONDS": "31",
    "DATABASE_USER": "lambda",
    "DATABASE_SECRET_ARN": "arn:database",
    "DATABASE_IAM_RESOURCE_ID": "db-1",
    "DATABASE_SSL_ROOT_CERT": "rds.pem",
    "REDIS_URL": "rediss://redis:6379/0",
    "REDIS_SECRET_ARN": "arn:redis",
    "REDIS_SSL_ROOT_CERT": "redis.pem",
    "STAGE_NAME": "blue",
    "RECLAIMING_SILENT_AFTER_SECONDS": "61",
    "RECLAIMING_HANDOFF_SECONDS": "801",
    "RECLAIMING_MAX_RECLAIMS": "0",
    "RECLAIMING_MASS_SILENCE_SECONDS": "602",
    "RECLAIMING_LOST_AFTER_SECONDS": "303",
    "RECLAIMING_EXPIRED_BUT_BEATING": "spare",
    "SCHEDULE_RATE_MINUTES": "2",
    "QUEUES_URLS": '{"Video": ["https://queue"], "Audio": []}',
    "METRICS_NAMESPACE": "VideoReclaim",
    "METRICS_DIMENSIONS": '{"Stage": "test"}',
    "WORKERS_GROUP_NAME": "workers",
    "SCALING_MODE": "advise",
    "SCALING_VIDEOS_PER_WORKER": "4",
    "SCALING_SPARE_WORKERS": "0",
    "SCALING_PEAK_WINDOW_SECONDS": "180",
    "SCALING_SCALE_IN_WINDOW_SECONDS": "1260",
    "SCALING_OVERRIDE_PARAMETER": "/override",
    "SCALING_MAX_STEP_OUT": "3",
}
EXPECTED = [
    Database(
        host="10",
        port=6543,
        name="true",
        ssl_mode="verify-full",
        statement_seconds=31,
        user="lambda",
        secret_arn="arn:database",
        iam_resource_id="db-1",
        ssl_root_cert="rds.pem",
    ),
    Redis(url="rediss://redis:6379/0", secret_arn="arn:redis", ssl_root_cert="redis.pem"),
    Stage(name="blue"),
    Reclaiming(
        silent_after_seconds=61,
        handoff_seconds=801,
        max_reclaims=0,
        mass_silence_seconds=602,
        lost_after_seconds=303,
        expired_but_beating="spare",
    ),
    Schedule(rate_minutes=2),
    Queues(urls={"Video": ["https://queue"], "Audio": []}),
    Metrics(namespace="VideoReclaim", dimensions={"Stage": "test"}),
    Workers(group_name="workers"),
    Scaling(
        mode="advise",
        videos_per_worker=4,
        spare_workers=0,
        peak_window_seconds=180,
        scale_in_window_seconds=1260,
        override_parameter="/override",
        max_step_out=3,
    ),
]


def test_every_field_is_read_from_its_own_variable():
    assert [read(type(expected), COMPLETE) for expected in EXPECTED] == EXPECTED
    named = {variable(type(one), field.name) for one in EXPECTED for field in msgspec.structs.fields(one)}
    assert named == COMPLETE.keys()


def test_a_variable_that_is_absent_is_none_if_it_may_and_else_an_error_that_names_it(monkeypatch):
    for expected in EXPECTED:
        for field in msgspec.structs.fields(expected):
            name = variable(type(expected), field.name)
            without = {key: value for key, value in COMPLETE.items() if key != name}
            if field.required:
                with pytest.raises(InvalidSetting, match=f"^{name}: is not set"):
                    read(type(expected), without)
            else:
                assert getattr(read(type(expected), without | {name: ""}), field.name) is None


def test_the_variables_of_this_process_are_read(monkeypatch):
    monkeypatch.setenv("WORKERS_GROUP_NAME", "from-the-process")
    assert read(Workers).group_name == "from-the-process"


def test_the_file_of_trusted_roots_lies_in_the_layers_and_the_video_queue_is_the_one_of_its_type():
    assert read(Redis, COMPLETE).root_cert_file == "/opt/redis.pem"
    assert read(Redis, {"REDIS_URL": "redis://r"}).root_cert_file is None
    assert read(Queues, COMPLETE).video_url == "https://queue"


@pytest.mark.parametrize(
    ("section", "field", "text"),
    [
        pytest.param(Database, "port", "0", id="a-positive-number-is-at-least-one"),
        pytest.param(Database, "port", "5432.5", id="a-fraction-is-no-whole-number"),
        pytest.param(Database, "ssl_mode", "prefer", id="only-known-modes"),
        pytest.param(Reclaiming, "silent_after_seconds", "1m", id="a-unit-is-no-number"),
        pytest.param(Reclaiming, "silent_after_seconds", "0", id="nobody-is-silent-at-once"),
        pytest.param(Reclaiming, "mass_silence_seconds", "-1", id="never-negative"),
        pytest.param(Reclaiming, "lost_after_seconds", "0", id="no-message-is-lost-at-once"),
        pytest.param(Reclaiming, "expired_but_beating", "report", id="only-reclaim-or-spare"),
        pytest.param(Scaling, "max_step_out", "0", id="a-step-is-at-least-one-worker"),
        pytest.param(Scaling, "mode", "Apply", id="case-matters"),
        pytest.param(Queues, "urls", "[]", id="a-list-is-no-object"),
        pytest.param(Queues, "urls", "{", id="text-that-is-not-json"),
        pytest.param(Queues, "urls", '{"Video": "u"}', id="urls-are-a-list"),
        pytest.param(Metrics, "dimensions", '{"Stage": 1}', id="dimensions-are-text"),
    ],
)
def test_refuses_and_names_the_variable(section, field, text):
    name = variable(section, field)
    with pytest.raises(InvalidSetting, match=f"^{name}: "):
        read(section, {**COMPLETE, name: text})
