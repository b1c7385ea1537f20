"""The account in which `dev.settle` makes one CloudFormation stack, with which everything is removed."""

# ruff: noqa: ANN401 - boto3 types clients by literal names

import contextlib
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

PREFIX = "video-reclaim-settle-"
NAMESPACE = "VideoReclaim/Settle"
STACK = f"{PREFIX}stack"
GROUP = f"{PREFIX}group"
PARAMETER = f"/{PREFIX}/0"
_READ_S = 120


class Account:
    """An account and region to make things in."""

    def __init__(self, session: boto3.Session) -> None:
        self._session = session
        self.region = session.region_name or "us-east-1"
        who = self.client("sts").get_caller_identity()
        self.number, self.partition = who["Account"], who["Arn"].split(":")[1]
        self.is_emulator = self.number == "0" * 12

    def client(self, service: Any) -> Any:
        """Make a client of a service."""
        # TestState has an endpoint of its own, sync-states, which an emulator has not.
        config = Config(inject_host_prefix="AWS_ENDPOINT_URL" not in os.environ)
        return self._session.client(service, region_name=self.region, config=config)

    def make(self, *, group: bool) -> None:
        """Create the stack, with the group only if asked for."""
        self.client("cloudformation").create_stack(
            StackName=STACK,
            TemplateBody=Path(__file__).with_name("stack.yaml").read_text(),
            Parameters=[{"ParameterKey": "WithGroup", "ParameterValue": "yes" if group else "no"}],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        self._wait("stack_create_complete")
        time.sleep(0 if self.is_emulator else 15)  # until other services see the role

    def remove(self) -> None:
        """Remove everything of this run and of earlier ones; what can't be removed is told."""
        ssm = self.client("ssm")
        with contextlib.suppress(ssm.exceptions.ParameterNotFound):
            ssm.delete_parameter(Name=PARAMETER)
        try:
            for instance in self.instances():  # a retained one would outlive its group
                self.client("ec2").terminate_instances(InstanceIds=[instance["InstanceId"]])
            self.client("cloudformation").delete_stack(StackName=STACK)
            self._wait("stack_delete_complete")
        except (ClientError, WaiterError) as exc:
            print(f"not removed: {exc}", flush=True)

    def _wait(self, what: str) -> None:
        pause = {"Delay": 1 if self.is_emulator else 10}
        self.client("cloudformation").get_waiter(what).wait(StackName=STACK, WaiterConfig=pause)

    def instances(self) -> list[dict[str, Any]]:
        """Return the instances of the group."""
        scaling = self.client("autoscaling")
        found = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])["AutoScalingGroups"]
        return [instance for group in found for instance in group["Instances"]]

    def machine(self, name: str) -> str:
        """Return the ARN of a state machine of the stack."""
        return f"arn:{self.partition}:states:{self.region}:{self.number}:stateMachine:{PREFIX}{name}"

    def run(self, name: str) -> dict[str, Any]:
        """Run a state machine to its end."""
        started = self.client("stepfunctions").start_execution(stateMachineArn=self.machine(name))
        return self.ended(started["executionArn"])

    def ended(self, execution: str) -> dict[str, Any]:
        """Wait for the end of an execution, and describe it."""
        states = self.client("stepfunctions")
        while (shown := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(0.5)
        return dict(shown)

    def read_back(self, value: float) -> float:
        """Put a value; return the seconds until it can be read, infinite after two minutes."""
        cloudwatch, at = self.client("cloudwatch"), datetime.now(UTC)
        metric = {"MetricName": "Settled", "Dimensions": [{"Name": "Value", "Value": f"{value:g}"}]}
        cloudwatch.put_metric_data(
            Namespace=NAMESPACE, MetricData=[{**metric, "Value": value, "Timestamp": at}]
        )
        stat = {"Metric": {"Namespace": NAMESPACE, **metric}, "Period": 60, "Stat": "Maximum"}
        window = {"StartTime": at - timedelta(minutes=5), "EndTime": at + timedelta(minutes=5)}
        began = time.monotonic()
        while (took_s := time.monotonic() - began) < _READ_S:
            found = cloudwatch.get_metric_data(MetricDataQueries=[{"Id": "m", "MetricStat": stat}], **window)
            if found["MetricDataResults"][0]["Values"]:
                return took_s
            time.sleep(0.5)
        return float("inf")
