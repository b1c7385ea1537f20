import pytest

from video_reclaim.errors import InvalidSetting
from video_reclaim.settings import BacklogSettings, DatabaseSettings, QueueSettings, StalenessSettings, read


def test_defaults_fill_what_is_not_set():
    settings = read(DatabaseSettings, {"DATABASE_HOST": "db", "DATABASE_NAME": "academy"})
    assert (settings.database_port, settings.database_sslmode) == (5432, "verify-full")


def test_text_numbers_booleans_and_objects():
    settings = read(
        DatabaseSettings,
        {"DATABASE_HOST": "db", "DATABASE_NAME": "a", "DATABASE_PORT": "6543", "DATABASE_IAM_AUTH": "true"},
    )
    assert (settings.database_port, settings.database_iam_auth) == (6543, True)
    backlog = read(BacklogSettings, {"QUEUE_URLS": '{"Video": ["u"]}', "AUTO_SCALING_GROUP": "g"})
    assert backlog.queue_urls == {"Video": ["u"]}


@pytest.mark.parametrize(
    ("kind", "environment", "name"),
    [
        pytest.param(DatabaseSettings, {"DATABASE_NAME": "a"}, "DATABASE_HOST", id="missing"),
        pytest.param(QueueSettings, {"QUEUE_URL": ""}, "QUEUE_URL", id="empty-is-missing"),
        pytest.param(
            StalenessSettings, {"CONFIRM_SILENCE_SECONDS": "1m"}, "CONFIRM_SILENCE_SECONDS", id="not-a-number"
        ),
        pytest.param(
            StalenessSettings, {"CONFIRM_SILENCE_SECONDS": "-1"}, "CONFIRM_SILENCE_SECONDS", id="negative"
        ),
        pytest.param(
            DatabaseSettings,
            {"DATABASE_HOST": "h", "DATABASE_NAME": "n", "DATABASE_IAM_AUTH": "yes"},
            "DATABASE_IAM_AUTH",
            id="not-a-boolean",
        ),
        pytest.param(
            BacklogSettings, {"QUEUE_URLS": "[]", "AUTO_SCALING_GROUP": "g"}, "QUEUE_URLS", id="not-an-object"
        ),
        pytest.param(
            BacklogSettings, {"QUEUE_URLS": "{", "AUTO_SCALING_GROUP": "g"}, "QUEUE_URLS", id="not-json"
        ),
    ],
)
def test_refuses_and_names_the_variable(kind, environment, name):
    with pytest.raises(InvalidSetting, match=f"^{name} ") as caught:
        read(kind, environment)
    assert caught.value.name == name
