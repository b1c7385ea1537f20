"""The functions as real processes, killed by SIGKILL in the midst of a call."""

import multiprocessing
import os
import signal
from types import SimpleNamespace

import pytest

from dev.chaos.boundary import boundary
from dev.chaos.environment import FaultyEnvironment
from dev.chaos.history import Record
from dev.chaos.sandbox import Lambdas

PROCESSES = multiprocessing.get_context("forkserver")


def run_and_be_killed(ports, queue, timing, arn, videos, point):
    """Reclaim and enqueue in this process, up to a point at which it kills itself."""

    def kill(_invocation, call, when, _connection):
        if (call, when) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    relays = [SimpleNamespace(port=port) for port in ports]
    environment = FaultyEnvironment(*relays, SimpleNamespace(**queue), timing, Record(), kill)
    with boundary(environment):
        lambdas = Lambdas(environment)
        taken = lambdas.invoke(
            "Reclaim", {"videos": videos, "input": {}, "execution": arn, "failOnPartial": False}
        )
        lambdas.invoke("Enqueue", taken)
        lambdas.close()


@pytest.mark.parametrize(
    ("point", "messages_at_once"),
    [
        pytest.param(("lease for handoff", "before"), 0, id="before-the-reclaims-commit"),
        pytest.param(("lease for handoff", "after"), 0, id="after-the-reclaims-commit"),
        pytest.param(("send", "before"), 0, id="before-sending"),
        pytest.param(("send", "after"), 3, id="after-sending"),
        pytest.param(("clear handoffs", "after"), 3, id="after-clearing"),
    ],
)
def test_a_killed_function_costs_a_delay_or_a_second_message(stage, academy, point, messages_at_once):
    videos = [academy.add(until=-1) for _ in range(3)]
    environment = stage.environment
    queue = {"url": stage.queue.url, "endpoint_url": stage.queue.endpoint_url}
    ports = (environment.postgres_relay.port, environment.redis_relay.port)
    arn = "arn:aws:states:us-east-1:000000000000:execution:video-reclaim:killed"
    process = PROCESSES.Process(
        target=run_and_be_killed, args=(ports, queue, environment.timing, arn, videos, point)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(stage.messages()) == messages_at_once
    stage.let_handoffs_expire()
    stage.execute("next")
    assert set(stage.messages()) == set(videos)
    assert sorted(stage.finish()) == videos
    assert {academy.state(video)[0] for video in videos} == {"READY"}
