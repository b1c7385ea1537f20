"""The construct in another app: everything in one stack, and nothing known before it is deployed."""

import json
import re
from functools import cache
from pathlib import Path

import aws_cdk
import pytest
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from cdk.connections import database_by_iam, redis_at
from cdk.platform import Database, Network
from cdk.stage import InvalidStage
from cdk.video_reclaim import VideoReclaim
from examples.app import Academy
from examples.pipeline import Pipeline
from tests.infra.conftest import CONTEXT, check, functions, make_folder, of_type, synthesized
from tests.infra.references import ACCOUNT, REGION, granted, role_of, written
from tests.infra.test_rules import lint
from video_reclaim.metrics import METRICS

SUBNET, GROUP = "subnet-0123456789abcdef0", "sg-0123456789abcdef0"


@cache
def example():
    """The example's template, and what cdk-nag reports."""
    return check(lambda app: Academy(app, "Academy"))


def template_of_example():
    return json.loads(example().file.read_text())


@pytest.fixture
def resources():
    return template_of_example()["Resources"]


def test_it_has_no_finding():
    assert example().findings == []
    # The rest are of a function that the CDK makes for the VPC.
    assert [finding for finding in lint(template_of_example()) if "CustomVpc" not in finding] == []


def test_the_functions_are_told_tokens(resources):
    variables = functions(resources)["Reclaim"]["Environment"]["Variables"]
    assert list(variables["DATABASE_HOST"]) == ["Fn::GetAtt"]
    assert list(variables["DATABASE_PORT"]) == ["Fn::GetAtt"]
    assert "Fn::Join" in variables["REDIS_URL"]
    assert "Ref" in functions(resources)["PublishBacklog"]["Environment"]["Variables"]["WORKERS_GROUP_NAME"]


def test_the_database_lets_the_functions_in(resources):
    (placed,) = {json.dumps(one["VpcConfig"]["SecurityGroupIds"]) for one in functions(resources).values()}
    sources = [
        [rule["SourceSecurityGroupId"]]
        for rule in of_type(resources, "AWS::EC2::SecurityGroupIngress").values()
    ]
    assert sources.count(json.loads(placed)) == 2  # the database's and that of Redis


def test_one_key_encrypts_what_is_created(resources):
    key = {"Fn::GetAtt": [next(iter(of_type(resources, "AWS::KMS::Key"))), "Arn"]}
    ours = {id_: one for id_, one in resources.items() if id_.startswith("VideoReclaim")}
    (machine,) = of_type(ours, "AWS::StepFunctions::StateMachine").values()
    assert machine["EncryptionConfiguration"]["KmsKeyId"] == key
    assert all(group["KmsKeyId"] == key for group in of_type(ours, "AWS::Logs::LogGroup").values())
    assert all(function["KmsKeyArn"] == key for function in functions(resources).values())
    (undelivered,) = of_type(ours, "AWS::SQS::Queue").values()
    assert undelivered["KmsMasterKeyId"] == key


def test_every_alarm_and_its_end_are_told_to_the_operators(resources):
    (topic,) = of_type(resources, "AWS::SNS::Topic")
    alarms = of_type(resources, "AWS::CloudWatch::Alarm").values()
    assert alarms
    for alarm in alarms:
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}], alarm["AlarmName"]


def test_names_tell_deployments_apart(resources):
    (dimension,) = {
        json.dumps(alarm["Dimensions"])
        for alarm in of_type(resources, "AWS::CloudWatch::Alarm").values()
        if alarm["Namespace"] == "Academy/Workers"
    }
    (name,) = {function["FunctionName"].rsplit("-", 1)[0] for function in functions(resources).values()}
    assert json.loads(dimension) == [{"Name": "Stage", "Value": name.removeprefix("video-reclaim-")}]


def a_vpc(stack):
    return ec2.Vpc(stack, "Vpc")


class TestConstruct:
    @pytest.fixture
    def stack(self):
        return aws_cdk.Stack(aws_cdk.App(context=CONTEXT, outdir=make_folder()), "Other")

    def reclaim(self, stack, **given):
        queues = {name: sqs.Queue(stack, name) for name in ("video_queue", "video_dead_letter_queue")}
        database = Database(host="db", name="academy", user="u", ssl_mode="require")
        given = {"database": database, **given}
        return VideoReclaim(stack, "It", redis=redis_at("redis"), worker_group="g", **queues, **given)

    def template(self, stack):
        return json.loads(Path(aws_cdk.App.of(stack).synth().stacks[0].template_full_path).read_text())

    def test_a_metric_for_each_of_the_list(self, stack):
        reclaim = self.reclaim(stack, name="mine")
        for name, metric in METRICS.items():
            shown = reclaim.metric(name)
            assert (shown.namespace, shown.statistic) == ("Academy/Workers", metric.statistic)
            assert shown.dimensions == {"Stage": "mine"}
        assert reclaim.metric_backlog_count(label="x").metric_name == "BacklogCount"
        assert reclaim.metric_queue_depth("AI").dimensions == {"WorkerType": "AI"}

    def test_it_grants_starting_and_redriving(self, stack):
        role = iam.Role(stack, "Role", assumed_by=iam.AccountRootPrincipal())
        reclaim = self.reclaim(stack, name="mine")
        reclaim.grant_start_execution(role)
        reclaim.grant_redrive(role)
        actions = json.dumps(of_type(self.template(stack)["Resources"], "AWS::IAM::Policy"))
        assert "states:StartExecution" in actions
        assert "states:RedriveExecution" in actions

    def test_ids_place_it_too(self, stack):
        network = Network(subnet_ids=[SUBNET], security_group_ids=[GROUP])
        reclaim = self.reclaim(stack, network=network)
        assert [group.security_group_id for group in reclaim.connections.security_groups] == [GROUP]
        for function in functions(self.template(stack)["Resources"]).values():
            assert function["VpcConfig"] == {
                "SubnetIds": [SUBNET],
                "SecurityGroupIds": [GROUP],
            }

    @pytest.mark.parametrize(
        ("given", "complaint"),
        [
            pytest.param({"name": "Mine"}, "name: ", id="name-in-capitals"),
            pytest.param(
                {"vpc": a_vpc, "network": Network(subnet_ids=[SUBNET], security_group_ids=[GROUP])},
                "network: give vpc or network, not both",
                id="vpc-and-network",
            ),
            pytest.param({"vpc_subnets": ec2.SubnetSelection()}, "vpc: is needed", id="subnets-of-no-vpc"),
        ],
    )
    def test_what_can_not_be_used_is_refused_by_its_key(self, stack, given, complaint):
        given = {key: value(stack) if callable(value) else value for key, value in given.items()}
        with pytest.raises(InvalidStage, match=f"^{complaint}"):
            self.reclaim(stack, **given)

    PLACE = aws_cdk.Environment(account="123456789012", region="eu-west-1")

    def placed(self, dead_letters, env=PLACE, **given):
        """The construct in a stack of a known account and region, with a dead-letter queue by its ARN."""
        stack = aws_cdk.Stack(aws_cdk.App(context=CONTEXT, outdir=make_folder()), "Placed", env=env)
        return VideoReclaim(
            stack,
            "It",
            name="mine",
            redis=redis_at("redis"),
            worker_group="g",
            video_queue=sqs.Queue(stack, "Jobs"),
            video_dead_letter_queue=sqs.Queue.from_queue_arn(
                stack, "Dead", f"arn:aws:sqs:{dead_letters}:dead"
            ),
            **{"database": Database(host="db", name="academy", user="u", ssl_mode="require"), **given},
        )

    @pytest.mark.parametrize(
        "dead_letters",
        [
            pytest.param("eu-west-1:210987654321", id="account"),
            pytest.param("eu-west-2:123456789012", id="region"),
        ],
    )
    def test_dead_letters_that_no_alarm_sees_are_refused(self, dead_letters):
        with pytest.raises(InvalidStage, match=r"^video_dead_letter_queue: "):
            self.placed(dead_letters)

    def test_dead_letters_of_the_same_place_or_of_an_unknown_one_are_accepted(self):
        assert self.placed("eu-west-1:123456789012")
        assert self.placed("eu-west-1:123456789012", env=None)

    def test_a_database_without_shipped_roots_is_refused(self):
        env = aws_cdk.Environment(account="123456789012", region="mx-central-1")
        verified = Database(host="db", name="academy", user="u")
        with pytest.raises(InvalidStage, match=r"^database\.sslRootCert: "):
            self.placed("mx-central-1:123456789012", env, database=verified)
        assert self.placed("mx-central-1:123456789012", None, database=verified)

    def test_a_port_may_be_known_only_when_it_is_deployed(self):
        port = aws_cdk.Token.as_number(aws_cdk.Fn.import_value("Port"))
        endpoint = aws_cdk.aws_rds.Endpoint("db", port)
        found = database_by_iam(endpoint, resource_id="db-A", name="academy", user="u").port
        assert re.match(r"\$\{Token\[", found)

    def test_iam_authentication_is_for_one_user_of_one_database(self, stack):
        endpoint = aws_cdk.aws_rds.Endpoint("db", 5433)
        self.reclaim(stack, database=database_by_iam(endpoint, resource_id="db-A", name="academy", user="u"))
        resources = self.template(stack)["Resources"]
        arn = f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:db-A/u"
        for function in functions(resources).values():
            connects = {pair for pair in granted(resources, role_of(function)) if "rds-db" in pair[0]}
            assert connects == {("rds-db:connect", arn)}
            variables = function["Environment"]["Variables"]
            assert (variables["DATABASE_USER"], variables["DATABASE_PORT"]) == ("u", "5433")
            assert variables["DATABASE_IAM_RESOURCE_ID"] == "db-A"

    def test_given_security_groups_are_the_functions_own(self, stack):
        vpc = ec2.Vpc(stack, "Vpc")
        group = ec2.SecurityGroup(stack, "Mine", vpc=vpc)
        reclaim = self.reclaim(stack, vpc=vpc, security_groups=[group])
        resources = self.template(stack)["Resources"]
        assert reclaim.connections.security_groups == [group]
        assert len(of_type(resources, "AWS::EC2::SecurityGroup")) == 1
        for function in functions(resources).values():
            (placed,) = function["VpcConfig"]["SecurityGroupIds"]
            assert placed["Fn::GetAtt"][0].startswith("Mine")

    def test_other_queues_are_measured_by_their_worker_type(self, stack):
        others = {"AI": [sqs.Queue(stack, "Lite"), sqs.Queue(stack, "Basic")]}
        self.reclaim(stack, other_queues=others)
        resources = self.template(stack)["Resources"]
        publish = functions(resources)["PublishBacklog"]
        urls = written(publish["Environment"]["Variables"]["QUEUES_URLS"], resources)
        assert {kind: len(found) for kind, found in json.loads(urls).items()} == {"Video": 1, "AI": 2}
        measured = {
            resource
            for action, resource in granted(resources, role_of(publish))
            if action == "sqs:GetQueueAttributes"
        }
        assert len(measured) == 3

    def test_alarms_that_can_wait_notify_a_topic_of_their_own(self, stack):
        page, notify = (sns.Topic(stack, name) for name in ("Page", "Notify"))
        reclaim = self.reclaim(stack, alarm_topic=page, notify_topic=notify)
        told = {name: alarm.alarm_actions for name, alarm in reclaim.alarms.items()}
        assert told["NoSuccessfulRun"] == [page.topic_arn]
        assert told["VideosQuarantined"] == [notify.topic_arn]


def test_a_pipeline_deploys_a_stage_into_its_own_account():
    app = aws_cdk.App(context=CONTEXT, outdir=make_folder(), builtin_cloud_formation_validation=False)
    Pipeline(app, "Pipeline", deploys="existing")
    nested = app.synth().get_nested_assembly("assembly-Pipeline-existing")
    (stack,) = nested.stacks
    assert (stack.stack_name, stack.environment.account) == ("VideoReclaim-existing", "123456789012")
    assert json.loads(Path(stack.template_full_path).read_text())["Resources"].keys() == (
        synthesized("existing").template["Resources"].keys()
    )
