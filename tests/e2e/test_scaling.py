"""The decision at work on the whole stack: an instance that drains."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from dev.local import metadata
from dev.local.worker import DrainingWorker, Instance
from dev.testing.workers import run_to_its_end

pytestmark = pytest.mark.xdist_group("deployed")


def put_backlog(deployed, namespace, value):
    """Put the backlog of the last 25 minutes, as this product's own runs would have."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    datum = {"MetricName": "BacklogCount", "Value": value, "Unit": "Count"}
    deployed.clients.cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[{**datum, "Timestamp": minute - timedelta(minutes=ago)} for ago in range(1, 26)],
    )


def decision(deployed):
    execution = deployed.run()
    assert execution["status"] == "SUCCEEDED", execution
    return execution["record"]["decision"]


def send(deployed, video):
    body = json.dumps({"video_id": video, "tenant_id": 1})
    deployed.clients.sqs.send_message(QueueUrl=deployed.stack.queue_url, MessageBody=body)


@pytest.fixture
def on_instance(deployed):
    """Makes a worker on an instance of the group, which it has asked for its state."""
    workers = []

    def make(id_):
        stack = deployed.stack
        instance = Instance(
            id_,
            stack.auto_scaling_group,
            "finish-encode",
            deployed.clients.autoscaling,
            metadata.url(stack.endpoint_url, id_),
        )
        assert not instance.is_leaving()
        workers.append(
            DrainingWorker(
                id_,
                instance=instance,
                sqs=deployed.clients.sqs,
                queue_url=stack.queue_url,
                dsn=stack.postgres_dsn,
                redis_url=stack.redis_url,
            )
        )
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def test_a_busy_instance_outlives_a_scale_in_and_asks_for_no_other(deployed, on_instance):
    namespace = deployed.own_namespace()
    deployed.set_desired(3)
    staying, idle, busy = deployed.instances()
    worker, idle_worker = on_instance(busy), on_instance(idle)
    video = deployed.academy.add("UPLOADED")
    send(deployed, video)
    job = worker.receive()
    since = worker.begin(job)
    worker.beat(job)

    put_backlog(deployed, namespace, 1)
    shrunk = decision(deployed)

    assert shrunk["inputs"]["group"]["safety"] == "hooked"
    assert (shrunk["action"], deployed.desired()) == ("scale-in", 1)
    assert deployed.instances()[idle] == deployed.instances()[busy] == "Terminating:Wait"
    run_to_its_end(idle_worker)
    assert deployed.instances() == {staying: "InService", busy: "Terminating:Wait"}

    # The instance that drains is no capacity, and its video asks for none.
    after = decision(deployed)
    assert (after["action"], after["inputs"]["processing"], after["inputs"]["heldByDraining"]) == (
        "hold",
        1,
        1,
    )
    assert (after["inputs"]["group"]["inService"], after["inputs"]["group"]["draining"]) == (1, [busy])
    for _ in range(2):
        deployed.academy.add("UPLOADED")
    grown = decision(deployed)
    assert (grown["action"], grown["inputs"]["processing"], deployed.desired()) == ("scale-out", 1, 2)

    worker.beat(job)
    assert worker.receive() is None
    assert worker.complete(job, since)
    run_to_its_end(worker)
    assert deployed.academy.state(video)[0] == "READY"
    assert busy not in deployed.instances() and deployed.desired() == 2
