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
    Workers,
    read,
    variable,
)

COMPLETE = {
    "DATABASE_HOST": "db",
    "DATABASE_PORT": "6543",
    "DATABASE_NAME": "academy",
    "DATABASE_SSL_MODE": "verify-full",
    "DATABASE_STATEMENT_SECONDS": "30",
    "REDIS_URL": "rediss://redis:6379/0",
    "RECLAIMING_CONFIRM_SILENCE_SECONDS": "30",
    "RECLAIMING_HANDOFF_SECONDS": "800",
    "RECLAIMING_MAX_RECLAIMS": "0",
    "RECLAIMING_MASS_SILENCE_SECONDS": "600",
    "RECLAIMING_LOST_AFTER_SECONDS": "900",
    "RECLAIMING_LOST_MESSAGES": "resend",
    "RECLAIMING_EXPIRED_BUT_BEATING": "spare",
    "SCHEDULE_RATE_MINUTES": "1",
    "QUEUES_URLS": '{"Video": ["https://queue"], "Audio": []}',
    "METRICS_NAMESPACE": "VideoReclaim",
    "METRICS_DIMENSIONS": '{"Stage": "test"}',
    "WORKERS_GROUP_NAME": "workers",
    "SCALING_MODE": "advise",
    "SCALING_VIDEOS_PER_WORKER": "2",
    "SCALING_SPARE_WORKERS": "0",
    "SCALING_PEAK_WINDOW_SECONDS": "120",
    "SCALING_SCALE_IN_WINDOW_SECONDS": "1200",
    "SCALING_OVERRIDE_PARAMETER": "/override",
}
SECTIONS = [Database, Redis, Reclaiming, Schedule, Queues, Metrics, Workers, Scaling]


def test_text_and_numbers():
    assert read(Database, COMPLETE) == Database("db", 6543, "academy", "verify-full", 30)
    assert read(Reclaiming, COMPLETE) == Reclaiming(30, 800, 0, 600, 900, "resend", "spare")


def test_objects_are_json():
    queues = read(Queues, COMPLETE)
    assert queues.urls == {"Video": ["https://queue"], "Audio": []}
    assert queues.video_url == "https://queue"
    assert read(Metrics, COMPLETE).dimensions == {"Stage": "test"}


def test_an_optional_variable_that_is_absent_is_none():
    assert read(Scaling, COMPLETE).max_step_out is None
    assert read(Scaling, {**COMPLETE, "SCALING_MAX_STEP_OUT": "3"}).max_step_out == 3
    assert read(Database, COMPLETE).secret_arn is None


def test_a_text_that_looks_like_a_number_stays_text():
    assert read(Database, {**COMPLETE, "DATABASE_HOST": "10", "DATABASE_NAME": "true"}).host == "10"


def test_the_file_of_trusted_roots_lies_in_the_layers():
    assert read(Redis, COMPLETE).root_cert_file is None
    assert read(Redis, {**COMPLETE, "REDIS_SSL_ROOT_CERT": "ca.pem"}).root_cert_file == "/opt/ca.pem"


def test_the_variables_of_this_process_are_read(monkeypatch):
    monkeypatch.setenv("WORKERS_GROUP_NAME", "from-the-process")
    assert read(Workers).group_name == "from-the-process"


REQUIRED = [
    pytest.param(section, variable(section, field.name), id=variable(section, field.name))
    for section in SECTIONS
    for field in msgspec.structs.fields(section)
    if field.required
]


@pytest.mark.parametrize(("section", "name"), REQUIRED)
def test_a_required_variable_that_is_absent_is_named(section, name):
    environment = {key: value for key, value in COMPLETE.items() if key != name}
    with pytest.raises(InvalidSetting, match=f"^{name}: ") as caught:
        read(section, environment)
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("section", "name", "text"),
    [
        pytest.param(Database, "DATABASE_PORT", "", id="an-empty-text-is-no-number"),
        pytest.param(Database, "DATABASE_PORT", "0", id="a-positive-number-is-at-least-one"),
        pytest.param(Database, "DATABASE_PORT", "5432.5", id="a-fraction-is-no-whole-number"),
        pytest.param(Database, "DATABASE_SSL_MODE", "prefer", id="only-known-modes"),
        pytest.param(Reclaiming, "RECLAIMING_CONFIRM_SILENCE_SECONDS", "1m", id="a-unit-is-no-number"),
        pytest.param(Reclaiming, "RECLAIMING_CONFIRM_SILENCE_SECONDS", "-1", id="never-negative"),
        pytest.param(
            Reclaiming, "RECLAIMING_MASS_SILENCE_SECONDS", "-1", id="mass-silence-is-never-negative"
        ),
        pytest.param(Reclaiming, "RECLAIMING_LOST_AFTER_SECONDS", "0", id="no-message-is-lost-at-once"),
        pytest.param(Reclaiming, "RECLAIMING_LOST_MESSAGES", "spare", id="lost-messages-are-not-spared"),
        pytest.param(Reclaiming, "RECLAIMING_EXPIRED_BUT_BEATING", "report", id="only-reclaim-or-spare"),
        pytest.param(Scaling, "SCALING_MAX_STEP_OUT", "0", id="a-step-is-at-least-one-worker"),
        pytest.param(Scaling, "SCALING_MODE", "Apply", id="case-matters"),
        pytest.param(Queues, "QUEUES_URLS", "[]", id="a-list-is-no-object"),
        pytest.param(Queues, "QUEUES_URLS", "{", id="text-that-is-not-json"),
        pytest.param(Queues, "QUEUES_URLS", '{"Video": "u"}', id="urls-are-a-list"),
        pytest.param(Queues, "QUEUES_URLS", '{"Audio": ["u"]}', id="the-video-queue-must-be-named"),
        pytest.param(Queues, "QUEUES_URLS", '{"Video": []}', id="no-video-queue-is-too-few"),
        pytest.param(Queues, "QUEUES_URLS", '{"Video": ["u", "v"]}', id="two-video-queues-are-too-many"),
        pytest.param(Metrics, "METRICS_DIMENSIONS", '{"Stage": 1}', id="dimensions-are-text"),
    ],
)
def test_refuses_and_names_the_variable(section, name, text):
    with pytest.raises(InvalidSetting, match=f"^{name}: ") as caught:
        read(section, {**COMPLETE, name: text})
    assert caught.value.name == name
