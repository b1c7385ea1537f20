"""A stage that can't work is refused before anything is made, by the name of the key that is wrong."""

import copy
import json

import pytest

from cdk.stage import InvalidStage, load, stages_in
from tests.infra.conftest import STAGES, functions, synthesized

SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:academy/database-AbCdEf"
DEAD = "arn:aws:sqs:eu-west-1:123456789012:dead"
PLACE = {"account": "123456789012", "region": "eu-west-1"}
ELSEWHERE = {
    SECRET.replace("west-1", "west-2"): "database.secretArn redis.secretArn",
    "arn:aws:kms:eu-west-2:123456789012:key/0": "database.secretKeyArn redis.secretKeyArn queues.videoKeyArn",
    "arn:aws:sns:eu-west-2:123456789012:operators": "observability.topicArn observability.notifyTopicArn",
}
LEAST = {
    "database": {"host": "db", "name": "academy", "secretArn": SECRET},
    "redis": {"url": "rediss://redis:6379/0"},
    "queues": {"video": "academy-video-jobs", "videoDeadLetter": "academy-video-jobs-dlq"},
    "workers": {"groupName": "academy-video-worker-asg"},
}
CREATE = {**LEAST, "queues": {"create": True}}
BY_USER = {"host": "db", "name": "academy", "user": "u"}


def stages(**changes):
    values = copy.deepcopy(LEAST)
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return {"mine": values}


def refusal(values, name="mine", overrides=None):
    with pytest.raises(InvalidStage) as caught:
        load(values, name, overrides)
    return str(caught.value)


def test_every_stage_of_the_folder_loads():
    assert [load(stages_in(), name) for name in {*STAGES, *stages_in()}]
    assert load(stages_in(), "existing").scaling.mode == "advise", (
        "a copy of it must change no group at first"
    )


# What is changed in a stage, and how its refusal begins after "stages.mine"; "!" is for a rule of several keys.
REFUSED = [
    ({"databse": {}}, ".databse: "),
    ({"account": 123456789012}, ".account: "),
    ({"database": {"hots": "db"}}, ".database.hots: "),
    ({"database": {"port": "5432"}}, ".database.port: "),
    ({"database": {"port": 0}}, ".database.port: "),
    ({"database": {"secretArn": SECRET[:-7]}}, ".database.secretArn: "),
    ({"database": {"iamResourceId": "db-ABC"}}, ".database: !give secretArn or iamResourceId"),
    ({"database": {"secretArn": None}}, ".database: !user"),
    (
        {"database": {"secretArn": None, "user": "u", "iamResourceId": "db-A", "sslMode": "disable"}},
        ".database: !iam",
    ),
    ({"database": {"sslRootCert": "none.pem"}}, ".database.sslRootCert: "),
    ({"database": {"sslRootCert": "./none.pem"}}, ".database.sslRootCert: "),
    ({"database": {"maxConnections": 13}}, ": !database.maxConnections must be at least 14"),
    ({"redis": {"url": "http://redis"}}, ".redis.url: "),
    ({"redis": {"url": "rediss://:hunter2@redis:6379/0"}}, ".redis: !url must hold no password"),
    ({"redis": {"url": "redis://redis:6379/0", "sslRootCert": "rds.pem"}}, ".redis: !sslRootCert needs TLS"),
    ({"queues": {"video": None}}, ".queues.video: "),
    ({"queues": {"video": "jobs.fifo"}}, ".queues.video: "),
    ({"queues": {"create": True, "video": DEAD}}, ".queues: !with create"),
    ({"queues": {"others": {"Video": ["jobs"]}}}, ".queues: !others"),
    ({"queues": {"others": {"AI": []}}}, ".queues.others.AI: "),
    ({"workers": {"create": {}}}, ".workers.create: "),
    ({"network": {"subnetIds": []}}, ".network.subnetIds: "),
    ({"reclaiming": {"maxConcurrency": 41}}, ".reclaiming.maxConcurrency: "),
    ({"reclaiming": {"handoffSeconds": 60}}, ".reclaiming.handoffSeconds: "),
    ({"reclaiming": {"silentAfterSeconds": 44}}, ".reclaiming.silentAfterSeconds: "),
    ({"scaling": {"scaleInWindowSeconds": 90}}, ".scaling.scaleInWindowSeconds: "),
    (
        {"scaling": {"peakWindowSeconds": 1260}},
        ": !scaling.scaleInWindowSeconds must be at least scaling.peak",
    ),
    ({"schedule": {"rateMinutes": 61}}, ".schedule.rateMinutes: "),
    ({"schedule": {"rateMinutes": 2}}, ": !scaling.peakWindowSeconds must be at least 240"),
    ({"scaling": {"mode": "auto"}}, ".scaling.mode: "),
    ({"scaling": {"overrideParameter": "/aws/mine"}}, ".scaling.overrideParameter: "),
    ({"metrics": {"namespace": "AWS/Mine"}}, ".metrics.namespace: "),
    ({"metrics": {"dimensions": {"WorkerType": "x"}}}, ".metrics.dimensions: "),
    ({"metrics": {"dimensions": {"Stage": ""}}}, ".metrics.dimensions: "),
    ({"observability": {"topicArn": "operators"}}, ".observability.topicArn: "),
    ({"tags": {"aws:mine": "x"}}, ".tags: "),
    ({"tags": {"mine": "x" * 257}}, ".tags: "),
    ({"tags": {f"mine{n}": "" for n in range(49)}}, ".tags: "),
    ({"functions": {"python": "3.11"}}, ".functions.python: "),
    ({"functions": {"memory_mb": 512}}, ".functions.memory_mb: "),
    # of another region or account
    ({"region": "mx-central-1"}, ": !database.sslRootCert"),
    *(
        ({**PLACE, key.split(".")[0]: {key.split(".")[1]: arn}}, f": !{key}: ")
        for arn, keys in ELSEWHERE.items()
        for key in keys.split()
    ),
    (
        {**PLACE, "queues": {"video": "arn:aws:sqs:eu-west-2:123456789012:jobs"}},
        ": !queues: arn:aws:sqs:eu-west-2",
    ),
    (
        {**PLACE, "queues": {"videoDeadLetter": DEAD.replace("1234", "4321")}},
        ": !queues.videoDeadLetter: the alarm",
    ),
    ({"region": "eu-west-1", "queues": {"videoDeadLetter": DEAD}}, ": !queues.videoDeadLetter: with an ARN"),
    (
        {"account": "123456789012", "queues": {"videoDeadLetter": DEAD}},
        ": !queues.videoDeadLetter: with an ARN",
    ),
]


@pytest.mark.parametrize(("changes", "complaint"), REFUSED, ids=lambda one: json.dumps(one)[:60])
def test_refuses_and_names_the_key(changes, complaint):
    message = refusal(stages(**changes))
    assert f"stages.mine{complaint.replace('!', 'Value error, ')}" in message
    assert "hunter2" not in message, "what was given may be a secret"


def test_what_is_not_created_must_be_named():
    for key in ("video", "videoDeadLetter"):
        values = stages()
        del values["mine"]["queues"][key]
        assert refusal(values).startswith(f"stages.mine.queues: Value error, {key} is needed")


def test_the_name_is_that_of_a_stage_and_one_that_resources_can_bear():
    for name in (None, "", "other"):
        assert refusal(stages(), name).startswith("stage: must be one of mine")
    for name in ("Mine", "my_stage", "x" * 31):
        assert refusal({name: LEAST}, name).startswith(f"stages.{name}: a name has")


def test_overrides_are_merged_key_by_key():
    stage = load(stages(), "mine", '{"database": {"port": 5433}}')
    assert (stage.database.host, stage.database.port) == ("db", 5433)
    assert refusal(stages(), overrides="{").startswith("overrides: not JSON")


class TestNames:
    def test_what_tells_stages_apart_has_the_name_of_the_stage_unless_it_is_given(self):
        stage = load({"mine": CREATE}, "mine")
        assert stage.metrics.dimensions == {"Stage": "mine"}
        assert stage.scaling.override_parameter == "/video-reclaim/mine/scaling-override"
        assert stage.queues.names == ["video-jobs-mine", "video-jobs-mine-dlq"]
        stage = load(stages(scaling={"overrideParameter": "/mine"}, metrics={"dimensions": {}}), "mine")
        assert (stage.scaling.override_parameter, stage.metrics.dimensions) == ("/mine", {})

    @pytest.mark.parametrize(
        ("key", "shared"),
        [
            ("queues.video", {"video": "jobs"}),
            ("queues.videoDeadLetter", {"videoDeadLetter": "dead"}),
            ("workers.groupName", {"groupName": "g"}),
            ("scaling.overrideParameter", {"overrideParameter": "/order"}),
            ("metrics", {"dimensions": {}}),
        ],
    )
    def test_a_stage_that_shares_with_another_is_refused(self, key, shared):
        both = {name: {**CREATE, "workers": {"groupName": name}} for name in ("mine", "other")}
        assert load(both, "mine")
        section = key.partition(".")[0]
        both = {
            name: {**values, section: {**values.get(section, {}), **shared}} for name, values in both.items()
        }
        assert refusal(both).startswith(f"stages.mine.{key}: must not be the same as that of the stage other")

    @staticmethod
    def two(mine, other, **queues):
        values = {**LEAST, "database": BY_USER, "queues": {**LEAST["queues"], **queues}}
        return {name: {**values, **place} for name, place in (("mine", mine), ("other", other))}

    def test_another_region_or_account_shares_nothing_and_an_omitted_one_may_be_the_same(self):
        for there in ({"region": "eu-west-2"}, {"account": "210987654321"}):
            assert load(self.two(PLACE, {**PLACE, **there}), "mine")
        for omitted in PLACE:
            partly = {key: value for key, value in PLACE.items() if key != omitted}
            for one, another in ((partly, PLACE), (PLACE, partly)):
                assert refusal(self.two(one, another)).startswith(
                    "stages.mine.queues.video: must not be the same"
                )

    def test_a_queue_by_name_and_by_arn_is_the_same_and_one_of_a_third_account_is_shared(self):
        both = self.two(PLACE, {**PLACE, "workers": {"groupName": "g"}})
        both["other"]["queues"] = {
            "video": DEAD.replace("dead", "academy-video-jobs"),
            "videoDeadLetter": "d",
        }
        assert refusal(both).startswith("stages.mine.queues.video: must not be the same")
        third = "arn:aws:sqs:eu-west-1:345678901234:jobs"
        both = self.two(PLACE, {**PLACE, "account": "210987654321"}, video=third)
        assert refusal(both).startswith("stages.mine.queues.video: must not be the same")


@pytest.mark.parametrize(
    ("connections", "concurrency"),
    [(None, [None] * 4), (14, [5, 2, 2, 5]), (20, [8, 2, 2, 8])],
    ids=["unlimited", "five-lanes", "more-to-spare"],
)
def test_a_limited_database_is_never_held_by_more_instances(connections, concurrency):
    overrides = json.dumps({"database": {"maxConnections": connections}})
    four = functions(synthesized("existing", overrides).template["Resources"])
    reserved = [four[name].get("ReservedConcurrentExecutions") for name in sorted(four)]
    assert reserved == concurrency
    assert connections is None or sum(reserved) <= connections
