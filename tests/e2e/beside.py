"""A platform that was there before, made by other means than the app, and the stage ``existing`` deployed beside it."""

import contextlib
import json
import re
from pathlib import Path

import psycopg2
from botocore.exceptions import ClientError

from dev.local.cdk_runner import CdkRunner
from dev.local.emulator import ACCOUNT, REGION
from dev.local.platform_tables import create_schema
from dev.testing.messages import Queue
from dev.testing.servers import Academy

STACK_NAME = "VideoReclaim-existing"
PASSWORD = "Mark3d-Passw0rd/of the+database"
TOKEN = "Mark3d-T0ken-of-redis"
GUIDE = Path(__file__).parents[2] / "docs" / "deploying.md"
DIMENSIONS = {"Environment": "blue"}
GROUP = "platform-workers"


class Platform:
    """Queues, a worker group, secrets, a topic, a database and a Redis user, none of them from a template.

    On the servers of the deployed stage ``local``, so that two stages share an account.
    """

    def __init__(self, deployed):
        running = deployed.running
        self.clients, self._postgres = running.stack.clients, running.postgres
        self._server_dsn = running.postgres.dsn
        self._dsn = f"{self._server_dsn.rpartition('/')[0]}/platform"
        self._make_database(deployed)
        self._make_aws()
        self.queue = Queue(self.clients.sqs, self.queues["video-jobs"])

    def close(self):
        self.academy.close()

    def _make_database(self, deployed):
        with contextlib.closing(psycopg2.connect(self._server_dsn)) as connection:
            connection.autocommit = True
            connection.cursor().execute("CREATE DATABASE platform")
        create_schema(self._dsn)
        ((rules,),) = deployed.academy.sql("SHOW hba_file")
        Path(rules).write_text(
            "host platform video_reclaim 127.0.0.1/32 scram-sha-256\n" + Path(rules).read_text()
        )
        self._redis_url = re.sub(r"/\d+$", "/7", deployed.stack.redis_url)
        self.academy = Academy(self._dsn, self._redis_url)
        self.academy.reset()
        self.academy.sql(
            f"CREATE ROLE video_reclaim LOGIN PASSWORD '{PASSWORD}'; "
            "GRANT SELECT ON core_tenant, lectures_lecture, lectures_session, video_video TO video_reclaim; "
            "GRANT UPDATE (status, leased_by, leased_until, error_reason) ON video_video TO video_reclaim; "
            "SELECT pg_reload_conf()"
        )
        (rights,) = re.findall(r"^    (~\S.*\n    \+.*)$", GUIDE.read_text(), re.M)
        self.academy.redis.execute_command("ACL", "SETUSER", "lambda", "on", f">{TOKEN}", *rights.split())

    def _make_aws(self):
        sqs, secrets, scaling = self.clients.sqs, self.clients.secrets, self.clients.autoscaling
        names = ("video-jobs", "video-jobs-dlq", "ai-jobs-lite", "messaging-jobs")
        self.queues = {name: sqs.create_queue(QueueName=f"platform-{name}")["QueueUrl"] for name in names}
        self.topic = self.clients.of("sns").create_topic(Name="operators")["TopicArn"]
        self.database_secret = secrets.create_secret(
            Name="academy/database", SecretString=self.database_login(PASSWORD)
        )["ARN"]
        given = json.dumps({"username": "lambda", "password": TOKEN})
        self.redis_secret = secrets.create_secret(Name="academy/redis", SecretString=given)["ARN"]
        scaling.create_launch_configuration(
            LaunchConfigurationName="worker", ImageId="ami-1", InstanceType="c7g.xlarge"
        )
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=GROUP,
            LaunchConfigurationName="worker",
            MinSize=1,
            MaxSize=20,
            DesiredCapacity=1,
            AvailabilityZones=[f"{REGION}a"],
        )

    @staticmethod
    def database_login(password):
        return json.dumps({"engine": "postgres", "username": "video_reclaim", "password": password})

    def set_secret_password(self, password):
        """Change what the secret says; the database keeps its own."""
        self.clients.secrets.put_secret_value(
            SecretId=self.database_secret, SecretString=self.database_login(password)
        )

    def disconnect(self):
        """End the functions' connections, so that the next call opens new ones."""
        self.academy.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'video_reclaim'"
        )

    def desired(self):
        (group,) = self.clients.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])[
            "AutoScalingGroups"
        ]
        return group["DesiredCapacity"]

    def inventory(self):
        """What the platform owns, as its own tools see it."""
        groups = self.clients.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])
        return {
            "queues": [
                self.clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "Policy"])[
                    "Attributes"
                ]
                for url in self.queues.values()
            ],
            "group": [
                (one["AutoScalingGroupARN"], one["MinSize"], one["MaxSize"])
                for one in groups["AutoScalingGroups"]
            ],
            "secrets": [
                self.clients.secrets.get_secret_value(SecretId=arn)["VersionId"]
                for arn in (self.database_secret, self.redis_secret)
            ],
            "videos": self.academy.rows(),
        }

    def configuration(self):
        """What the stage ``existing`` is given to fit this platform."""
        return {
            "account": ACCOUNT,
            "region": REGION,
            "bundle": "host",
            "database": {
                "host": "127.0.0.1",
                "port": self._postgres.port,
                "name": "platform",
                "user": "",
                "iamResourceId": None,
                "secretArn": self.database_secret,
                "sslMode": "disable",
            },
            "redis": {"url": self._redis_url, "secretArn": self.redis_secret},
            "queues": {
                "video": "platform-video-jobs",
                "videoDeadLetter": "platform-video-jobs-dlq",
                "others": {"AI": ["platform-ai-jobs-lite"], "Messaging": ["platform-messaging-jobs"]},
            },
            "workers": {"groupName": GROUP},
            "schedule": {"enabled": False},
            "metrics": {"dimensions": DIMENSIONS},
            "scaling": {"mode": "apply", "overrideParameter": "/platform/scaling-override"},
            "observability": {"topicArn": self.topic, "logExecutionData": False},
        }


class ExistingStage:
    """The stage ``existing``, deployed by the CDK CLI."""

    def __init__(self, platform, scratch):
        self._platform, self.logs, self.assembly = platform, scratch / "logs", scratch / "cdk.out"
        endpoint_url = platform.clients.sqs.meta.endpoint_url
        self._cdk = CdkRunner("existing", scratch=scratch, logs=self.logs, endpoint_url=endpoint_url)

    def up(self):
        self._cdk.synthesize(self._platform.configuration()).wait_done()
        self.deploy_again()

    def deploy_again(self):
        """Deploy what is synthesized; return what the CLI said."""
        self._cdk.deploy().wait_done()
        return self._cdk.log("deploy").read_text()

    def destroy(self):
        self._cdk.destroy().wait_done()

    def outputs(self):
        return self._cdk.outputs()

    def functions(self):
        return [name for key, name in self.outputs().items() if key.endswith("Function")]

    def run(self, deployed, given=None):
        """Run the workflow to its end and describe the execution."""
        machine = self.outputs()["StateMachineArn"]
        started = deployed.clients.stepfunctions.start_execution(
            stateMachineArn=machine, input=json.dumps(given or {})
        )
        return deployed.ended(started["executionArn"])


def exists(call, **given):
    """Whether AWS finds what is asked for."""
    try:
        call(**given)
    except ClientError:
        return False
    return True
