"""The decision at work on the whole stack: what it reads, what it does to the group, and what it leaves."""

import json
import math
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest

from dev.local import metadata
from dev.local.worker import DrainingWorker, Instance
from dev.testing.workers import run_to_its_end
from tests.e2e.deployed import OVERRIDE

pytestmark = pytest.mark.xdist_group("deployed")


def put_backlog(deployed, namespace, value, minutes_ago):
    """Put the backlog at these times, in minutes before the current one, as this product's own runs would have."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    deployed.clients.cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {
                "MetricName": "BacklogCount",
                "Timestamp": minute - timedelta(minutes=ago),
                "Value": value,
                "Unit": "Count",
            }
            for ago in minutes_ago
        ],
    )


def jittered_minutes_ago(seed, minutes=25):
    """When the runs of the last minutes measured, in minutes before the current one.

    A run starts anywhere within its minute (AWS, "Schedule types on EventBridge Scheduler") and measures 3 to 12 s
    later, perhaps in the next calendar minute. Those of 11, 10 and 8 minutes ago do, that of 9 minutes ago does not.
    """
    chance = random.Random(seed)
    after_s = {ago: chance.uniform(0, 60) + chance.uniform(3, 12) for ago in range(2, minutes + 1)}
    late, early = (61, 72), (3, 59)
    for ago, span_s in {11: late, 10: late, 9: early, 8: late, 1: early}.items():
        after_s[ago] = chance.uniform(*span_s)
    return [ago - s / 60 for ago, s in after_s.items()]


def decision(deployed):
    execution = deployed.run()
    assert execution["status"] == "SUCCEEDED", execution
    return execution["record"]["decision"]


def test_twelve_videos_move_the_group_from_one_to_twelve_in_one_execution(deployed):
    for _ in range(6):
        deployed.academy.add("UPLOADED")
        deployed.academy.add(until=-5)
    assert deployed.desired() == 1

    made = decision(deployed)

    assert (made["action"], made["desired"], deployed.desired()) == ("scale-out", 12, 12)
    assert "ask for 12" in made["reason"]


def test_a_group_shrinks_only_after_a_full_calm_window_and_to_its_busiest_minute(deployed):
    namespace = deployed.own_namespace()
    deployed.set_desired(9)

    nothing_known = decision(deployed)
    assert (nothing_known["action"], nothing_known["held"], deployed.desired()) == ("hold", True, 9)

    put_backlog(deployed, namespace, 2, [ago for ago in range(1, 26) if ago not in (7, 8)])
    put_backlog(deployed, namespace, 3, [15])
    with_a_gap = decision(deployed)
    assert (with_a_gap["action"], deployed.desired()) == ("hold", 9), "an absent minute is unknown, not 0"

    put_backlog(deployed, namespace, 2, [7, 8])
    calm = decision(deployed)
    assert (calm["action"], calm["desired"], deployed.desired()) == ("scale-in", 3, 3)


def test_a_group_is_held_while_a_source_is_in_doubt(deployed):
    namespace = deployed.own_namespace()
    put_backlog(deployed, namespace, 0, range(1, 26))
    deployed.set_desired(9)
    deployed.relay.fail("GetParameter", code="AccessDenied", status=403)

    doubtful = decision(deployed)

    assert (doubtful["action"], doubtful["held"], deployed.desired()) == ("hold", True, 9)
    assert doubtful["inputs"]["overrideProblem"], "an order that can't be read may forbid it"
    deployed.relay.heal()
    assert decision(deployed)["action"] == "scale-in" and deployed.desired() == 1


def test_an_override_is_obeyed_until_it_expires(deployed):
    now = datetime.now(UTC)
    order = {"mode": "fixed", "desired": 6, "reason": "a launch"}
    deployed.override({**order, "until": (now + timedelta(hours=1)).isoformat()})

    obeyed = decision(deployed)
    assert (obeyed["action"], deployed.desired()) == ("scale-out", 6) and "a launch" in obeyed["reason"]

    deployed.override({**order, "desired": 9, "until": (now - timedelta(seconds=1)).isoformat()})
    expired = decision(deployed)
    assert deployed.desired() == 6
    assert "a launch" not in expired["reason"]


def test_single_absent_minutes_let_an_idle_fleet_shrink(deployed):
    namespace = deployed.own_namespace()
    deployed.set_desired(9)
    put_backlog(deployed, namespace, 0, [ago for ago in range(1, 26) if ago % 3])

    assert (decision(deployed)["action"], deployed.desired()) == ("scale-in", 1)


def test_runs_that_start_anywhere_within_their_minutes_let_an_idle_fleet_shrink(deployed):
    namespace = deployed.own_namespace()
    deployed.set_desired(9)
    by_minute = defaultdict(list)
    for ago in jittered_minutes_ago(seed=1):
        by_minute[math.ceil(ago)].append(ago)
    two_points = by_minute.pop(9)
    assert (len(two_points), len(by_minute[8])) == (2, 0)

    put_backlog(deployed, namespace, 0, chain.from_iterable(by_minute.values()))
    assert (decision(deployed)["action"], deployed.desired()) == ("hold", 9), (
        "both minutes are without a point"
    )

    put_backlog(deployed, namespace, 0, two_points)
    assert (decision(deployed)["action"], deployed.desired()) == ("scale-in", 1)


@pytest.mark.parametrize(
    "text", ["stop it", '{"mode": "hold"}', '{"mode": "hold", "until": "2999-01-01T00:00:00Z"}']
)
def test_an_override_that_can_t_be_understood_forbids_scale_in(deployed, text):
    namespace = deployed.own_namespace()
    put_backlog(deployed, namespace, 0, range(1, 26))
    deployed.set_desired(9)
    deployed.clients.ssm.put_parameter(Name=OVERRIDE, Value=text, Type="String", Overwrite=True)

    unclear = decision(deployed)

    assert (unclear["action"], unclear["held"], deployed.desired()) == ("hold", True, 9)
    assert unclear["inputs"]["overrideProblem"] in unclear["reason"]


def test_a_size_that_the_group_refuses_is_recorded_and_fails_nothing(deployed):
    for _ in range(25):
        deployed.academy.add("UPLOADED")
    # As if the group's maximum had been lowered between the decision and its execution.
    deployed.relay.change_answer = lambda _action, body: body.replace(b"<MaxSize>20<", b"<MaxSize>40<")

    execution = deployed.run()

    assert execution["status"] == "SUCCEEDED"
    assert execution["record"]["decision"]["desired"] == 25
    assert execution["record"]["scalingError"].startswith("AutoScaling.")
    assert deployed.desired() == 1


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


def test_a_busy_instance_outlives_a_scale_in_and_an_idle_one_goes_at_once(deployed, on_instance):
    namespace = deployed.own_namespace()
    deployed.set_desired(3)
    staying, idle, busy = deployed.instances()
    worker, idle_worker = on_instance(busy), on_instance(idle)
    video = deployed.academy.add("UPLOADED")
    deployed.clients.sqs.send_message(
        QueueUrl=deployed.stack.queue_url, MessageBody=json.dumps({"video_id": video, "tenant_id": 1})
    )
    job = worker.receive()
    since = worker.begin(job)
    worker.beat(job)

    put_backlog(deployed, namespace, 1, range(1, 26))
    shrunk = decision(deployed)

    assert shrunk["inputs"]["group"]["safety"] == "hooked"
    assert (shrunk["action"], deployed.desired()) == ("scale-in", 1)
    assert deployed.instances()[idle] == deployed.instances()[busy] == "Terminating:Wait"
    run_to_its_end(idle_worker)
    assert deployed.instances() == {staying: "InService", busy: "Terminating:Wait"}

    # The instance that drains is no capacity, and its video asks for none.
    after = decision(deployed)
    assert (after["action"], after["inputs"]["processing"]) == ("hold", 1)
    assert (after["inputs"]["group"]["inService"], after["inputs"]["group"]["draining"]) == (1, 1)
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
