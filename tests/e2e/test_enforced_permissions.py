"""The functions' roles, enforced: enough for everything that they do, and in force."""

import contextlib
import json

import psycopg2
import pytest

from dev.local.launch import running

pytestmark = pytest.mark.xdist_group("enforced")


class Academy:
    def __init__(self, started):
        self.stack = started.stack
        self.clients = started.stack.clients
        self.iam = self.clients.of("iam")
        self.sql(
            "INSERT INTO core_tenant (id, code) VALUES (1, 'north');"
            "INSERT INTO lectures_lecture (id, tenant_id) VALUES (1, 1);"
            "INSERT INTO lectures_session (id, lecture_id) VALUES (1, 1)"
        )

    def sql(self, statement):
        with contextlib.closing(psycopg2.connect(self.stack.postgres_dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else None

    def stuck_videos(self, count):
        self.sql("DELETE FROM video_video")
        self.sql(
            "INSERT INTO video_video (session_id, file_key, status, leased_by, leased_until,"
            " processing_started_at, created_at, updated_at) SELECT 1, 'a.mp4', 'PROCESSING', 'w-1',"
            " now() - interval '1 minute', now() - interval '5 hours', now(), now()"
            f" FROM generate_series(1, {count})"
        )

    def run(self):
        states = self.clients.stepfunctions
        started = states.start_execution(stateMachineArn=self.stack.state_machine_arn)
        while (shown := states.describe_execution(executionArn=started["executionArn"]))[
            "status"
        ] == "RUNNING":
            pass
        return shown

    def desired(self):
        (group,) = self.clients.autoscaling.describe_auto_scaling_groups(
            AutoScalingGroupNames=[self.stack.auto_scaling_group]
        )["AutoScalingGroups"]
        return group["DesiredCapacity"]

    @contextlib.contextmanager
    def without(self, step, action):
        """Take one action from a function's role for the length of the block."""
        function = self.clients.functions.get_function_configuration(FunctionName=self.stack.functions[step])
        role = function["Role"].rsplit("/", 1)[1]
        (policy,) = self.iam.list_role_policies(RoleName=role)["PolicyNames"]
        document = self.iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        document = document if isinstance(document, dict) else json.loads(document)
        kept = []
        for statement in document["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            kept.append({**statement, "Action": [one for one in actions if one != action]})
        fewer = {**document, "Statement": [statement for statement in kept if statement["Action"]]}
        assert kept != document["Statement"]
        self.iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(fewer))
        try:
            yield
        finally:
            self.iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))


@pytest.fixture(scope="module")
def academy(tmp_path_factory):
    with running(tmp_path_factory.mktemp("enforced"), auth=True, wait_scale=0.01) as started:
        yield Academy(started)


def test_everything_that_a_run_does_is_allowed(academy):
    academy.stuck_videos(3)
    ended = academy.run()
    assert ended["status"] == "SUCCEEDED", ended
    run = json.loads(ended["output"])
    assert (run["reclaimed"], run["enqueued"]) == (3, 3)
    decision = run["decision"]
    assert decision["inputs"]["group"] is not None
    assert decision["inputs"]["overrideProblem"] is None
    assert decision["inputs"]["visible"] is not None
    assert academy.desired() == decision["desired"] >= 3


def test_the_group_is_left_alone_while_its_refreshes_are_unknown(academy):
    """They are asked about only before a change."""
    academy.stuck_videos(6)
    before = academy.desired()
    with academy.without("PublishBacklog", "autoscaling:DescribeInstanceRefreshes"):
        ended = academy.run()
    assert ended["status"] == "SUCCEEDED", ended
    assert json.loads(ended["output"])["decision"]["inputs"]["group"] is None
    assert academy.desired() == before


def denied(text):
    return "AccessDenied" in text or "not authorized" in text


def test_sending_without_permission_fails_the_execution(academy):
    academy.stuck_videos(1)
    with academy.without("Enqueue", "sqs:SendMessage"):
        ended = academy.run()
    assert (ended["status"], ended["error"]) == ("FAILED", "QueueUnavailable"), ended
    assert denied(ended["cause"])


def test_publishing_without_permission_is_told_in_the_record(academy):
    with academy.without("PublishBacklog", "cloudwatch:PutMetricData"):
        ended = academy.run()
    assert ended["status"] == "SUCCEEDED", ended
    assert denied(json.loads(ended["output"])["metricsError"])


@pytest.mark.parametrize(
    ("action", "unknown"),
    [
        pytest.param("ssm:GetParameter", lambda i: i["overrideProblem"] is not None, id="override"),
        pytest.param("sqs:GetQueueAttributes", lambda i: i["visible"] is None, id="queue"),
        pytest.param("autoscaling:DescribeAutoScalingGroups", lambda i: i["group"] is None, id="group"),
        pytest.param("autoscaling:DescribeLifecycleHooks", lambda i: i["group"] is None, id="hooks"),
        pytest.param("cloudwatch:GetMetricData", lambda i: not i["window"], id="window"),
    ],
)
def test_a_source_that_is_denied_is_unknown_and_ends_nothing(academy, action, unknown):
    with academy.without("PublishBacklog", action):
        ended = academy.run()
    assert ended["status"] == "SUCCEEDED", ended
    assert unknown(json.loads(ended["output"])["decision"]["inputs"])
