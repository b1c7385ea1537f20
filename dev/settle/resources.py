"""What `dev.settle` makes in an account, and how all of it is removed."""

# ruff: noqa: ANN401 - boto3 types clients by literal names

import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

PREFIX = "video-reclaim-settle-"
NAMESPACE = "VideoReclaim/Settle"
_READ_S = 120


class Account:
    """An account and region to make things in."""

    _numbers = itertools.count()

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

    @cached_property
    def role(self) -> str:
        """A role for state machines, the schedule and the instance, for what is made here alone."""
        iam, services = self.client("iam"), ("states", "scheduler", "ec2")
        principals = {"Service": [f"{service}.amazonaws.com" for service in services]}
        trust = {"Effect": "Allow", "Principal": principals, "Action": "sts:AssumeRole"}
        own = f"arn:{self.partition}:*:{self.region}:{self.number}:*{PREFIX}*"
        absent = (
            f"arn:{self.partition}:autoscaling:{self.region}:{self.number}:autoScalingGroup:*:*/{PREFIX}*"
        )
        actions = [
            "ssm:GetParameter",
            "states:StartExecution",
            "sqs:SendMessage",
            "autoscaling:SetDesiredCapacity",
        ]
        allow = {"Effect": "Allow", "Action": actions, "Resource": [own, absent]}
        role = iam.create_role(RoleName=f"{PREFIX}role", AssumeRolePolicyDocument=_policy(trust))["Role"][
            "Arn"
        ]
        iam.put_role_policy(RoleName=f"{PREFIX}role", PolicyName="own", PolicyDocument=_policy(allow))
        time.sleep(0 if self.is_emulator else 15)  # until other services see it
        return str(role)

    def machine(self, states: dict[str, Any]) -> str:
        """Make a state machine that starts at the first of these states."""
        definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}
        name = f"{PREFIX}{next(self._numbers)}"
        made = self.client("stepfunctions").create_state_machine(
            name=name, definition=json.dumps(definition), roleArn=self.role
        )
        return str(made["stateMachineArn"])

    def run(self, machine: str) -> dict[str, Any]:
        """Run a state machine to its end."""
        return self.ended(
            self.client("stepfunctions").start_execution(stateMachineArn=machine)["executionArn"]
        )

    def ended(self, execution: str) -> dict[str, Any]:
        """Wait for the end of an execution, and describe it."""
        states = self.client("stepfunctions")
        while (shown := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(0.5)
        return dict(shown)

    def schedule(self, machine: str) -> None:
        """Start a state machine each minute."""
        self.client("scheduler").create_schedule(
            Name=f"{PREFIX}schedule",
            ScheduleExpression="rate(1 minute)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": machine, "RoleArn": self.role, "Input": "{}"},
        )

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


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def remove(account: Account) -> None:
    """Remove everything whose name begins with `PREFIX`, of this run and of earlier ones.

    One kind after the other, users before what they use. What can't be removed is told and left for the next run.
    """
    for part in (_machines, _schedules, _rules, _groups, _queues, _parameters, _roles):
        with _told(part.__name__):
            part(account)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as exc:
        print(f"not removed: {what.strip('_')}: {exc}", flush=True)


def _machines(account: Account) -> None:
    states = account.client("stepfunctions")
    for page in states.get_paginator("list_state_machines").paginate():
        for one in page["stateMachines"]:
            if one["name"].startswith(PREFIX):
                states.delete_state_machine(stateMachineArn=one["stateMachineArn"])


def _schedules(account: Account) -> None:
    scheduler = account.client("scheduler")
    for one in scheduler.list_schedules(NamePrefix=PREFIX)["Schedules"]:
        scheduler.delete_schedule(Name=one["Name"])


def _rules(account: Account) -> None:
    events = account.client("events")
    for one in events.list_rules(NamePrefix=PREFIX)["Rules"]:
        targets = events.list_targets_by_rule(Rule=one["Name"])["Targets"]
        events.remove_targets(Rule=one["Name"], Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=one["Name"])


def _groups(account: Account) -> None:
    scaling, ec2 = account.client("autoscaling"), account.client("ec2")
    for page in scaling.get_paginator("describe_auto_scaling_groups").paginate():
        for one in page["AutoScalingGroups"]:
            if one["AutoScalingGroupName"].startswith(PREFIX):
                for instance in one["Instances"]:  # a retained one would outlive its group
                    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
                scaling.delete_auto_scaling_group(
                    AutoScalingGroupName=one["AutoScalingGroupName"], ForceDelete=True
                )
    for one in ec2.describe_launch_templates()["LaunchTemplates"]:
        if one["LaunchTemplateName"].startswith(PREFIX):
            ec2.delete_launch_template(LaunchTemplateId=one["LaunchTemplateId"])


def _queues(account: Account) -> None:
    sqs = account.client("sqs")
    for url in sqs.list_queues(QueueNamePrefix=PREFIX).get("QueueUrls", []):
        sqs.delete_queue(QueueUrl=url)


def _parameters(account: Account) -> None:
    ssm = account.client("ssm")
    found = ssm.get_parameters_by_path(Path=f"/{PREFIX}", Recursive=True)["Parameters"]
    for one in found:
        ssm.delete_parameter(Name=one["Name"])


def _roles(account: Account) -> None:
    iam, name = account.client("iam"), f"{PREFIX}role"
    with contextlib.suppress(iam.exceptions.NoSuchEntityException):
        for profile in iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"]:
            iam.remove_role_from_instance_profile(
                InstanceProfileName=profile["InstanceProfileName"], RoleName=name
            )
            iam.delete_instance_profile(InstanceProfileName=profile["InstanceProfileName"])
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        iam.delete_role(RoleName=name)
