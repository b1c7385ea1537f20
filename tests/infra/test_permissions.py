"""Least privilege, both ways: what a role grants is what is used.

Granted is read from the template. Used is recorded: every function runs on the real database and Redis with
AWS on moto, through its good and its bad paths, and each call that botocore builds is noted. What the
workflow uses is read from its definition. What is granted and never called has its reason in `UNSEEN`.
"""

import json
import re

import boto3
import psycopg2
import pytest

import enqueue
import list_stale_videos
import publish_backlog
import reclaim
from dev.testing.servers import forget_clients
from dev.testing.strict_aws import make_workers, strict_aws
from tests.infra.conftest import DEFINITION, functions, of_type, states, synthesized
from tests.infra.references import ACCOUNT, REGION, as_list, granted, role_of, statements, written
from video_reclaim.adapters import autoscaling

DATABASE_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:academy/database-AbCdEf"
GROUP = (
    f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/academy-video-worker-asg"
)

UNSEEN = {
    "logs:CreateLogStream": "Lambda writes what the function prints",
    "logs:PutLogEvents": "Lambda writes what the function prints",
    "xray:PutTelemetryRecords": "Lambda sends the traces",
    "xray:PutTraceSegments": "Lambda sends the traces",
    "ec2:AssignPrivateIpAddresses": "Lambda joins the VPC",
    "ec2:CreateNetworkInterface": "Lambda joins the VPC",
    "ec2:DeleteNetworkInterface": "Lambda joins the VPC",
    "ec2:DescribeNetworkInterfaces": "Lambda joins the VPC",
    "ec2:DescribeSubnets": "Lambda joins the VPC",
    "ec2:UnassignPrivateIpAddresses": "Lambda joins the VPC",
    "rds-db:connect": "asked by the database when it checks the token; no call is made",
    "kms:Decrypt": "SQS and Secrets Manager use the key for the caller",
    "kms:GenerateDataKey": "SQS uses the key for the caller",
}
BY_STEP_FUNCTIONS = {
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}


EXECUTION = "arn:aws:states:r:1:execution:m:x"


def seen(pairs):
    return {(action, resource) for action, resource in pairs if action not in UNSEEN}


# What an operation is called in a policy, and which resource it is about.
OPERATIONS = {
    "sqs:SendMessageBatch": ("sqs:SendMessage", lambda p: _queue(p["QueueUrl"])),
    "sqs:GetQueueAttributes": ("sqs:GetQueueAttributes", lambda p: _queue(p["QueueUrl"])),
    "ssm:GetParameter": (
        "ssm:GetParameter",
        lambda p: f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{p['Name']}",
    ),
    "secretsmanager:GetSecretValue": ("secretsmanager:GetSecretValue", lambda p: p["SecretId"]),
    "cloudwatch:PutMetricData": ("cloudwatch:PutMetricData", lambda _: "*"),
    "cloudwatch:GetMetricData": ("cloudwatch:GetMetricData", lambda _: "*"),
    **{
        f"autoscaling:Describe{what}": (f"autoscaling:Describe{what}", lambda _: "*")
        for what in ("AutoScalingGroups", "LifecycleHooks", "InstanceRefreshes")
    },
}


def _queue(url):
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rsplit('/', 1)[1]}"


class Recorder:
    """Runs handlers as a stage configures them, and notes each AWS call."""

    def __init__(self, resources, postgres, valkey, monkeypatch):
        self.resources, self.monkeypatch = resources, monkeypatch
        parts = psycopg2.extensions.parse_dsn(postgres.dsn)
        self.reachable = {
            "DATABASE_HOST": parts["host"],
            "DATABASE_PORT": parts["port"],
            "DATABASE_SSL_MODE": "disable",
            "REDIS_URL": valkey.url,
        }
        self.used = set()
        self.namespaces = set()
        boto3.setup_default_session(region_name=REGION)
        boto3.DEFAULT_SESSION.events.register("provide-client-params.*.*", self._note)

    def _note(self, params, model, **_):
        service = model.service_model.endpoint_prefix.replace("monitoring", "cloudwatch")
        unknown = f"{service}:{model.name}", lambda _: "not in OPERATIONS"
        name, resource = OPERATIONS.get(f"{service}:{model.name}", unknown)
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
        recorder.queue_url = sqs.get_queue_url(QueueName="academy-video-jobs")["QueueUrl"]
        make_workers(scaling, "academy-video-worker-asg")
        yield recorder
    boto3.DEFAULT_SESSION = None


def _list(recorder):
    def listed(given, **changes):
        event = {"input": given, "run": {}, "execution": EXECUTION}
        return recorder.run("ListStaleVideos", list_stale_videos.handler, event, **changes)

    assert listed({})["batches"]
    listed({"dryRun": True})
    listed({"limit": "many"})
    listed({}, DATABASE_PORT="1")
    academy = recorder.academy
    academy.add(by="i-0123456789abcdef0-worker")  # a silent worker on an instance
    waiting = academy.add("UPLOADED")  # a video that may have lost its message
    listed({})
    at, _, rest = academy.redis.hget("video-reclaim:waiting", waiting).decode().partition(" ")
    academy.redis.hset("video-reclaim:waiting", waiting, f"{float(at) - 1000} {rest}")
    recorder.aside.client("sqs").send_message(QueueUrl=recorder.queue_url, MessageBody="{}")
    listed({})
    listed({}, REDIS_URL="redis://127.0.0.1:1/0")


def _reclaim(recorder):
    event = {"videos": [1, 2, 3], "input": {}, "execution": EXECUTION, "failOnPartial": False}
    answer = recorder.run("Reclaim", reclaim.handler, event)
    recorder.run("Reclaim", reclaim.handler, event, DATABASE_PORT="1")
    recorder.run("Reclaim", reclaim.handler, event, REDIS_URL="redis://127.0.0.1:1/0")
    return answer


def _enqueue(recorder):
    event = _reclaim(recorder)
    assert event["videos"]
    recorder.used.clear()
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
    assert "decision" in recorder.run("PublishBacklog", publish_backlog.handler, event)["run"]
    recorder.run("PublishBacklog", publish_backlog.handler, event, DATABASE_PORT="1")
    recorder.aws.cloudwatch_fault = "InternalServiceFault"
    assert recorder.run("PublishBacklog", publish_backlog.handler, event)["run"]["metricsError"]


RUNS = {"ListStaleVideos": _list, "Reclaim": _reclaim, "Enqueue": _enqueue, "PublishBacklog": _publish}


@pytest.mark.parametrize("step", RUNS)
def test_a_function_may_do_what_it_does_and_nothing_more(recorder, academy, step):
    for _ in range(3):
        academy.add(until=-60)
    academy.add("UPLOADED")
    RUNS[step](recorder)
    resources = recorder.resources
    allowed = seen(granted(resources, role_of(functions(resources)[step])))
    assert recorder.used == allowed
    assert recorder.namespaces <= {"Academy/Workers"}


def test_the_workflow_may_do_what_its_definition_does_and_nothing_more(template):
    (machine,) = of_type(template, "AWS::StepFunctions::StateMachine").values()
    called = functions(template)
    used = set()
    for _, state in states(json.loads(DEFINITION.read_text())):
        resource = state.get("Resource", "")
        if resource.endswith(":lambda:invoke"):
            step = re.fullmatch(r"\$\{(\w+)Arn\}", state["Arguments"]["FunctionName"])[1]
            name = called[step]["FunctionName"]
            used.add(("lambda:InvokeFunction", name))
        elif resource:
            service, action = resource.split(":")[-2:]
            used.add((f"{service}:{action[0].upper()}{action[1:]}", "academy-video-worker-asg"))
    role = granted(template, machine["RoleArn"]["Fn::GetAtt"][0])
    own = {
        (action, re.split(r"[:/]", resource)[-1])
        for action, resource in role
        if action not in BY_STEP_FUNCTIONS
    }
    assert own == used
    assert {resource for action, resource in role if action in BY_STEP_FUNCTIONS} == {"*"}


def test_the_schedule_may_start_this_workflow_and_leave_letters(template):
    (schedule,) = of_type(template, "AWS::Scheduler::Schedule").values()
    role = granted(template, schedule["Target"]["RoleArn"]["Fn::GetAtt"][0])
    assert {action for action, _ in role} == {"states:StartExecution", "sqs:SendMessage"}
    machine, letters = schedule["Target"]["Arn"], schedule["Target"]["DeadLetterConfig"]["Arn"]
    assert {resource for _, resource in role} == {written(machine, template), written(letters, template)}


def test_metrics_go_into_one_namespace_and_are_read_by_one_function(template):
    for step, function in functions(template).items():
        of_step = list(statements(template, role_of(function)))
        puts = [one for one in of_step if "cloudwatch:PutMetricData" in as_list(one["Action"])]
        gets = [one for one in of_step if "cloudwatch:GetMetricData" in as_list(one["Action"])]
        assert bool(puts) == (step == "PublishBacklog")
        assert bool(gets) == (step in ("PublishBacklog", "ListStaleVideos"))
        for one in puts:
            assert one["Condition"] == {"StringEquals": {"cloudwatch:namespace": "Academy/Workers"}}
            assert as_list(one["Action"]) == ["cloudwatch:PutMetricData"]


def test_no_role_has_a_managed_policy_or_a_wildcard_action(template):
    for role_id, role in of_type(template, "AWS::IAM::Role").items():
        assert "ManagedPolicyArns" not in role
        assert not [action for action, _ in granted(template, role_id) if "*" in action]


def test_only_the_service_and_not_the_code_makes_network_interfaces():
    resources = synthesized("existing").template["Resources"]
    for function in functions(resources).values():
        interfaces = {pair for pair in granted(resources, role_of(function)) if pair[0].startswith("ec2:")}
        assert interfaces == granted(resources, role_of(function), effect="Deny")
        (denied,) = [s for s in statements(resources, role_of(function)) if s["Effect"] == "Deny"]
        ((_, condition),) = denied["Condition"].items()
        assert written(condition["lambda:SourceFunctionArn"], resources).endswith(function["FunctionName"])
    assert not [
        pair
        for role_id in of_type(synthesized("local").template["Resources"], "AWS::IAM::Role")
        for pair in granted(synthesized("local").template["Resources"], role_id)
        if pair[0].startswith("ec2:")
    ]


@pytest.mark.parametrize("step", RUNS)
def test_signing_in_by_iam_is_for_one_user_of_one_database(step):
    resources = synthesized("existing").template["Resources"]
    pairs = granted(resources, role_of(functions(resources)[step]))
    user = f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:db-ABCDEFGHIJKLMNOPQRSTUVWXYZ/video_reclaim"
    assert {pair for pair in pairs if pair[0].startswith("rds")} == {("rds-db:connect", user)}
    assert not [pair for pair in pairs if pair[1] == DATABASE_SECRET]


def test_a_customers_key_is_used_through_its_service_alone():
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0123"
    overrides = {
        "database": {"secretArn": DATABASE_SECRET, "iamResourceId": None, "secretKeyArn": key},
        "queues": {"videoKeyArn": key},
    }
    resources = synthesized("existing", json.dumps(overrides)).template["Resources"]
    for step, function in functions(resources).items():
        via = {
            (written(s["Condition"]["StringEquals"]["kms:ViaService"], resources), action)
            for s in statements(resources, role_of(function))
            for action in as_list(s["Action"])
            if action.startswith("kms:")
        }
        wanted = {(f"secretsmanager.{REGION}.amazonaws.com", "kms:Decrypt")}
        if step == "Enqueue":
            sqs = f"sqs.{REGION}.amazonaws.com"
            wanted |= {(sqs, "kms:Decrypt"), (sqs, "kms:GenerateDataKey")}
        assert via == wanted
