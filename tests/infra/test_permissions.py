"""Least privilege, both ways: what a role is granted and a function is told is what is used, and nothing wider.

Granted is read from the template. Used is recorded: every function runs on the real database and Redis with
AWS on moto, through its good and its bad paths, and each call that botocore builds and each setting that is read is
noted. What is granted and never called is what a service does in the function's name.
"""

import json
import re
from datetime import UTC, datetime, timedelta

import boto3
import msgspec
import psycopg2
import pytest

import enqueue
import list_stale_videos
import publish_backlog
import reclaim
from cdk.stage import load, stages_in
from dev.testing.servers import forget_clients
from dev.testing.strict_aws import make_workers, strict_aws
from tests.infra.conftest import DEFINITION, example, functions, of_type, states, synthesized
from tests.infra.references import ACCOUNT, REGION, as_list, granted, role_of, statements, written
from video_reclaim import settings
from video_reclaim.adapters import autoscaling

DATABASE_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:academy/database-AbCdEf"
EXECUTION = "arn:aws:states:r:1:execution:m:x"
TRACES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
# "Giving Lambda functions access to resources in an Amazon VPC", Lambda's Developer Guide.
INTERFACES = {
    *("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface"),
    *("ec2:DescribeSubnets", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
}
BY_LAMBDA = {"logs:CreateLogStream", "logs:PutLogEvents", *TRACES, *INTERFACES}
# Asked by the database and by the services in the caller's name; no call is made.
BY_OTHERS = {"rds-db:connect", "kms:Decrypt", "kms:GenerateDataKey"}
# "Logging to CloudWatch Logs" and "X-Ray", Step Functions Developer Guide.
BY_STEP_FUNCTIONS = {
    *(f"logs:{verb}LogDelivery" for verb in ("Create", "Delete", "Get", "Update")),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies"),
    *("logs:DescribeLogGroups", "xray:GetSamplingRules", "xray:GetSamplingTargets", *TRACES),
}
# Of these AWS's documents say that they take no resource but *.
TAKE_NO_RESOURCE = {
    *BY_STEP_FUNCTIONS,
    *INTERFACES,
    *("cloudwatch:GetMetricData", "cloudwatch:PutMetricData", "autoscaling:DescribeAutoScalingGroups"),
    *("autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeLifecycleHooks"),
}
# What an operation is called in a policy, and which resource it is about.
OPERATIONS = {
    "sqs:SendMessageBatch": ("sqs:SendMessage", lambda p: _queue(p["QueueUrl"])),
    "sqs:GetQueueAttributes": ("sqs:GetQueueAttributes", lambda p: _queue(p["QueueUrl"])),
    "ssm:GetParameter": (
        "ssm:GetParameter",
        lambda p: f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{p['Name']}",
    ),
    "secretsmanager:GetSecretValue": ("secretsmanager:GetSecretValue", lambda p: p["SecretId"]),
}


def _queue(url):
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rsplit('/', 1)[1]}"


class Recorder:
    """Runs handlers as a stage configures them, and notes each AWS call and each variable that is read."""

    def __init__(self, resources, postgres, valkey, monkeypatch):
        self.resources, self.monkeypatch = resources, monkeypatch
        parts = psycopg2.extensions.parse_dsn(postgres.dsn)
        self.reachable = {
            "DATABASE_HOST": parts["host"],
            "DATABASE_PORT": parts["port"],
            "DATABASE_SSL_MODE": "disable",
            "REDIS_URL": valkey.url,
        }
        self.used, self.namespaces, self.asked = set(), set(), set()
        boto3.setup_default_session(region_name=REGION)
        boto3.DEFAULT_SESSION.events.register("provide-client-params.*.*", self._note)
        name_of = settings.variable

        def variable(section, field):
            self.asked.add(name_of(section, field))
            return name_of(section, field)

        monkeypatch.setattr(settings, "variable", variable)

    def _note(self, params, model, **_):
        service = model.service_model.endpoint_prefix.replace("monitoring", "cloudwatch")
        call = f"{service}:{model.name}"
        name, resource = OPERATIONS.get(call, (call, lambda _: "*"))
        self.used.add((name, resource(params)))
        if name == "cloudwatch:PutMetricData":
            self.namespaces.add(params["Namespace"])

    def run(self, step, handler, event, **changes):
        variables = functions(self.resources)[step]["Environment"]["Variables"]
        forget_clients()
        with self.monkeypatch.context() as patch:
            for name, value in {**variables, **self.reachable, **changes}.items():
                patch.setenv(name, written(value, self.resources))
            try:
                return handler(event, None)
            except Exception as exc:
                return type(exc).__name__
            finally:
                forget_clients()


@pytest.fixture
def recorder(academy, postgres, valkey, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with strict_aws() as aws:
        aside = boto3.Session(region_name=REGION)  # what is called by the test itself is not noted
        secrets, sqs, scaling = (aside.client(name) for name in ("secretsmanager", "sqs", "autoscaling"))
        arns = {
            name: secrets.create_secret(
                Name=name, SecretString=json.dumps({"username": user, "password": "p"})
            )["ARN"]
            for name, user in (("academy/database", "postgres"), ("academy/redis", "lambda"))
        }
        overrides = {
            "database": {"secretArn": arns["academy/database"], "iamResourceId": None},
            "redis": {"secretArn": arns["academy/redis"]},
        }
        resources = synthesized("existing", json.dumps(overrides)).template["Resources"]
        recorder = Recorder(resources, postgres, valkey, monkeypatch)
        recorder.aws, recorder.academy, recorder.aside = aws, academy, aside
        academy.redis.acl_setuser("lambda", enabled=True, passwords=["+p"], keys=["*"], commands=["+@all"])
        for queue in ("video-jobs", "ai-jobs-lite", "ai-jobs-basic", "messaging-jobs"):
            sqs.create_queue(QueueName=f"academy-{queue}")
        make_workers(scaling, "academy-video-worker-asg")
        for _ in range(3):
            academy.add(until=-60)
        academy.add("UPLOADED")  # a video that may have lost its message
        yield recorder
    boto3.DEFAULT_SESSION = None


def _list(recorder):
    def listed(given, **changes):
        event = {"input": given, "run": {}, "execution": EXECUTION}
        return recorder.run("ListStaleVideos", list_stale_videos.handler, event, **changes)

    assert listed({})["batches"]
    recorder.academy.pass_time(3000)
    listed({})
    listed({"dryRun": True})
    listed({"limit": "many"})
    listed({}, DATABASE_PORT="1")
    listed({}, REDIS_URL="redis://127.0.0.1:1/0")


def _reclaim(recorder):
    event = {"videos": [1, 2, 3], "input": {}, "execution": EXECUTION, "failOnPartial": False, "unsent": True}
    event["startedAt"] = "2026-01-01T00:00:00Z"
    answer = recorder.run("Reclaim", reclaim.handler, event)
    recorder.run("Reclaim", reclaim.handler, event, DATABASE_PORT="1")
    recorder.run("Reclaim", reclaim.handler, event, REDIS_URL="redis://127.0.0.1:1/0")
    return answer


def _enqueue(recorder):
    event = _reclaim(recorder)
    assert event["videos"]
    recorder.used.clear()
    recorder.asked.clear()
    recorder.aws.queue_fault = "ServiceUnavailable"
    recorder.run("Enqueue", enqueue.handler, event)
    recorder.aws.queue_fault = ""
    recorder.aws.refused = {str(event["videos"][0]): "InternalError"}
    recorder.run("Enqueue", enqueue.handler, event)
    recorder.aws.refused = {}
    recorder.run("Enqueue", enqueue.handler, event)


def _publish(recorder):
    done = {"results": [], "retried": False}
    event = {"input": {}, "run": {}, "pass": done, "execution": EXECUTION}
    describe = autoscaling._describe
    retains = {"InstanceLifecyclePolicy": {"RetentionTriggers": {"TerminateHookAbandon": "retain"}}}
    recorder.monkeypatch.setattr(autoscaling, "_describe", lambda name: describe(name) | retains)
    # Nine workers and a calm window: it looks at whatever forbids a scale-in.
    scaling, now = recorder.aside.client("autoscaling"), datetime.now(UTC)
    scaling.set_desired_capacity(AutoScalingGroupName="academy-video-worker-asg", DesiredCapacity=9)
    calm = {"MetricName": "BacklogCount", "Value": 0, "Unit": "Count"}
    minutes = [{**calm, "Timestamp": now - timedelta(minutes=ago)} for ago in range(1, 21)]
    recorder.aws.put("Academy/Workers", minutes)
    recorder.aws.settle()
    assert recorder.run("PublishBacklog", publish_backlog.handler, event)["setDesiredCapacity"]
    recorder.run("PublishBacklog", publish_backlog.handler, event, DATABASE_PORT="1")
    recorder.aws.cloudwatch_fault = "InternalServiceFault"
    assert recorder.run("PublishBacklog", publish_backlog.handler, event)["run"]["metricsError"]


RUNS = {"ListStaleVideos": _list, "Reclaim": _reclaim, "Enqueue": _enqueue, "PublishBacklog": _publish}


@pytest.mark.parametrize("step", RUNS)
def test_a_function_may_do_and_knows_what_it_uses_and_nothing_more(recorder, step):
    RUNS[step](recorder)
    function = functions(recorder.resources)[step]
    pairs = granted(recorder.resources, role_of(function))
    assert recorder.used == {pair for pair in pairs if pair[0] not in BY_LAMBDA | BY_OTHERS}
    assert recorder.namespaces <= {"Academy/Workers"}

    sections = [
        one for one in vars(settings).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)
    ]
    optional = {
        f"{section.__name__}_{field.name}".upper()
        for section in sections
        for field in msgspec.structs.fields(section)
        if not field.required
    }
    given = set(function["Environment"]["Variables"])
    assert given <= recorder.asked
    assert recorder.asked - given <= optional


def test_the_workflow_may_do_what_its_definition_does_and_nothing_more(template):
    (machine,) = of_type(template, "AWS::StepFunctions::StateMachine").values()
    called, used = functions(template), set()
    for _, state in states(json.loads(DEFINITION.read_text())):
        resource = state.get("Resource", "")
        if resource.endswith(":lambda:invoke"):
            step = re.fullmatch(r"\$\{(\w+)Arn\}", state["Arguments"]["FunctionName"])[1]
            used.add(("lambda:InvokeFunction", called[step]["FunctionName"]))
        elif resource:
            service, action = resource.split(":")[-2:]
            used.add((f"{service}:{action[0].upper()}{action[1:]}", "academy-video-worker-asg"))
    role = granted(template, role_of(machine, "RoleArn"))
    own = {(action, re.split(r"[:/]", name)[-1]) for action, name in role if action not in BY_STEP_FUNCTIONS}
    assert own == used
    assert {action for action, _ in role if action in BY_STEP_FUNCTIONS} == BY_STEP_FUNCTIONS


def test_the_schedule_may_start_this_workflow_and_leave_letters(template):
    (schedule,) = of_type(template, "AWS::Scheduler::Schedule").values()
    target = schedule["Target"]
    assert granted(template, role_of(target, "RoleArn")) == {
        ("states:StartExecution", written(target["Arn"], template)),
        ("sqs:SendMessage", written(target["DeadLetterConfig"]["Arn"], template)),
    }


def test_what_lambda_does_in_a_function_s_name_its_own_code_can_t_if_it_touches_the_network(template):
    for function in functions(template).values():
        interfaces = INTERFACES if "VpcConfig" in function else set()
        group = f"<{function['LoggingConfig']['LogGroup']['Ref']}.Arn>"
        found = {pair for pair in granted(template, role_of(function)) if pair[0] in BY_LAMBDA}
        own_logs = {("logs:CreateLogStream", group), ("logs:PutLogEvents", group)}
        assert found == own_logs | {(action, "*") for action in TRACES | interfaces}
        denied = [one for one in statements(template, role_of(function)) if one["Effect"] == "Deny"]
        assert [set(one["Action"]) for one in denied] == [interfaces] * bool(interfaces)
        for one in denied:
            source = written(one["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"], template)
            assert source.endswith(f":function:{function['FunctionName']}")


LAMBDA, STATES, SCHEDULER, EVENTS, EC2 = (
    f"{service}.amazonaws.com" for service in ("lambda", "states", "scheduler", "events", "ec2")
)
USERS = {
    "AWS::Lambda::Function": (LAMBDA, lambda one: one["Role"]),
    "AWS::StepFunctions::StateMachine": (STATES, lambda one: one["RoleArn"]),
    "AWS::Scheduler::Schedule": (SCHEDULER, lambda one: one["Target"]["RoleArn"]),
    "AWS::Events::Rule": (EVENTS, lambda one: one["Targets"][0]["RoleArn"]),
    "AWS::IAM::InstanceProfile": (EC2, lambda one: one["Roles"][0]),
}


def used_roles(resources):
    """The service that uses it, by role."""
    return {
        role(one).get("Ref") or role(one)["Fn::GetAtt"][0]: service
        for kind, (service, role) in USERS.items()
        for one in of_type(resources, kind).values()
    }


def check_roles(resources, account):
    """Each role is one service's, for no other account, and has no grant that is wider than AWS asks for.

    "The confused deputy problem", IAM User Guide: three of these services take a role from whoever calls them.
    """
    roles, used = of_type(resources, "AWS::IAM::Role"), used_roles(resources)
    assert set(used) == set(roles)
    for id_, role in roles.items():
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert (trust["Effect"], trust["Action"]) == ("Allow", "sts:AssumeRole")
        assert trust["Principal"] == {"Service": used[id_]}
        assert "ManagedPolicyArns" not in role
        if used[id_] in (STATES, SCHEDULER, EVENTS):
            given = {key: value for block in trust["Condition"].values() for key, value in block.items()}
            assert set(trust["Condition"]) <= {"StringEquals", "ArnLike"}
            assert written(given["aws:SourceAccount"], resources) == account
            source = written(given["aws:SourceArn"], resources)
            assert f":{used[id_].partition('.')[0]}:" in source and f":{account}:" in source
        for action, resource in granted(resources, id_):
            assert "*" not in action
            assert resource != "*" or action in TAKE_NO_RESOURCE, action
    for policy in of_type(resources, "AWS::IAM::Policy").values():
        assert {role["Ref"] for role in policy["Roles"]} <= set(used)


def test_roles_of_a_stage(stage, template):
    check_roles(template, load(stages_in(), stage).account or ACCOUNT)


def test_roles_of_the_example():
    check_roles(example()["Reclaim"]["Resources"], ACCOUNT)


def test_metrics_are_put_into_one_namespace(template):
    for step, function in functions(template).items():
        of_step = statements(template, role_of(function))
        puts = [one for one in of_step if "cloudwatch:PutMetricData" in as_list(one["Action"])]
        assert bool(puts) == (step == "PublishBacklog")
        for one in puts:
            assert one["Condition"] == {"StringEquals": {"cloudwatch:namespace": "Academy/Workers"}}
            assert as_list(one["Action"]) == ["cloudwatch:PutMetricData"]


def test_each_queue_refuses_what_is_sent_in_the_clear(template):
    policies = of_type(template, "AWS::SQS::QueuePolicy").values()
    for id_ in of_type(template, "AWS::SQS::Queue"):
        (of_queue,) = [one for one in policies if {"Ref": id_} in one["Queues"]]
        (refusal,) = [one for one in of_queue["PolicyDocument"]["Statement"] if one["Effect"] == "Deny"]
        assert (refusal["Action"], refusal["Principal"]) == ("sqs:*", {"AWS": "*"})
        assert refusal["Resource"] == {"Fn::GetAtt": [id_, "Arn"]}
        assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_signing_in_by_iam_is_for_one_user_of_one_database():
    resources = synthesized("existing").template["Resources"]
    user = f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:db-ABCDEFGHIJKLMNOPQRSTUVWXYZ/video_reclaim"
    for function in functions(resources).values():
        pairs = granted(resources, role_of(function))
        assert {pair for pair in pairs if pair[0].startswith("rds")} == {("rds-db:connect", user)}
        assert not [pair for pair in pairs if pair[1] == DATABASE_SECRET]


def test_a_customers_key_is_used_through_its_service_alone():
    keys = {of: f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{of}" for of in ("database", "redis", "queue")}
    overrides = {
        "database": {"secretArn": DATABASE_SECRET, "iamResourceId": None, "secretKeyArn": keys["database"]},
        "redis": {"secretKeyArn": keys["redis"]},
        "queues": {"videoKeyArn": keys["queue"]},
    }
    resources = synthesized("existing", json.dumps(overrides)).template["Resources"]
    for step, function in functions(resources).items():
        used = {
            (written(one["Condition"]["StringEquals"]["kms:ViaService"], resources), action, key)
            for one in statements(resources, role_of(function))
            for key in as_list(one["Resource"])
            for action in as_list(one["Action"])
            if action.startswith("kms:")
        }
        sqs, secrets = (f"{service}.{REGION}.amazonaws.com" for service in ("sqs", "secretsmanager"))
        meant = {(secrets, "kms:Decrypt", keys["database"])}
        if step != "PublishBacklog":
            meant.add((secrets, "kms:Decrypt", keys["redis"]))
        if step == "Enqueue":
            meant |= {(sqs, f"kms:{action}", keys["queue"]) for action in ("Decrypt", "GenerateDataKey")}
        assert used == meant
    assert '"kms:ViaService": "' not in json.dumps(resources), "the suffix is the partition's own"
