"""Description of a running local stack, and boto3 clients for it.

`make up` writes the description to ``.local/stack.json``; `Stack.load` reads it.
"""

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dev.local import ROOT
from dev.local.emulator import CREDENTIALS, REGION

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

HOME = ROOT / ".local"
STAGE = "local"
STACK_NAME = f"VideoReclaim-{STAGE}"


class NoStack(RuntimeError):
    """No local stack runs here; `make up` starts one."""


class Clients:
    """boto3 clients for the emulator, each made on first use. AWS profiles and variables are not read."""

    autoscaling: "AutoScalingClient"
    cloudformation: "CloudFormationClient"
    cloudwatch: "CloudWatchClient"
    functions: "LambdaClient"
    logs: "CloudWatchLogsClient"
    scheduler: "EventBridgeSchedulerClient"
    secrets: "SecretsManagerClient"
    sqs: "SQSClient"
    ssm: "SSMClient"
    stepfunctions: "SFNClient"

    def __init__(self, endpoint_url: str) -> None:
        """Prepare clients for ``endpoint_url``; no request is sent."""
        self._endpoint_url = endpoint_url

    @cached_property
    def _session(self) -> "boto3.Session":
        import boto3

        return boto3.Session(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])

    def of(self, service: Any) -> Any:  # noqa: ANN401 - boto3 types clients by literal names
        """Make a client for any service, named as in boto3."""
        return self._session.client(service, region_name=REGION, endpoint_url=self._endpoint_url)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - see the declarations above
        """Make the client of a service that was not used yet."""
        if name not in Clients.__annotations__:
            raise AttributeError(name)
        client = self.of({"functions": "lambda", "secrets": "secretsmanager"}.get(name, name))
        setattr(self, name, client)
        return client


@dataclass(frozen=True)
class Stack:
    """Addresses and names of a running stack: the fields of ``stack.json``."""

    endpoint_url: str
    region: str
    postgres_dsn: str
    redis_url: str
    state_machine_arn: str
    queue_url: str
    dlq_url: str
    auto_scaling_group: str
    metric_namespace: str
    functions: dict[str, str]

    @classmethod
    def load(cls, home: Path = HOME) -> "Stack":
        """Read the description of the stack that `make up` started.

        Raises:
            NoStack: no stack was started, or it was stopped.
        """
        try:
            return cls(**json.loads((home / "stack.json").read_text()))
        except FileNotFoundError as exc:
            raise NoStack("no local stack runs here; `make up` starts one") from exc

    def save(self, home: Path) -> None:
        """Write ``stack.json`` into ``home``, at once: a reader never sees a part of it."""
        home.mkdir(parents=True, exist_ok=True)
        draft = home / "stack.draft"
        draft.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        draft.replace(home / "stack.json")

    @cached_property
    def clients(self) -> Clients:
        """Clients for this stack's emulator."""
        return Clients(self.endpoint_url)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that point AWS tools, such as the AWS CLI, to this stack's emulator."""
        # Version 1 of the AWS CLI and boto3 read AWS_DEFAULT_REGION, other tools AWS_REGION.
        regions = {"AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region}
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint_url, **regions}

    def outputs(self) -> dict[str, str]:
        """Return all outputs of the deployed CloudFormation stack, by key."""
        described = self.clients.cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
