"""How an instance with a termination hook ends: the part of `dev.settle` that starts one."""

import time
from collections.abc import Callable, Iterator

from dev.settle.account import GROUP, PREFIX, Account

_LIMIT_S = 600


def settle_group(account: Account) -> Iterator[tuple[str, str, str]]:
    """Yield behaviour, expected and seen of one instance, from its start to its event."""
    scaling = account.client("autoscaling")

    def state() -> str:
        return next((one["LifecycleState"] for one in account.instances()), "gone")

    scaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=1)
    _until(lambda: state() == "InService")
    instance = account.instances()[0]["InstanceId"]
    time.sleep(60)  # until it sends messages
    scaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=0)
    waits = _until(lambda: state() if "Wait" in state() else "")
    yield "SetDesiredCapacity runs the hook", "Terminating:Wait", waits
    kept = _until(lambda: state() if state() in ("Terminating:Retained", "gone") else "")
    yield "after 60 s without an answer", "Terminating:Retained", kept
    account.client("ec2").terminate_instances(InstanceIds=[instance])
    ping, event = _last_messages(account)
    late = (
        f"{(event - ping) / 1000:.1f} s" if event and ping else f"pings until {ping}, event {event or 'none'}"
    )
    yield "EC2 Instance Terminate Successful, after the end of its processes", "?", late


def _last_messages(account: Account) -> tuple[int, int]:
    """Return when the last ping and the event were sent, in milliseconds; 0 for never."""
    sqs, ping, event = account.client("sqs"), 0, 0
    url = sqs.get_queue_url(QueueName=f"{PREFIX}events")["QueueUrl"]
    give_up = time.monotonic() + _LIMIT_S
    while time.monotonic() < give_up:
        answer = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=5,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        found = answer.get("Messages", [])
        if event and not found:
            break
        for one in found:
            sent = int(one["Attributes"]["SentTimestamp"])
            if one["Body"] == "ping":
                ping = max(ping, sent)
            else:
                event = sent
            sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    return ping, event


def _until(condition: Callable[[], str | bool]) -> str:
    """Wait for something true, and return it; 'not in ten minutes' else."""
    give_up = time.monotonic() + _LIMIT_S
    while time.monotonic() < give_up:
        if found := condition():
            return str(found)
        time.sleep(1)
    return "not in ten minutes"
