"""How an instance with a termination hook ends: the part of `dev.settle` that starts one."""

import base64
import json
import time
from collections.abc import Callable, Iterator

from dev.settle.resources import PREFIX, Account

_IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
_HOOK_S, _LIMIT_S = 60, 600
# Sends a message each second while its processes run.
_SEND = "aws sqs send-message --region {region} --queue-url {url} --message-body ping"
_PINGS = f"#!/bin/sh\nwhile :; do {_SEND}; sleep 1; done"


def settle_group(account: Account) -> Iterator[tuple[str, str, str]]:
    """Yield behaviour, expected and seen of one instance, from its start to its event."""
    scaling, queue = account.client("autoscaling"), _make(account)
    name = f"{PREFIX}group"

    def state() -> str:
        (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return group["Instances"][0]["LifecycleState"] if group["Instances"] else "gone"

    scaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)
    _until(lambda: state() == "InService")
    (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    instance = group["Instances"][0]["InstanceId"]
    time.sleep(60)  # until it sends messages
    scaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=0)
    yield (
        "SetDesiredCapacity runs the hook",
        "Terminating:Wait",
        _until(lambda: state() if "Wait" in state() else ""),
    )
    kept = _until(lambda: state() if state() in ("Terminating:Retained", "gone") else "")
    yield f"after {_HOOK_S} s without an answer", "Terminating:Retained", kept
    account.client("ec2").terminate_instances(InstanceIds=[instance])
    pings, event = _messages(account, queue)
    seen = (
        f"{(event - pings) / 1000:.1f} s"
        if event and pings
        else f"pings until {pings}, event {event or 'none'}"
    )
    yield "EC2 Instance Terminate Successful, after the end of its processes", "?", seen


def _make(account: Account) -> str:
    scaling, sqs, events = (account.client(service) for service in ("autoscaling", "sqs", "events"))
    name, iam, ec2 = f"{PREFIX}group", account.client("iam"), account.client("ec2")
    queue = sqs.create_queue(QueueName=f"{PREFIX}events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": arn}]}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    pattern = {
        "source": ["aws.autoscaling"],
        "detail-type": ["EC2 Instance Terminate Successful"],
        "detail": {"AutoScalingGroupName": [name]},
    }
    events.put_rule(Name=f"{PREFIX}rule", EventPattern=json.dumps(pattern))
    events.put_targets(Rule=f"{PREFIX}rule", Targets=[{"Id": "queue", "Arn": arn}])
    _ = account.role  # which the profile has
    iam.create_instance_profile(InstanceProfileName=f"{PREFIX}profile")
    iam.add_role_to_instance_profile(InstanceProfileName=f"{PREFIX}profile", RoleName=f"{PREFIX}role")
    time.sleep(15)  # until EC2 sees it
    pings = _PINGS.format(region=account.region, url=queue).encode()
    ec2.create_launch_template(
        LaunchTemplateName=f"{PREFIX}template",
        LaunchTemplateData={
            "ImageId": f"resolve:ssm:{_IMAGE}",
            "InstanceType": "t4g.nano",
            "IamInstanceProfile": {"Name": f"{PREFIX}profile"},
            "UserData": base64.b64encode(pings).decode(),
        },
    )
    zones = [one["ZoneName"] for one in ec2.describe_availability_zones()["AvailabilityZones"]]
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchTemplate={"LaunchTemplateName": f"{PREFIX}template"},
        MinSize=0,
        MaxSize=1,
        AvailabilityZones=zones[:2],
        InstanceLifecyclePolicy={"RetentionTriggers": {"TerminateHookAbandon": "retain"}},
    )
    scaling.put_lifecycle_hook(
        AutoScalingGroupName=name,
        LifecycleHookName="hook",
        LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
        DefaultResult="ABANDON",
        HeartbeatTimeout=_HOOK_S,
    )
    return str(queue)


def _messages(account: Account, queue: str) -> tuple[int, int]:
    """Return when the last ping and the event were sent, in milliseconds; 0 for never."""
    sqs, pings, event = account.client("sqs"), 0, 0
    give_up = time.monotonic() + _LIMIT_S
    while not event and time.monotonic() < give_up:
        found = sqs.receive_message(
            QueueUrl=queue,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=5,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        for one in found.get("Messages", []):
            sent = int(one["Attributes"]["SentTimestamp"])
            if one["Body"] == "ping":
                pings = max(pings, sent)
            else:
                event = sent
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=one["ReceiptHandle"])
    return pings, event


def _until(condition: Callable[[], str | bool]) -> str:
    """Wait for something true, and return it; 'not in ten minutes' else."""
    give_up = time.monotonic() + _LIMIT_S
    while time.monotonic() < give_up:
        if found := condition():
            return str(found)
        time.sleep(1)
    return "not in ten minutes"
