"""How an instance ends: the emulator's group and metadata, and the worker that finishes before it lets go."""

import dataclasses
import json
import signal
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from dev.local import metadata
from dev.local.emulator import REGION
from dev.local.worker import DrainingWorker, Instance
from dev.testing.workers import run_to_its_end

HOOK = "finish-encode"
STATE = "meta-data/autoscaling/target-lifecycle-state"
POLICY = {"RetentionTriggers": {"TerminateHookAbandon": "retain"}}


class Group:
    """A group of up to 3 instances, with none, on the emulator of ``bench``."""

    def __init__(self, bench, *, hook="EC2_INSTANCE_TERMINATING", protected=False):
        self.endpoint_url, self.name = bench.emulator.endpoint_url, bench.name()
        self.client, named = bench.clients.autoscaling, {"AutoScalingGroupName": self.name}
        self.client.create_auto_scaling_group(
            **named,
            MinSize=0,
            MaxSize=3,
            LaunchConfigurationName="any",
            AvailabilityZones=[f"{REGION}a"],
            NewInstancesProtectedFromScaleIn=protected,
            InstanceLifecyclePolicy=POLICY,
        )
        if hook:
            transition = f"autoscaling:{hook}"
            self.client.put_lifecycle_hook(**named, LifecycleHookName=HOOK, LifecycleTransition=transition)

    def resize(self, desired):
        """Set the desired capacity; return the ids of the instances."""
        self.client.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=desired)
        return list(self.states())

    def states(self):
        return {one["InstanceId"]: one["LifecycleState"] for one in self.describe()["Instances"]}

    def describe(self):
        shown = self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        return shown["AutoScalingGroups"][0]

    def instance(self, id_):
        return Instance(id_, self.name, HOOK, self.client, metadata.url(self.endpoint_url, id_))

    def busy(self, desired):
        """Resize, with a worker on each instance; return the instances."""
        instances = [self.instance(id_) for id_ in self.resize(desired)]
        assert not any(one.is_leaving() for one in instances)
        return instances


@pytest.fixture
def hooked(bench):
    return Group(bench)


@pytest.mark.parametrize(
    ("given", "one", "two", "none"),
    [
        (
            {},
            "InService Waiting",
            "InService InService Waiting",
            "Waiting Waiting",
        ),  # the new one has no worker
        ({"hook": None}, "InService", "InService InService", ""),
        ({"hook": "EC2_INSTANCE_LAUNCHING"}, "InService", "InService InService", ""),
        ({"hook": None, "protected": True}, *["InService InService"] * 3),
    ],
)
def test_how_busy_instances_end_when_the_desired_capacity_goes_from_two_to_one_to_two_to_none(
    bench, given, one, two, none
):
    group, shown = Group(bench, **given), []
    group.busy(2)
    for desired in (1, 2, 0):
        group.resize(desired)
        shown.append(" ".join(sorted(group.states().values())).replace("Terminating:Wait", "Waiting"))
    assert shown == [one, two, none]


def test_a_group_shows_its_instance_lifecycle_policy(hooked):
    assert hooked.describe()["InstanceLifecyclePolicy"] == POLICY


@pytest.mark.parametrize("call", ["beat", "let_go"])
def test_calls_about_an_action_that_there_is_not_are_refused(hooked, call):
    (instance,) = hooked.busy(1)
    with pytest.raises(ClientError, match="No active Lifecycle Action") as refused:
        getattr(instance, call)()
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    assert hooked.states() == {instance.id: "InService"}


@pytest.mark.parametrize(
    ("method", "item", "headers", "status"),
    [
        ("PUT", "api/token", {}, 400),  # a token without a time
        ("GET", STATE, {}, 401),
        ("GET", STATE, {"X-aws-ec2-metadata-token": "made up"}, 401),
    ],
)
def test_the_metadata_needs_a_token(hooked, method, item, headers, status):
    address = f"{metadata.url(hooked.endpoint_url, hooked.resize(1)[0])}/latest/{item}"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(address, method=method, headers=headers))
    with refused.value:
        assert refused.value.code == status


def test_an_instance_of_no_group_and_a_silent_service_count_as_staying(hooked):
    assert not hooked.instance("i-0").is_leaving()
    assert not Instance("i-0", "any", HOOK, hooked.client, "http://127.0.0.1:9").is_leaving()


def statuses(academy):
    return [status for (status,) in academy.sql("SELECT status FROM video_video ORDER BY id")]


@pytest.fixture
def draining(stage, hooked):
    """Makes a worker on an instance of the group ``hooked``."""
    return lambda instance: stage.worker(instance.id, kind=DrainingWorker, instance=instance)


def test_a_worker_finishes_its_video_receives_no_other_and_lets_its_instance_go(
    academy, stage, hooked, draining
):
    for _ in range(2):
        stage.upload()
    _, leaving = hooked.busy(2)
    worker = draining(leaving)
    job = worker.receive()
    since = worker.begin(job)
    hooked.resize(1)

    worker.beat(job)
    worker.beat(job)  # not due yet
    assert [event["event"] for event in stage.record.told if "action" in event["event"]] == ["actionBeat"]
    assert worker.receive() is None
    assert hooked.states()[leaving.id] == "Terminating:Wait"
    assert statuses(academy) == ["PROCESSING", "UPLOADED"]

    worker.complete(job, since)
    run_to_its_end(worker)

    assert leaving.id not in hooked.states()
    assert statuses(academy) == ["READY", "UPLOADED"]
    assert len(stage.queue.bodies()) == 1, "the other message is left to others"


def test_a_worker_that_is_stopped_on_an_instance_that_stays_completes_nothing(stage, hooked, draining):
    (staying,) = hooked.busy(1)
    worker = draining(staying)
    worker.stop()
    worker.run()
    assert hooked.states() == {staying.id: "InService"}
    assert not [event for event in stage.record.told if "instanceReleased" in event["event"]]


def test_a_completion_that_comes_too_early_is_tried_again(stage, hooked, draining):
    (instance,) = hooked.busy(1)
    worker = draining(dataclasses.replace(instance, hook="none-yet"))
    worker.sleep = lambda _seconds: setattr(worker, "instance", instance)
    hooked.resize(0)
    run_to_its_end(worker)
    assert [event["event"] for event in stage.record.told] == ["instanceReleasedFailed", "instanceReleased"]
    assert not hooked.states()


def test_a_worker_process_on_an_instance_of_the_emulator_goes_with_it(academy, bench, hooked, process):
    """It is chosen during the first of two videos. Signals cut it off from Redis, and connect it again."""
    url = bench.clients.sqs.create_queue(QueueName=bench.name())["QueueUrl"]
    for video in [academy.add("UPLOADED") for _ in range(2)]:
        body = json.dumps({"video_id": video, "tenant_id": 1, "attempt": 1})
        bench.clients.sqs.send_message(QueueUrl=url, MessageBody=body)
    (id_,) = hooked.resize(1)
    on_emulator = {"endpoint_url": hooked.endpoint_url, "queue_url": url, "group": hooked.name}
    worker = process(id_, **on_emulator, instance=id_, encode_s=10_000, time_scale=0.001)
    worker.wait_ready(lambda: '"beat"' in worker.log.read_text())
    for number, event in ((signal.SIGUSR1, '"beatFailed"'), (signal.SIGUSR2, '"beat"')):
        told = len(worker.log.read_text())
        worker.send(number)
        bench.until(lambda told=told, event=event: event in worker.log.read_text()[told:])
    hooked.resize(0)
    bench.until(lambda: not worker.running, limit_s=30)
    assert statuses(academy) == ["READY", "UPLOADED"]
    assert not hooked.states()
