"""The saved queries name fields that the functions really log, and compare them with values that they have."""

import json
import re

import boto3
import pytest
from moto import mock_aws

import enqueue
import list_stale_videos
import publish_backlog
import reclaim
from cdk.queries import DECISIONS, QUERIES, Query
from dev.testing.sections import SIZING

EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:video-reclaim:first"
ALL = {**QUERIES, "Latest decisions, of the dashboard": Query(DECISIONS, ("PublishBacklog",))}
WORDS = {"and", "as", "asc", "by", "desc", "fields", "filter", "in", "like", "limit", "or", "sort", "stats"}


@pytest.fixture
def logged(academy, environment, capsys):
    """The log lines of each function, of runs in which it has something to say of every kind."""
    for name, value in SIZING.items():
        environment.setenv(name, value)
    with mock_aws():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="academy-video-jobs")["QueueUrl"]
        environment.setenv("QUEUES_URLS", json.dumps({"Video": [url]}))
        silent, waiting, suspect = academy.add(), academy.add("UPLOADED"), academy.add()
        for passed_s in (0, 61, 400):
            list_videos()
            academy.pass_time(passed_s, silent, waiting)
            academy.pass_time(passed_s / 20, suspect)
            if passed_s:
                academy.pass_time(61, "queue-clear")
        list_videos()
        lines = {"ListStaleVideos": read(capsys)}
        given = {
            "videos": [silent, waiting],
            "input": {},
            "execution": EXECUTION,
            "failOnPartial": False,
            "unsent": True,
        }
        taken = reclaim.handler(given | {"startedAt": "2026-03-02T12:00:00.000Z"}, None)
        lines["Reclaim"] = read(capsys)
        academy.redis.set(f"tenant:1:video:{silent}:cancel_requested", "1", ex=100)  # its message is delayed
        enqueue.handler(taken, None)
        lines["Enqueue"] = read(capsys)
        environment.setenv("DATABASE_PORT", "1")
        publish = {"input": {}, "run": {"dryRun": False}, "pass": {"results": [], "retried": False}}
        publish_backlog.store.cache_clear()
        publish_backlog.handler(publish | {"execution": EXECUTION}, None)
        lines["PublishBacklog"] = read(capsys)
    return lines


def list_videos():
    list_stale_videos.handler({"input": {}, "run": {}, "execution": EXECUTION}, None)


def read(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def lines_of(query, logged):
    return [line for function in query.functions or logged for line in logged[function]]


def without_texts(query):
    """The query without its comments, strings and regular expressions."""
    return re.sub(r'#.*|"[^"]*"|/(?:\\.|[^/\\])+/', " ", query.text)


def fields_of(query):
    """The names in a query that are neither words of the language, functions nor its own names."""
    text = without_texts(query)
    own = set(re.findall(r"\bas (\w+)", text))
    names = set(re.findall(r"(?<![\w@])@?[A-Za-z_]\w*\b(?!\()", text))
    return names - own - WORDS


def not_logged(query, lines):
    """The fields of a query that no line has; those that begin with @ are of Logs Insights itself."""
    return {field for field in fields_of(query) if field[0] != "@"} - {
        field for line in lines for field in line
    }


def never_equal(query, lines):
    """The fields that a query compares with a text that none has, or with a number although none is one.

    Logs Insights shows a boolean as a number.
    """
    texts = re.findall(r'(?<![\w@])(\w+) = "([^"]*)"', query.text)
    numbers = re.findall(r"(?<![\w@])(\w+) = \d+", without_texts(query))
    return {field for field, text in texts if not any(line.get(field) == text for line in lines)} | {
        field for field in numbers if not any(isinstance(line.get(field), int) for line in lines)
    }


def test_queries_name_fields_that_are_logged_and_compare_them_with_values_that_they_have(logged):
    for name, query in ALL.items():
        lines = lines_of(query, logged)
        assert not_logged(query, lines) == set(), name
        assert never_equal(query, lines) == set(), name


def test_the_fields_of_a_query_are_found():
    query = Query(
        """# Of which nothing counts.
fields @timestamp, reason, queue_oldest_s
| filter message = "decided" and level in ["WARNING"] or ispresent(error) or @message like /Task \\/ timed/
| stats count(*) as videos, max(@duration) as longest_ms by bin(1h), holder
| sort longest_ms desc"""
    )
    assert fields_of(query) == {
        *("@timestamp", "@message", "@duration"),
        *("reason", "queue_oldest_s", "message", "level", "error", "holder"),
    }
