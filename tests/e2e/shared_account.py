"""One account with several deployments: the example app, and stages that create all they need."""

import contextlib
import json
import time
from pathlib import Path

import aws_cdk
import psycopg2
from aws_cdk import aws_ec2 as ec2

from cdk.platform import Database, Redis
from cdk.stack import VideoReclaimStack
from cdk.stage import Schedule, Settings, load
from dev.local import ROOT
from dev.local.cdk_runner import DIRECT, CdkRunner
from dev.local.emulator import ACCOUNT, REGION, Emulator
from dev.local.files import make_scratch_folder, remove_scratch_folder
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.stack import Clients
from dev.local.valkey import Valkey
from dev.testing.messages import Queue
from dev.testing.servers import HEARTBEAT_SEEN_KEY, Academy
from examples.app import Academy as ExampleApp

EXAMPLE = "Academy"
STAGES = ("blue", "green")
ENV = aws_cdk.Environment(account=ACCOUNT, region=REGION)
IMAGE = "ami-00000000000000000"
BUCKET = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"


class Account:
    """Servers and an emulator, with a database and a Redis of its own for each deployment."""

    def __init__(self, logs):
        self._scratch, self._logs = make_scratch_folder(), logs
        self.postgres = Postgres(self._scratch / "postgres", logs=logs)
        self.valkey = Valkey(self._scratch / "valkey", logs=logs)
        self.emulator = Emulator(self._scratch / "emulator", wait_scale=0.01, logs=logs)
        self.clients = Clients(self.emulator.endpoint_url)
        self._cdk = CdkRunner(
            "blue", scratch=self._scratch, logs=logs, endpoint_url=self.emulator.endpoint_url
        )

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.callback(remove_scratch_folder, self._scratch)
            for server in (self.emulator, self.postgres, self.valkey):
                stack.callback(server.stop)
                server.start()
            bootstrap = self._cdk.bootstrap()
            self.academies = {name: self._academy(name) for name in (EXAMPLE, *STAGES)}
            for academy in self.academies.values():
                stack.callback(academy.close)
                academy.reset()  # it empties every database of the one Redis
            for academy in self.academies.values():
                academy.redis.set(HEARTBEAT_SEEN_KEY, "1")
            synthesize(self._add_all, self._scratch / "cdk.out")
            bootstrap.wait_done()
            stacks = (EXAMPLE, "VideoReclaim-green")  # besides the runner's own
            self._cdk.deploy(*stacks, "--concurrency", "3", *DIRECT).wait_done()
            self._undo = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._undo.close()

    def _academy(self, name):
        dsn = f"{self.postgres.dsn.rpartition('/')[0]}/{name.lower()}"
        if name != EXAMPLE:  # the server's first database
            with contextlib.closing(psycopg2.connect(self.postgres.dsn)) as connection:
                connection.autocommit = True
                connection.cursor().execute(f"CREATE DATABASE {name}")
        create_schema(dsn)
        return Academy(dsn, self._redis_url(name))

    def _redis_url(self, name):
        return f"{self.valkey.url.rpartition('/')[0]}/{(EXAMPLE, *STAGES).index(name)}"

    def _database(self, name):
        return {
            "host": "127.0.0.1",
            "port": self.postgres.port,
            "name": name.lower(),
            "user": "postgres",
            "sslMode": "disable",
        }

    def _add_all(self, app):
        account = self

        class LocalExample(ExampleApp):
            """The example, with its functions on the local servers."""

            def database_connection(self, _database):
                return Database.model_validate(account._database(EXAMPLE))

            def redis_connection(self, _redis):
                return Redis(url=account._redis_url(EXAMPLE))

            def settings(self):
                return Settings(bundle="host", schedule=Schedule(enabled=False))

            def worker_image(self):
                return ec2.MachineImage.generic_linux({REGION: IMAGE})

        LocalExample(app, EXAMPLE, env=ENV)
        for name in STAGES:
            self.add_stage(app, name)

    def add_stage(self, app, name, **changes):
        """Add a stage that creates queues and workers, whose names are the defaults; return its stack."""
        values = {
            "account": ACCOUNT,
            "region": REGION,
            "bundle": "host",
            "database": self._database(name),
            "redis": {"url": self._redis_url(name) if name in STAGES else self.valkey.url},
            "queues": {"create": True},
            "workers": {
                "create": {
                    "imageId": IMAGE,
                    "instanceType": "c7g.xlarge",
                    "availabilityZones": [f"{REGION}a"],
                }
            },
            "schedule": {"enabled": False},
            **changes,
        }
        return VideoReclaimStack(app, name=name, stage=load({name: values}, name))

    def template(self, make, stack):
        """Synthesize another app and put its template where CloudFormation reads it; return its address."""
        body = synthesize(make, make_scratch_folder()).get_stack_by_name(stack).template_full_path
        s3 = self.clients.of("s3")
        s3.put_object(Bucket=BUCKET, Key=f"{stack}.json", Body=Path(body).read_bytes())
        return f"{self.emulator.endpoint_url}/{BUCKET}/{stack}.json"

    def create(self, make, stack):
        """Create a stack; return its status when that has ended."""
        self.clients.cloudformation.create_stack(
            StackName=stack, TemplateURL=self.template(make, stack), Capabilities=["CAPABILITY_IAM"]
        )
        return self.settled(stack)

    def update(self, make, stack):
        """Update a stack; return its status when that has ended."""
        self.clients.cloudformation.update_stack(
            StackName=stack, TemplateURL=self.template(make, stack), Capabilities=["CAPABILITY_IAM"]
        )
        return self.settled(stack)

    def destroy(self, stage):
        """Remove a stage by the CDK CLI."""
        cdk = CdkRunner(
            stage, scratch=self._scratch, logs=self._logs, endpoint_url=self.emulator.endpoint_url
        )
        cdk.destroy().wait_done()

    def created(self, stack):
        """The types of all resources that a stack has ever had."""
        pages = self.clients.cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack)
        events = [event for page in pages for event in page["StackEvents"]]
        return {one["ResourceType"] for one in events if one["ResourceStatus"] == "CREATE_COMPLETE"}

    def resources(self, stack):
        """The resources of a stack by logical id."""
        pages = self.clients.cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
        return {
            one["LogicalResourceId"]: one
            for page in pages
            for one in page["StackResourceSummaries"]
            if one["ResourceStatus"] != "DELETE_COMPLETE"
        }

    def id_of(self, stack, kind, beginning=""):
        """The physical id of the one resource of a type in a stack whose logical id begins so."""
        (found,) = [
            one["PhysicalResourceId"]
            for id_, one in self.resources(stack).items()
            if one["ResourceType"] == kind and id_.startswith(beginning)
        ]
        return found

    def queue(self, stack, beginning):
        return Queue(self.clients.sqs, self.id_of(stack, "AWS::SQS::Queue", beginning))

    def run(self, stack, given=None):
        """Run a stack's workflow to its end; return its record."""
        states, machine = self.clients.stepfunctions, self.id_of(stack, "AWS::StepFunctions::StateMachine")
        arn = states.start_execution(stateMachineArn=machine, input=json.dumps(given or {}))["executionArn"]
        while (shown := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
            time.sleep(0.05)
        assert shown["status"] == "SUCCEEDED", shown
        return json.loads(shown["output"])

    def status(self, stack):
        (found,) = self.clients.cloudformation.describe_stacks(StackName=stack)["Stacks"]
        return found["StackStatus"]

    def settled(self, stack):
        """Wait until a change of a stack has ended, well or not; return its status."""
        while (status := self.status(stack)).endswith("_IN_PROGRESS"):
            time.sleep(0.05)
        return status


def add_what_fails(stack):
    """Add a resource to a stack that can't be created, when all others are."""
    nobody = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:nobody"
    others = stack.node.find_all()
    broken = aws_cdk.CfnResource(stack, "Broken", type="Custom::Broken", properties={"ServiceToken": nobody})
    for other in others:
        if aws_cdk.CfnResource.is_cfn_resource(other):
            broken.add_resource_dependency(other)


def synthesize(make, folder):
    """Synthesize an app with what ``make`` adds to it; return the assembly."""
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    # The emulator can't run the Node.js function that would do it.
    context["@aws-cdk/aws-ec2:restrictDefaultSecurityGroup"] = False
    app = aws_cdk.App(context=context, outdir=str(folder), builtin_cloud_formation_validation=False)
    make(app)
    return app.synth()
