"""A stage that can't work is refused before anything is made, by the name of the key that is wrong."""

import copy
import json
from typing import ClassVar

import pytest

from cdk.stage import InvalidStage, load, stages_in
from tests.infra.conftest import STAGES, synthesized

SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:academy/database-AbCdEf"
LEAST = {
    "database": {"host": "db", "name": "academy", "secretArn": SECRET},
    "redis": {"url": "rediss://redis:6379/0"},
    "queues": {"video": "academy-video-jobs", "videoDeadLetter": "academy-video-jobs-dlq"},
    "workers": {"groupName": "academy-video-worker-asg"},
}


CREATE = {
    **{key: LEAST[key] for key in ("database", "redis")},
    "queues": {"create": True},
    "workers": {
        "create": {"imageId": "ami-0", "instanceType": "c7g.large", "availabilityZones": ["eu-west-1a"]}
    },
}
TOPIC = "arn:aws:sns:eu-west-2:123456789012:operators"


def stages(**changes):
    values = copy.deepcopy(LEAST)
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return {"mine": values}


def refusal(values, name="mine", overrides=None):
    with pytest.raises(InvalidStage) as caught:
        load(values, name, overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", STAGES)
def test_the_worked_examples_load(name):
    assert load(stages_in(), name)


class TestNames:
    def test_what_tells_stages_apart_has_the_name_of_the_stage(self):
        stage = load({"mine": CREATE}, "mine")
        assert stage.metrics.dimensions == {"Stage": "mine"}
        assert stage.scaling.override_parameter == "/video-reclaim/mine/scaling-override"
        assert (stage.queues.video, stage.queues.video_dead_letter) == (
            "video-jobs-mine",
            "video-jobs-mine-dlq",
        )
        assert stage.workers.group_name == "video-workers-mine"

    def test_two_stages_that_create_everything_share_nothing(self):
        assert load({"mine": CREATE, "other": CREATE}, "mine")

    def test_given_names_are_kept(self):
        given = {"overrideParameter": "/mine"}, {"dimensions": {}}
        stage = load(stages(scaling=given[0], metrics=given[1]), "mine")
        assert (stage.scaling.override_parameter, stage.metrics.dimensions) == ("/mine", {})
        assert stage.workers.group_name == "academy-video-worker-asg"

    @pytest.mark.parametrize(
        ("section", "key", "value"),
        [
            pytest.param("queues", "video", "jobs", id="queue"),
            pytest.param("queues", "videoDeadLetter", "dead", id="dead-letter-queue"),
            pytest.param("workers", "groupName", "group", id="group"),
            pytest.param("scaling", "overrideParameter", "/order", id="override"),
        ],
    )
    def test_a_stage_that_shares_with_another_is_refused(self, section, key, value):
        both = {"mine": copy.deepcopy(CREATE), "other": copy.deepcopy(CREATE)}
        for stage in both.values():
            stage.setdefault(section, {})[key] = value
        assert refusal(both).startswith(
            f"stages.mine.{section}.{key}: must not be the same as that of the stage other"
        )

    def test_a_stage_that_shares_its_metrics_with_another_is_refused(self):
        both = {name: {**CREATE, "metrics": {"dimensions": {}}} for name in ("mine", "other")}
        assert refusal(both).startswith("stages.mine.metrics: must not be the same")
        both["mine"]["metrics"] = {"dimensions": {}, "namespace": "Mine"}
        assert load(both, "mine")

    PLACE: ClassVar = {"account": "123456789012", "region": "eu-west-1"}
    DATABASE: ClassVar = {"host": "db", "name": "academy", "user": "u"}

    def two(self, mine, other):
        return {
            name: {**stages()["mine"], "database": self.DATABASE, **place}
            for name, place in (("mine", mine), ("other", other))
        }

    @pytest.mark.parametrize("place", [{"region": "eu-west-2"}, {"account": "210987654321"}], ids=str)
    def test_another_region_or_account_shares_nothing(self, place):
        assert load(self.two(self.PLACE, {**self.PLACE, **place}), "mine")

    @pytest.mark.parametrize("omitted", ["account", "region"])
    @pytest.mark.parametrize("by", ["mine", "other"])
    def test_an_omitted_account_or_region_may_be_the_same(self, omitted, by):
        both = self.two(self.PLACE, self.PLACE)
        del both[by][omitted]
        assert refusal(both).startswith("stages.mine.queues.video: must not be the same")

    @pytest.mark.parametrize(
        ("key", "name"),
        [
            pytest.param("video", "jobs", id="queue"),
            pytest.param("videoDeadLetter", "dead", id="dead-letter-queue"),
        ],
    )
    def test_a_queue_by_name_and_by_arn_is_the_same(self, key, name):
        both = self.two(self.PLACE, self.PLACE)
        for stage, queue in (("mine", name), ("other", f"arn:aws:sqs:eu-west-1:123456789012:{name}")):
            both[stage]["queues"] = {"video": stage, "videoDeadLetter": f"{stage}-dead", key: queue}
        assert refusal(both).startswith(f"stages.mine.queues.{key}: must not be the same")

    def test_a_queue_of_a_third_account_is_shared_by_stages_of_two_accounts(self):
        both = self.two(self.PLACE, {**self.PLACE, "account": "210987654321"})
        for stage in both.values():
            stage["queues"] = {**stage["queues"], "video": "arn:aws:sqs:eu-west-1:345678901234:jobs"}
        assert refusal(both).startswith("stages.mine.queues.video: must not be the same")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        pytest.param({"databse": {}}, "stages.mine.databse: ", id="unknown-key"),
        pytest.param({"database": {"hots": "db"}}, "stages.mine.database.hots: ", id="unknown-key-below"),
        pytest.param({"database": {"port": "5432"}}, "stages.mine.database.port: ", id="text-for-a-number"),
        pytest.param({"database": {"port": 0}}, "stages.mine.database.port: ", id="no-such-port"),
        pytest.param(
            {"database": {"secretArn": SECRET[:-7]}},
            "stages.mine.database.secretArn: ",
            id="secret-without-its-six-characters",
        ),
        pytest.param(
            {"database": {"iamResourceId": "db-ABC"}},
            "stages.mine.database: Value error, give secretArn or iamResourceId",
            id="two-ways-in",
        ),
        pytest.param(
            {"database": {"secretArn": None}}, "stages.mine.database: Value error, user", id="no-way-in"
        ),
        pytest.param(
            {"database": {"secretArn": None, "user": "u", "iamResourceId": "db-A", "sslMode": "disable"}},
            "stages.mine.database: Value error, iamResourceId needs TLS",
            id="token-in-the-clear",
        ),
        pytest.param(
            {"database": {"sslRootCert": "none.pem"}},
            "stages.mine.database.sslRootCert: ",
            id="missing-roots",
        ),
        pytest.param(
            {"database": {"sslRootCert": "../cdk.json"}}, "stages.mine.database.sslRootCert: ", id="outside"
        ),
        pytest.param(
            {"region": "mx-central-1"},
            "stages.mine: Value error, database.sslRootCert",
            id="region-without-roots",
        ),
        pytest.param(
            {"database": {"maxConnections": 13}},
            "stages.mine: Value error, database.maxConnections must be at least 14",
            id="too-few-connections-for-the-lanes",
        ),
        pytest.param({"redis": {"url": "http://redis"}}, "stages.mine.redis.url: ", id="not-redis"),
        pytest.param(
            {"redis": {"url": "rediss://:hunter2@redis:6379/0"}},
            "stages.mine.redis: Value error, url must hold no password",
            id="password-in-the-url",
        ),
        pytest.param(
            {"redis": {"url": "redis://redis:6379/0", "sslRootCert": "rds.pem"}},
            "stages.mine.redis: Value error, sslRootCert needs TLS",
            id="roots-without-tls",
        ),
        pytest.param({"queues": {"video": "jobs.fifo"}}, "stages.mine.queues.video: ", id="fifo"),
        pytest.param(
            {"queues": {"create": True, "video": "arn:aws:sqs:eu-west-1:123456789012:jobs"}},
            "stages.mine.queues: Value error, with create",
            id="create-by-arn",
        ),
        pytest.param(
            {"queues": {"others": {"Video": ["jobs"]}}},
            "stages.mine.queues: Value error, others",
            id="video-twice",
        ),
        pytest.param({"queues": {"others": {"AI": []}}}, "stages.mine.queues.others.AI: ", id="no-queue"),
        pytest.param(
            {"region": "eu-west-1", "queues": {"video": "arn:aws:sqs:eu-west-2:123456789012:jobs"}},
            "stages.mine: Value error, queues: arn:aws:sqs:eu-west-2",
            id="queue-in-another-region",
        ),
        pytest.param({"network": {"subnetIds": []}}, "stages.mine.network.subnetIds: ", id="no-subnet"),
        pytest.param(
            {"reclaiming": {"maxConcurrency": 41}},
            "stages.mine.reclaiming.maxConcurrency: ",
            id="beyond-inline-maps",
        ),
        pytest.param(
            {"reclaiming": {"handoffSeconds": 60}},
            "stages.mine.reclaiming.handoffSeconds: ",
            id="handoff-too-short",
        ),
        pytest.param(
            {"scaling": {"scaleInWindowSeconds": 90}},
            "stages.mine.scaling.scaleInWindowSeconds: ",
            id="half-a-minute",
        ),
        pytest.param(
            {"schedule": {"rateMinutes": 2}},
            "stages.mine: Value error, scaling.peakWindowSeconds must be at least 240",
            id="window-too-short-for-the-schedule",
        ),
        pytest.param(
            {"scaling": {"peakWindowSeconds": 1260}},
            "stages.mine: Value error, scaling.scaleInWindowSeconds must be at least scaling.peakWindowSeconds, 1260",
            id="short-window-longer-than-the-long-one",
        ),
        pytest.param({"scaling": {"mode": "auto"}}, "stages.mine.scaling.mode: ", id="unknown-mode"),
        pytest.param(
            {"observability": {"topicArn": "operators"}}, "stages.mine.observability.topicArn: ", id="no-arn"
        ),
        pytest.param({"queues": {"video": None}}, "stages.mine.queues.video: ", id="no-video-queue"),
        pytest.param(
            {"region": "eu-west-1", "observability": {"topicArn": TOPIC}},
            "stages.mine: Value error, observability.topicArn: ",
            id="topic-in-another-region",
        ),
        pytest.param(
            {"region": "eu-west-2"},
            "stages.mine: Value error, database.secretArn: ",
            id="secret-in-another-region",
        ),
        pytest.param(
            {
                "region": "eu-west-1",
                "workers": {
                    "create": {"imageId": "i", "instanceType": "t", "availabilityZones": ["us-east-1a"]}
                },
            },
            "stages.mine: Value error, workers.create.availabilityZones: ",
            id="zone-in-another-region",
        ),
        pytest.param(
            {
                "region": "eu-west-1",
                "account": "123456789012",
                "queues": {"videoDeadLetter": "arn:aws:sqs:eu-west-1:210987654321:dead"},
            },
            "stages.mine: Value error, queues.videoDeadLetter: ",
            id="dead-letters-that-no-alarm-sees",
        ),
        pytest.param(
            {"region": "eu-west-1", "queues": {"videoDeadLetter": "arn:aws:sqs:eu-west-1:123456789012:dead"}},
            "stages.mine: Value error, queues.videoDeadLetter: with an ARN, give account",
            id="dead-letters-of-an-account-that-may-be-another",
        ),
        pytest.param(
            {
                "account": "123456789012",
                "queues": {"videoDeadLetter": "arn:aws:sqs:eu-west-1:123456789012:d"},
            },
            "stages.mine: Value error, queues.videoDeadLetter: with an ARN, give account",
            id="dead-letters-of-a-region-that-may-be-another",
        ),
        pytest.param(
            {"metrics": {"namespace": "AWS/Mine"}}, "stages.mine.metrics.namespace: ", id="reserved"
        ),
        pytest.param(
            {"metrics": {"dimensions": {"WorkerType": "x"}}},
            "stages.mine.metrics.dimensions: ",
            id="dimension-of-queue-depth",
        ),
        pytest.param(
            {"metrics": {"dimensions": {"Stage": ""}}},
            "stages.mine.metrics.dimensions: ",
            id="empty-dimension",
        ),
        pytest.param(
            {"scaling": {"overrideParameter": "/aws/mine"}},
            "stages.mine.scaling.overrideParameter: ",
            id="reserved-parameter",
        ),
        pytest.param({"tags": {"aws:mine": "x"}}, "stages.mine.tags: ", id="reserved-tag"),
        pytest.param({"tags": {"mine": "x" * 257}}, "stages.mine.tags: ", id="long-tag"),
        pytest.param({"functions": {"python": "3.11"}}, "stages.mine.functions.python: ", id="old-python"),
        pytest.param({"functions": {"memory_mb": 512}}, "stages.mine.functions.memory_mb: ", id="snake-case"),
        pytest.param({"account": 123456789012}, "stages.mine.account: ", id="account-as-number"),
    ],
)
def test_refuses_and_names_the_key(changes, complaint):
    assert complaint in refusal(stages(**changes))


def test_a_refusal_never_shows_what_was_given():
    assert "hunter2" not in refusal(stages(redis={"url": "rediss://:hunter2@redis:6379/0"}))


@pytest.mark.parametrize(
    ("section", "key"),
    [("queues", "video"), ("queues", "videoDeadLetter"), ("workers", "groupName")],
    ids=["queue", "dead-letter-queue", "group"],
)
def test_what_is_not_created_must_be_named(section, key):
    values = stages()
    del values["mine"][section][key]
    assert refusal(values).startswith(f"stages.mine.{section}: Value error, {key} is needed")


@pytest.mark.parametrize("name", [None, "", "other"], ids=["none", "empty", "unknown"])
def test_a_stage_that_is_not_there_lists_those_that_are(name):
    assert refusal(stages(), name).startswith("stage: must be one of mine")


@pytest.mark.parametrize("name", ["Mine", "my_stage", "x" * 31], ids=["capital", "underscore", "long"])
def test_a_name_that_resources_can_not_bear(name):
    assert refusal({name: LEAST}, name).startswith(f"stages.{name}: a name has")


def test_overrides_are_merged_key_by_key():
    stage = load(stages(), "mine", '{"database": {"port": 5433}}')
    assert (stage.database.host, stage.database.port) == ("db", 5433)


def test_overrides_that_are_no_json():
    assert refusal(stages(), overrides="{").startswith("overrides: not JSON")


@pytest.mark.parametrize(
    ("changes", "concurrency"),
    [
        pytest.param(None, [None] * 4, id="unlimited"),
        pytest.param(14, [5, 2, 2, 5], id="five-lanes"),
        pytest.param(20, [8, 2, 2, 8], id="more-to-spare"),
    ],
)
def test_a_limited_database_is_never_held_by_more_instances(changes, concurrency):
    overrides = json.dumps({"database": {"maxConnections": changes}})
    functions = [
        one["Properties"]
        for one in synthesized("existing", overrides).template["Resources"].values()
        if one["Type"] == "AWS::Lambda::Function"
    ]
    reserved = {
        one["FunctionName"].split("-")[-1]: one.get("ReservedConcurrentExecutions") for one in functions
    }
    assert [reserved[name] for name in sorted(reserved)] == concurrency
    assert changes is None or sum(reserved.values()) <= changes
