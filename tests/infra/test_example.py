"""The construct in another app: what it makes of constructs, what it refuses, and the examples."""

import json
from pathlib import Path

import aws_cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from cdk.connections import database_by_iam, database_by_secret, redis_at
from cdk.sections import Database, Network
from cdk.stage import InvalidStage, Metrics, Scaling, Settings
from cdk.video_reclaim import VideoReclaim
from examples.app import Academy, Reclaim
from examples.pipeline import Pipeline
from tests.infra.conftest import (
    CONTEXT,
    checked_example,
    example,
    functions,
    make_folder,
    of_type,
    synthesized,
)
from tests.infra.references import ACCOUNT, REGION, as_list, granted, role_of, statements, written
from tests.infra.test_resources import PLACES, partitions_in
from tests.infra.test_rules import lint, unaccepted
from video_reclaim.metrics import METRICS

SUBNET, GROUP = "subnet-0123456789abcdef0", "sg-0123456789abcdef0"
NETWORK = Network(subnet_ids=[SUBNET], security_group_ids=[GROUP])
HERE = aws_cdk.Environment(account="123456789012", region="eu-west-1")
BY_USER = Database(host="db", name="academy", user="u", ssl_mode="require")


class TestExample:
    @pytest.fixture
    def academy(self):
        return example()["Academy"]["Resources"]

    @pytest.fixture
    def reclaim(self):
        return example()["Reclaim"]["Resources"]

    def test_no_finding_is_left(self):
        short = "the example is kept short"
        accepted = [
            (f"AwsSolutions-{rule}", ".*", short) for rule in ("SMG4", "AEC5", "AEC6", "EC26")
        ]  # EC26 can't read a template's reference
        assert unaccepted(checked_example().findings, accepted) == []
        assert [finding for template in example().values() for finding in unaccepted(lint(template))] == []

    def test_one_stack_depends_on_the_other_and_not_the_other_way_round(self):
        manifest = json.loads((checked_example().folder / "manifest.json").read_text())["artifacts"]
        assert "Reclaim" not in manifest["Academy"].get("dependencies", [])

    def test_functions_reach_the_proxy_and_valkey(self, academy, reclaim):
        rules = of_type(reclaim, "AWS::EC2::SecurityGroupIngress").values()
        (own,) = of_type(reclaim, "AWS::EC2::SecurityGroup")
        assert {rule["FromPort"] for rule in rules} == {rule["ToPort"] for rule in rules} == {5432, 6379}
        assert {rule["SourceSecurityGroupId"]["Fn::GetAtt"][0] for rule in rules} == {own}
        for function in functions(reclaim).values():
            assert function["VpcConfig"]["SecurityGroupIds"] == [{"Fn::GetAtt": [own, "GroupId"]}]
        ports = {
            one["Port"]
            for one in of_type(academy, "AWS::ElastiCache::ReplicationGroup").values()
            if "Port" in one
        }
        assert not ports, "6379 is the default"

    def test_functions_may_use_the_key_of_the_queue_through_sqs(self, reclaim):
        uses = [
            (
                set(as_list(one["Action"])),
                written(one["Condition"]["StringEquals"]["kms:ViaService"], reclaim),
            )
            for one in statements(reclaim, role_of(functions(reclaim)["Enqueue"]))
            if as_list(one["Action"])[0].startswith("kms:")
        ]
        assert ({"kms:Decrypt", "kms:GenerateDataKey"}, f"sqs.{REGION}.amazonaws.com") in uses

    def test_every_alarm_and_its_end_are_told_to_the_operators(self, reclaim):
        alarms = of_type(reclaim, "AWS::CloudWatch::Alarm").values()
        assert len({json.dumps(alarm["AlarmActions"]) for alarm in alarms}) == 1
        assert all(alarm["AlarmActions"] == alarm["OKActions"] for alarm in alarms)

    def test_names_tell_deployments_apart(self, reclaim):
        (name,) = {function["FunctionName"].rsplit("-", 1)[0] for function in functions(reclaim).values()}
        told = functions(reclaim)["PublishBacklog"]["Environment"]["Variables"]["METRICS_DIMENSIONS"]
        assert json.loads(told) == {"Stage": name.removeprefix("video-reclaim-")}

    @pytest.mark.parametrize("partition", PLACES)
    def test_it_is_of_one_partition(self, partition, tmp_path):
        env = aws_cdk.Environment(account=ACCOUNT, region=PLACES[partition])
        zones = {
            f"availability-zones:account={ACCOUNT}:region={env.region}": [f"{env.region}{x}" for x in "ab"]
        }
        (tmp_path / "roots.pem").write_text("roots")
        app = an_app(zones)
        Reclaim(
            app,
            "Reclaim",
            academy=Academy(app, "Academy", env=env),
            ssl_root_cert=str(tmp_path / "roots.pem"),
            env=env,
        )
        for stack in app.synth().stacks:
            written, _ = partitions_in(json.loads(Path(stack.template_full_path).read_text()))
            assert written <= {partition}

    def test_the_worker_group_lets_a_busy_worker_finish_and_can_be_deleted(self, academy):
        ((group_id, group),) = of_type(academy, "AWS::AutoScaling::AutoScalingGroup").items()
        (hook,) = of_type(academy, "AWS::AutoScaling::LifecycleHook").values()
        assert hook["AutoScalingGroupName"] == {"Ref": group_id}
        assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
        assert hook["DefaultResult"] == "ABANDON"
        # AWS: 100 heartbeat timeouts, or 48 hours. A worker's lease is the longest encode.
        assert min(100 * hook["HeartbeatTimeout"], 48 * 3600) >= 14_400
        assert group["InstanceLifecyclePolicy"] == {"RetentionTriggers": {"TerminateHookAbandon": "retain"}}
        # An update keeps what a template leaves out; and with protection the deletion would hang, aws-cdk#18179.
        assert group["NewInstancesProtectedFromScaleIn"] is False
        assert "LifecycleHookSpecificationList" not in group, "such a hook would outlive the stack's deletion"
        assert "DesiredCapacity" not in group, "its size belongs to the workflow"
        mix = group["MixedInstancesPolicy"]["InstancesDistribution"]
        assert mix["OnDemandPercentageAboveBaseCapacity"] == 100, "Spot is only used if it is asked for"
        shown = {"GroupDesiredCapacity", "GroupInServiceInstances", "GroupTerminatingRetainedInstances"}
        assert [set(one["Metrics"]) for one in group["MetricsCollection"]] == [shown]

    def test_the_workers_may_do_what_the_contract_needs(self, academy):
        (profile,) = of_type(academy, "AWS::IAM::InstanceProfile").values()
        actions = {action for action, _ in granted(academy, profile["Roles"][0]["Ref"])}
        finish = {"autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"}
        consume = {f"sqs:{verb}Message" for verb in ("Receive", "Delete")} | {"sqs:ChangeMessageVisibility"}
        assert finish | consume | {"kms:Decrypt"} <= actions


def an_app(context=()):
    context = CONTEXT | dict(context)
    return aws_cdk.App(context=context, outdir=make_folder(), builtin_cloud_formation_validation=False)


def a_stack(env=None, app=None, name="Other"):
    return aws_cdk.Stack(app or an_app(), name, env=env)


def reclaim_in(stack, id_="It", **given):
    """The construct with queues of its own, unless others are given; what is callable makes something in the stack."""
    given = {key: value(stack) if callable(value) else value for key, value in given.items()}
    for name in {"video_queue", "video_dead_letter_queue"} - given.keys():
        given[name] = sqs.Queue(stack, f"{id_}{name}")
    return VideoReclaim(
        stack, id_, **{"database": BY_USER, "redis": redis_at("redis"), "worker_group": "g", **given}
    )


def template_of(stack):
    return json.loads(
        Path(aws_cdk.App.of(stack).synth().get_stack_by_name(stack.stack_name).template_full_path).read_text()
    )


def by_arn(kind, place):
    return lambda stack: sqs.Queue.from_queue_arn(stack, kind, f"arn:aws:sqs:{place}:{kind.lower()}")


def secret_of(region):
    arn = f"arn:aws:secretsmanager:{region}:123456789012:secret:db-AbCdEf"

    def database(stack):
        secret = secretsmanager.Secret.from_secret_complete_arn(stack, "Secret", arn)
        return database_by_secret(secret, host="db", name="academy")

    return database


REFUSED = {
    "name-in-capitals": ({"name": "Mine"}, "name: "),
    "vpc-and-network": (
        {"vpc": lambda s: ec2.Vpc(s, "Vpc"), "network": NETWORK},
        "network: give vpc or network, not",
    ),
    "subnets-of-no-vpc": ({"vpc_subnets": ec2.SubnetSelection()}, "vpc: is needed"),
    "fifo": (
        {"video_queue": by_arn("Jobs.fifo", "eu-west-1:123456789012")},
        "video_queue: must not be a FIFO queue",
    ),
    "video-twice": ({"other_queues": {"Video": []}}, "other_queues: Video is"),
    "dead-letters-of-another-account": (
        {"video_dead_letter_queue": by_arn("Dead", "eu-west-1:210987654321")},
        "video_dead_letter_queue: the alarm",
    ),
    "dead-letters-of-another-region": (
        {"video_dead_letter_queue": by_arn("Dead", "eu-west-2:123456789012")},
        "video_dead_letter_queue: the alarm",
    ),
    "secret-of-another-region": ({"database": secret_of("eu-west-2")}, "database.secretArn: "),
}


@pytest.mark.parametrize(("given", "complaint"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_work_is_refused_by_its_argument_in_one_line(given, complaint):
    with pytest.raises(InvalidStage, match=f"^{complaint}") as caught:
        reclaim_in(a_stack(HERE), **given)
    assert "\n" not in str(caught.value)


def test_what_is_of_the_same_place_or_of_an_unknown_one_is_accepted():
    for env, place in ((HERE, "eu-west-1:123456789012"), (None, "eu-west-2:210987654321")):
        reclaim_in(a_stack(env), database=secret_of(place[:9]), video_dead_letter_queue=by_arn("Dead", place))


def test_a_database_without_shipped_roots_is_refused_unless_they_are_given(tmp_path):
    (tmp_path / "roots.pem").write_text("roots")
    elsewhere = aws_cdk.Environment(account="123456789012", region="cn-north-1")
    endpoint = rds.Endpoint("db", 5432)
    sign_in = {"resource_id": "db-A", "name": "academy", "user": "u"}
    with pytest.raises(InvalidStage, match=r"^database\.sslRootCert: .*path"):
        reclaim_in(a_stack(elsewhere), database=database_by_iam(endpoint, **sign_in))
    given = database_by_iam(endpoint, **sign_in, ssl_root_cert=str(tmp_path / "roots.pem"))
    reclaim_in(a_stack(elsewhere), database=given)
    reclaim_in(a_stack(), database=database_by_iam(endpoint, **sign_in))


class TestTwoInOneApp:
    def refusal(self, env=None, other_env=None, **shared):
        """What is refused of a second deployment that shares something with the first; None if nothing is."""
        app = an_app()
        first = reclaim_in(a_stack(env, app, "One"), **{"worker_group": "one", **shared})
        try:
            reclaim_in(a_stack(other_env, app, "Two"), **{"worker_group": "two", **shared})
        except InvalidStage as exc:
            assert first.node.path in str(exc)
            return str(exc).partition(":")[0]
        return None

    def test_they_share_no_queue_group_override_or_metrics(self):
        assert self.refusal() is None
        assert self.refusal(video_queue=sqs.Queue(a_stack(), "Jobs")) == "video_queue"
        assert self.refusal(video_queue=by_arn("Jobs", "eu-west-1:123456789012")) == "video_queue"
        scaling = Settings(scaling=Scaling(override_parameter="/mine"))
        assert self.refusal(settings=scaling) == "settings.scaling.override_parameter"
        assert self.refusal(settings=Settings(metrics=Metrics(dimensions={}))) == "settings.metrics"
        assert self.refusal(worker_group="g") == "worker_group"
        assert self.refusal(worker_group=lambda _: aws_cdk.Fn.import_value("Group")) == "worker_group"
        elsewhere = aws_cdk.Environment(account="210987654321", region="eu-west-1")
        assert self.refusal(HERE, elsewhere, worker_group="g") is None


class TestConstruct:
    @pytest.mark.parametrize(
        "group",
        [
            aws_cdk.Fn.import_value("Group"),
            aws_cdk.Fn.select(0, aws_cdk.Fn.split("/", aws_cdk.Fn.import_value("X"))),
        ],
        ids=["imported", "selected"],
    )
    def test_the_group_may_be_known_only_when_it_is_deployed(self, group):
        stack = a_stack()
        reclaim_in(stack, worker_group=group)
        wanted = stack.resolve(group)
        resources = template_of(stack)["Resources"]
        assert (
            functions(resources)["PublishBacklog"]["Environment"]["Variables"]["WORKERS_GROUP_NAME"] == wanted
        )
        (rule,) = of_type(resources, "AWS::Events::Rule").values()
        assert rule["EventPattern"]["detail"]["AutoScalingGroupName"] == [wanted]

    def test_the_port_may_be_known_only_when_it_is_deployed(self):
        stack, port = a_stack(), aws_cdk.Token.as_number(aws_cdk.Fn.import_value("Port"))
        sign_in = {"resource_id": "db-A", "name": "academy", "user": "u"}
        reclaim_in(stack, database=database_by_iam(rds.Endpoint("db", port), **sign_in))
        resources = template_of(stack)["Resources"]
        arn = f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:db-A/u"
        for function in functions(resources).values():
            variables = function["Environment"]["Variables"]
            assert variables["DATABASE_PORT"] == {"Fn::ImportValue": "Port"}
            assert (variables["DATABASE_USER"], variables["DATABASE_IAM_RESOURCE_ID"]) == ("u", "db-A")
            connects = {pair for pair in granted(resources, role_of(function)) if "rds-db" in pair[0]}
            assert connects == {("rds-db:connect", arn)}

    def test_database_and_redis_are_where_they_are_said_to_be_with_the_key_of_their_secret(self):
        stack = a_stack()
        key = kms.Key(stack, "Key")
        secret = secretsmanager.Secret(stack, "Secret", encryption_key=key)
        database = database_by_secret(secret, host="db", name="academy", port=6543)
        redis = redis_at("redis", port=6380, database=2, secret=secret)
        assert (database.port, redis.url) == (6543, "rediss://redis:6380/2")
        assert database.secret_key_arn == redis.secret_key_arn == key.key_arn
        assert redis_at("redis", tls=False).url == "redis://redis:6379/0"

    def test_ids_or_security_groups_of_one_s_own_place_it(self):
        stack = a_stack()
        reclaim = reclaim_in(stack, network=NETWORK)
        assert [group.security_group_id for group in reclaim.connections.security_groups] == [GROUP]
        for function in functions(template_of(stack)["Resources"]).values():
            assert function["VpcConfig"] == {"SubnetIds": [SUBNET], "SecurityGroupIds": [GROUP]}
        stack = a_stack()
        vpc = ec2.Vpc(stack, "Vpc")
        reclaim_in(stack, vpc=vpc, security_groups=[ec2.SecurityGroup(stack, "Mine", vpc=vpc)])
        resources = template_of(stack)["Resources"]
        assert len(of_type(resources, "AWS::EC2::SecurityGroup")) == 1
        for function in functions(resources).values():
            (placed,) = function["VpcConfig"]["SecurityGroupIds"]
            assert placed["Fn::GetAtt"][0].startswith("Mine")

    def test_other_queues_are_measured_by_their_worker_type(self):
        stack = a_stack()
        reclaim_in(stack, other_queues={"AI": [sqs.Queue(stack, "Lite"), sqs.Queue(stack, "Basic")]})
        resources = template_of(stack)["Resources"]
        publish = functions(resources)["PublishBacklog"]
        urls = json.loads(written(publish["Environment"]["Variables"]["QUEUES_URLS"], resources))
        assert {kind: len(found) for kind, found in urls.items()} == {"Video": 1, "AI": 2}
        pairs = granted(resources, role_of(publish))
        assert len({name for action, name in pairs if action == "sqs:GetQueueAttributes"}) == 3

    def test_alarms_that_can_wait_notify_a_topic_of_their_own(self):
        stack = a_stack()
        page, notify = (sns.Topic(stack, name) for name in ("Page", "Notify"))
        reclaim = reclaim_in(stack, alarm_topic=page, notify_topic=notify)
        told = {name: alarm.alarm_actions for name, alarm in reclaim.alarms.items()}
        assert told["NoSuccessfulRun"] == [page.topic_arn]
        assert told["VideosQuarantined"] == [notify.topic_arn]

    def test_it_has_metrics_and_grants_starting_and_redriving(self):
        stack = a_stack()
        reclaim = reclaim_in(stack, name="mine")
        for name, metric in METRICS.items():
            shown = reclaim.metric(name)
            assert (shown.namespace, shown.statistic) == ("Academy/Workers", metric.statistic)
            assert shown.dimensions == {"Stage": "mine"}
        for own in ("backlog_count", "oldest_backlog_age", "videos_reclaimed", "desired_workers"):
            shown = getattr(reclaim, f"metric_{own}")(label="x")
            assert shown.metric_name == own.title().replace("_", "")
        assert reclaim.metric_queue_depth("AI").dimensions == {"WorkerType": "AI"}
        role = iam.Role(stack, "Role", assumed_by=iam.AccountRootPrincipal())
        reclaim.grant_start_execution(role)
        reclaim.grant_redrive(role)
        actions = {
            one
            for one, _ in granted(
                template_of(stack)["Resources"], stack.get_logical_id(role.node.default_child)
            )
        }
        assert actions == {"states:StartExecution", "states:RedriveExecution"}


def test_a_pipeline_deploys_a_stage_into_its_own_account():
    app = an_app()
    Pipeline(app, "Pipeline", deploys="existing")
    (stack,) = app.synth().get_nested_assembly("assembly-Pipeline-existing").stacks
    assert (stack.stack_name, stack.environment.account) == ("VideoReclaim-existing", "123456789012")
    resources = json.loads(Path(stack.template_full_path).read_text())["Resources"]
    assert resources.keys() == synthesized("existing").template["Resources"].keys()
