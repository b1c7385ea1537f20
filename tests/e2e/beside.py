"""A platform that was there before, made by other means than the app, and the app deployed beside it."""

import contextlib
import json

import psycopg2
from botocore.exceptions import ClientError

from dev.local.cdk_runner import CdkRunner
from dev.local.emulator import ACCOUNT, REGION, Emulator
from dev.local.files import make_scratch_folder, remove_scratch_folder
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.stack import Clients
from dev.local.valkey import Valkey

STACK_NAME = "VideoReclaim-existing"
PASSWORD = "Mark3d-Passw0rd/of the+database"
TOKEN = "Mark3d-T0ken-of-redis"
DIMENSIONS = {"Environment": "blue"}


class Platform:
    """Queues, a worker group, secrets, a topic, PostgreSQL and Redis, none of them from a template."""

    def __init__(self, folder, *, auth=False):
        self._logs = folder / "logs"
        self._scratch = make_scratch_folder()
        self.postgres = Postgres(self._scratch / "postgres", logs=self._logs)
        self.valkey = Valkey(self._scratch / "valkey", logs=self._logs)
        self.emulator = Emulator(self._scratch / "emulator", auth=auth, wait_scale=0.05, logs=self._logs)
        self.clients = Clients(self.emulator.endpoint_url)
        self.sns = self.clients.of("sns")
        self.iam = self.clients.of("iam")
        self.assembly = self._scratch / "cdk.out"

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.callback(remove_scratch_folder, self._scratch)
            for server in (self.postgres, self.valkey, self.emulator):
                stack.callback(server.stop)
                server.start()
            self._make_database()
            self._make_aws()
            self._undo = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._undo.close()

    def _make_database(self):
        create_schema(self.postgres.dsn)
        rules = self._scratch / "postgres" / "data" / "pg_hba.conf"
        rules.write_text("host all video_reclaim 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        self.sql(
            f"CREATE ROLE video_reclaim LOGIN PASSWORD '{PASSWORD}'; "
            "GRANT SELECT ON core_tenant, lectures_lecture, lectures_session, video_video TO video_reclaim; "
            "GRANT UPDATE (status, leased_by, leased_until, error_reason) ON video_video TO video_reclaim; "
            "SELECT pg_reload_conf()"
        )
        self.sql(
            "INSERT INTO core_tenant (id, code) VALUES (1, 'north');"
            "INSERT INTO lectures_lecture (id, tenant_id) VALUES (1, 1);"
            "INSERT INTO lectures_session (id, lecture_id) VALUES (1, 1)"
        )

    def _make_aws(self):
        sqs, secrets = self.clients.sqs, self.clients.secrets
        names = ("video-jobs", "video-jobs-dlq", "ai-jobs-lite", "ai-jobs-basic", "messaging-jobs")
        self.queues = {name: sqs.create_queue(QueueName=f"academy-{name}")["QueueUrl"] for name in names}
        self.topic = self.sns.create_topic(Name="operators")["TopicArn"]
        given = json.dumps({"engine": "postgres", "username": "video_reclaim", "password": PASSWORD})
        self.database_secret = secrets.create_secret(Name="academy/database", SecretString=given)["ARN"]
        given = json.dumps({"username": "lambda", "password": TOKEN})
        self.redis_secret = secrets.create_secret(Name="academy/redis", SecretString=given)["ARN"]
        with contextlib.closing(self.redis()) as redis:
            granted = ["~tenant:*:video:*", "~job:encode:*:lock", "~video-reclaim:*", "+@connection"]
            granted += [
                "+mget",
                "+exists",
                "+ttl",
                "+pttl",
                "+set",
                "+del",
                "+expire",
                "+zadd",
                "+zrem",
                "+zrange",
            ]
            granted += ["+hgetall", "+hmget", "+hset", "+hdel"]
            redis.execute_command("ACL", "SETUSER", "lambda", "on", f">{TOKEN}", *granted)
        scaling = self.clients.autoscaling
        scaling.create_launch_configuration(
            LaunchConfigurationName="worker", ImageId="ami-1", InstanceType="c7g.xlarge"
        )
        scaling.create_auto_scaling_group(
            AutoScalingGroupName="academy-video-worker-asg",
            LaunchConfigurationName="worker",
            MinSize=1,
            MaxSize=20,
            DesiredCapacity=1,
            AvailabilityZones=[f"{REGION}a"],
        )

    def redis(self):
        import redis

        return redis.Redis.from_url(self.valkey.url)

    def sql(self, statement, *parameters):
        with contextlib.closing(psycopg2.connect(self.postgres.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else None

    def stuck_video(self):
        """A video whose lease has expired."""
        ((video_id,),) = self.sql(
            "INSERT INTO video_video (session_id, file_key, status, leased_by, leased_until,"
            " processing_started_at, created_at, updated_at) VALUES (1, 'a.mp4', 'PROCESSING', 'w-1',"
            " now() - interval '1 minute', now() - interval '5 hours', now(), now()) RETURNING id"
        )
        return video_id

    def state(self, video_id):
        return self.sql("SELECT status, leased_by FROM video_video WHERE id = %s", video_id)[0]

    def messages(self, queue="video-jobs"):
        """Receive and delete everything in a queue; return the bodies."""
        bodies = []
        while found := self.clients.sqs.receive_message(
            QueueUrl=self.queues[queue], MaxNumberOfMessages=10
        ).get("Messages"):
            for message in found:
                bodies.append(json.loads(message["Body"]))
                self.clients.sqs.delete_message(
                    QueueUrl=self.queues[queue], ReceiptHandle=message["ReceiptHandle"]
                )
        return bodies

    def inventory(self):
        """What the platform owns, as its own tools see it."""
        clients = self.clients
        (group,) = clients.autoscaling.describe_auto_scaling_groups(
            AutoScalingGroupNames=["academy-video-worker-asg"]
        )["AutoScalingGroups"]
        volatile = {"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"}
        return {
            "queues": {
                name: {
                    key: value
                    for key, value in clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
                        "Attributes"
                    ].items()
                    if key not in volatile
                }
                for name, url in self.queues.items()
            },
            "group": {key: group[key] for key in ("AutoScalingGroupARN", "MinSize", "MaxSize")},
            "secrets": [
                clients.secrets.get_secret_value(SecretId=arn)["VersionId"]
                for arn in (self.database_secret, self.redis_secret)
            ],
            "topics": [topic["TopicArn"] for topic in self.sns.list_topics()["Topics"]],
            "videos": self.sql("SELECT * FROM video_video ORDER BY id"),
        }

    def configuration(self):
        """What the stage ``existing`` is given to fit this platform."""
        return {
            "account": ACCOUNT,
            "region": REGION,
            "bundle": "host",
            "database": {
                "host": "127.0.0.1",
                "port": self.postgres.port,
                "user": "",
                "iamResourceId": None,
                "secretArn": self.database_secret,
                "sslMode": "disable",
            },
            "redis": {"url": self.valkey.url, "secretArn": self.redis_secret},
            "schedule": {"enabled": False},
            "metrics": {"dimensions": DIMENSIONS},
            "scaling": {"mode": "apply"},
            "observability": {"topicArn": self.topic, "logExecutionData": False},
        }


class Deployment:
    """The stage ``existing``, deployed beside a platform by the CDK CLI."""

    def __init__(self, platform):
        self._platform = platform
        self._cdk = CdkRunner(
            "existing",
            scratch=platform._scratch,
            logs=platform._logs,
            endpoint_url=platform.emulator.endpoint_url,
        )

    def up(self):
        self._cdk.synthesize(self._platform.configuration()).wait_done()
        self._cdk.bootstrap().wait_done()
        self.deploy_again()

    def deploy_again(self):
        """Deploy what is synthesized; return what the CLI said."""
        self._cdk.deploy().wait_done()
        return self._cdk.log("deploy").read_text()

    def destroy(self):
        self._cdk.destroy().wait_done()

    def outputs(self):
        return self._cdk.outputs()

    def run(self, given=None):
        """Run the workflow to its end and describe the execution."""
        machine = self.outputs()["StateMachineArn"]
        states = self._platform.clients.stepfunctions
        started = states.start_execution(stateMachineArn=machine, input=json.dumps(given or {}))
        while (shown := states.describe_execution(executionArn=started["executionArn"]))[
            "status"
        ] == "RUNNING":
            pass
        return shown


def exists(call, **given):
    """Whether AWS finds what is asked for."""
    try:
        call(**given)
    except ClientError:
        return False
    return True
