"""How an instance ends: the emulator's group and metadata, and the worker that finishes before it lets go."""

import dataclasses
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from dev.local import metadata
from dev.local.emulator import REGION
from dev.local.platform_group import create_group
from dev.local.processes import Child
from dev.local.stack import Stack
from dev.local.worker import DrainingWorker, Instance
from dev.testing.programs import ROOT
from dev.testing.workers import run_to_its_end

HOOK = "finish-encode"


class Group:
    """A group with a hook on the emulator of ``bench``."""

    def __init__(self, bench):
        self.endpoint_url, self.name = bench.emulator.endpoint_url, bench.name()
        self.client = bench.clients.autoscaling
        create_group(bench.clients, self.name)

    def resize(self, desired):
        """Set the desired capacity; return the ids of the instances."""
        self.client.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=desired)
        return list(self.states())

    def states(self):
        shown = self.client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        return {
            one["InstanceId"]: one["LifecycleState"] for one in shown["AutoScalingGroups"][0]["Instances"]
        }

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


def test_busy_instances_wait_when_the_desired_capacity_goes_from_two_to_one_to_two_to_none(hooked):
    hooked.busy(2)
    shown = []
    for desired in (1, 2, 0):
        hooked.resize(desired)
        shown.append(" ".join(sorted(hooked.states().values())).replace("Terminating:Wait", "Waiting"))
    assert shown == [
        "InService Waiting",
        "InService InService Waiting",
        "Waiting Waiting",  # no worker ran on the new one
    ]


def test_the_metadata_needs_a_token(hooked):
    (id_,) = hooked.resize(1)
    item = "latest/meta-data/autoscaling/target-lifecycle-state"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{metadata.url(hooked.endpoint_url, id_)}/{item}")
    with refused.value:
        assert refused.value.code == 401


def test_an_instance_of_no_group_and_a_silent_service_count_as_staying(hooked):
    assert not hooked.instance("i-0").is_leaving()
    assert not Instance("i-0", "any", HOOK, hooked.client, "http://127.0.0.1:9").is_leaving()


@pytest.fixture
def draining(stage, hooked):
    """Makes a worker on an instance of the group ``hooked``."""
    return lambda instance: stage.worker(instance.id, kind=DrainingWorker, instance=instance)


def test_a_worker_that_is_stopped_on_an_instance_that_stays_completes_nothing(stage, hooked, draining):
    (staying,) = hooked.busy(1)
    worker = draining(staying)
    worker.stop()
    worker.run()
    assert hooked.states() == {staying.id: "InService"}
    assert not [event for event in stage.record.told() if "instanceReleased" in event["event"]]


def test_a_completion_that_comes_too_early_is_tried_again(stage, hooked, draining):
    (instance,) = hooked.busy(1)
    worker = draining(dataclasses.replace(instance, hook="none-yet"))
    worker.sleep = lambda _seconds: setattr(worker, "instance", instance)
    hooked.resize(0)
    run_to_its_end(worker)
    assert [event["event"] for event in stage.record.told()] == ["instanceReleasedFailed", "instanceReleased"]
    assert not hooked.states()


@pytest.fixture
def process(postgres, valkey, hooked, tmp_path):
    """Starts a worker as a process on an instance of the group; it takes its messages from a queue."""
    with ExitStack() as ends:

        def start(id_, queue_url):
            Stack(
                endpoint_url=hooked.endpoint_url,
                region=REGION,
                postgres_dsn=postgres.dsn,
                redis_url=valkey.url,
                queue_url=queue_url,
                auto_scaling_group=hooked.name,
                **dict.fromkeys(["state_machine_arn", "dlq_url", "metric_namespace", "functions"]),
            ).save(tmp_path)
            options = [f"--home={tmp_path}", f"--instance={id_}", "--encode-s=1000", "--time-scale=0.01"]
            command = [sys.executable, "-m", "dev.local.worker", *options]
            worker = Child("worker", command, log=tmp_path / "worker.log", env=os.environ, cwd=ROOT)
            ends.callback(worker.stop, signal.SIGKILL)
            return worker

        yield start


def test_a_worker_process_on_an_instance_of_the_emulator_goes_with_it(academy, bench, hooked, process):
    """It is chosen during the first of two videos. Signals cut it off from Redis, and connect it again."""
    url = bench.clients.sqs.create_queue(QueueName=bench.name())["QueueUrl"]
    for video in [academy.add("UPLOADED") for _ in range(2)]:
        body = json.dumps({"video_id": video, "tenant_id": 1, "attempt": 1})
        bench.clients.sqs.send_message(QueueUrl=url, MessageBody=body)
    (id_,) = hooked.resize(1)
    worker = process(id_, url)
    worker.wait_ready(lambda: '"beat"' in worker.log.read_text())
    for number, event in ((signal.SIGUSR1, '"beatFailed"'), (signal.SIGUSR2, '"beat"')):
        told = len(worker.log.read_text())
        worker.send(number)
        bench.until(lambda told=told, event=event: event in worker.log.read_text()[told:])
    hooked.resize(0)
    bench.until(lambda: not worker.running, limit_s=60)
    assert academy.sql("SELECT status FROM video_video ORDER BY id") == [("READY",), ("UPLOADED",)]
    assert '"actionBeat"' in worker.log.read_text()
    assert not hooked.states()
