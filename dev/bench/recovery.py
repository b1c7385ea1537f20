"""Time to recover: from SIGKILL of a worker until its video's message is in SQS.

Measured on the local stack in real time, many workers at once, and simulated with the same constants
(`dev.bench.deaths`). Workers that are named by an EC2 instance die last: EventBridge is taken to tell at once that an
instance has ended, and the run that this starts looks at all videos.
"""

import json
import multiprocessing
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.process import BaseProcess

from dev.bench import academy
from dev.bench import deaths as model
from dev.bench.deployed import HOME
from dev.bench.report import Figure, Section, Table, number, say
from dev.local.launch import running
from dev.local.stack import Clients, Stack

DEATHS, SURVIVORS = 30, 24
"""Of workers of each kind. Some live on: where more are silent than heard, silence counts later."""

WINDOW_S, TOLD_WINDOW_S = 480.0, 60.0
"""The workers die at random moments of this time."""

GIVE_UP_S = 420.0
REAL = f"{model.PRODUCT}, local stack"
TOLD = f"{model.PRODUCT}, told of the instance's end, local stack"
_GOALS: tuple[tuple[str, str, str, float | None, float], ...] = (
    ("simulated", model.PRODUCT, f"{model.PRODUCT}, simulated", 95, 140),
    ("real", REAL, REAL, 95, 140),
    ("told", TOLD, TOLD, None, 5),
)
_POLL_S = 0.2
_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(["dev.bench.recovery", "dev.local.worker", "boto3"])


def measure(*, quick: bool) -> Section:
    """Kill workers in real time, and simulate deaths with the same constants."""
    deaths, window_s = (6, 30.0) if quick else (DEATHS, WINDOW_S)
    times = model.simulate() | recover(deaths, window_s=window_s)
    figures = {}
    for key, name, label, median_s, most_s in _GOALS:
        p50, p95 = (model.percentile(times[name], share) for share in (0.5, 0.95))
        figures[f"{key}_p50"] = Figure(f"{label}: median", "s", [p50], median_s)
        figures[f"{key}_p95"] = Figure(f"{label}: 95 of 100 deaths within", "s", [p95], most_s)
    rows = [
        (name, number(len(of_way)), *(number(model.percentile(of_way, share)) for share in (0.5, 0.95, 1)))
        for name, of_way in times.items()
    ]
    caption = (
        f"Seconds. Heartbeats every {model.BEAT_EVERY_S:.0f} s; a run per minute starts anywhere within it; "
        f"silence counts after {model.SILENT_AFTER_S:.0f} s"
    )
    table = Table(caption, ("recovered by", "deaths", "median", "95 of 100 within", "longest"), rows)
    return Section("recovery", figures, table)


def recover(deaths: int, *, window_s: float) -> dict[str, list[float]]:
    """Kill workers on a stack of its own; return the sorted seconds until their videos were in the queue again.

    Raises RuntimeError if a video did not come back in time.
    """
    silent = [f"worker-{number}" for number in range(deaths)]
    told = [f"i-{number:017x}" for number in range(deaths)]
    names = [*silent, *told, *(f"survivor-{number}" for number in range(SURVIVORS))]
    stop = threading.Event()
    with running(HOME) as started:
        stack = started.stack
        fresh = replace(stack)  # without the clients, which can't be sent to another process
        workers = {name: _FORK.Process(target=_work, args=(name, fresh), daemon=True) for name in names}
        schedule = threading.Thread(target=_start_runs, args=(fresh, stop), daemon=True)
        try:
            _send_videos(stack, len(names))
            for worker in workers.values():
                worker.start()
            videos = _wait_until_claimed(stack, len(names))
            schedule.start()
            return {
                REAL: _kill(stack, workers, {videos[name]: name for name in silent}, window_s),
                TOLD: _kill(stack, workers, {videos[name]: name for name in told}, TOLD_WINDOW_S),
            }
        finally:
            stop.set()
            for worker in workers.values():
                if worker.pid:
                    worker.kill()
                    worker.join()


def _send_videos(stack: Stack, videos: int) -> None:
    academy.fill(stack.postgres_dsn, processing=videos, stale=0)
    statement = "UPDATE video_video SET status = 'UPLOADED', leased_by = '', leased_until = NULL RETURNING id"
    for (video_id,) in academy.query(stack.postgres_dsn, statement):
        body = {"video_id": video_id, "tenant_id": 1, "tenant_code": "north", "attempt": 1}
        stack.clients.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=json.dumps(body))


def _work(name: str, stack: Stack) -> None:
    """Take one video and encode it for longer than the measure lasts."""
    from dev.local.worker import Pace, Worker

    pace = Pace(encode_s=WINDOW_S + TOLD_WINDOW_S + 3 * GIVE_UP_S)
    sqs, dsn, redis_url = stack.clients.sqs, stack.postgres_dsn, stack.redis_url
    Worker(
        name, sqs=sqs, queue_url=stack.queue_url, dsn=dsn, redis_url=redis_url, pace=pace, manner="fast"
    ).run(max_jobs=1)


def _wait_until_claimed(stack: Stack, workers: int) -> dict[str, int]:
    """Return the video of every worker once each has one."""
    give_up_s = time.monotonic() + GIVE_UP_S
    name = "regexp_replace(leased_by, '-[0-9a-f]{8}$', '')"  # without the request's id
    statement = f"SELECT {name}, id FROM video_video WHERE status = 'PROCESSING'"
    while len(videos := dict(academy.query(stack.postgres_dsn, statement))) < workers:
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"only {len(videos)} of {workers} workers have claimed a video")
        time.sleep(_POLL_S)
    return videos


def _start_runs(stack: Stack, stop: threading.Event) -> None:
    """Start an execution in each minute, anywhere within it, as EventBridge Scheduler does."""
    rng, minute_s, clients = random.Random(model.SEED), time.monotonic(), Clients(stack.endpoint_url)
    while not stop.wait(max(0.0, minute_s + rng.uniform(0, model.JITTER_S) - time.monotonic())):
        clients.stepfunctions.start_execution(stateMachineArn=stack.state_machine_arn, input="{}")
        minute_s += model.RATE_S


def _kill(
    stack: Stack, workers: Mapping[str, BaseProcess], names: dict[int, str], window_s: float
) -> list[float]:
    """Kill workers, given by their videos, within some seconds, and receive the videos' messages; return the times."""
    rng, began_s, killed_s = random.Random(model.SEED), time.monotonic(), dict[int, float]()
    waiting = sorted((began_s + rng.uniform(0, window_s), video_id) for video_id in names)
    give_up_s, recovered_s = waiting[-1][0] + GIVE_UP_S, list[float]()
    while len(recovered_s) < len(names):
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"not all of {len(names)} videos came back: {recovered_s}")
        while waiting and time.monotonic() >= waiting[0][0]:
            video_id = waiting.pop(0)[1]
            workers[names[video_id]].kill()
            killed_s[video_id] = time.monotonic()
            if names[video_id].startswith("i-"):
                given = json.dumps({"terminated": [names[video_id]]})
                machine = stack.state_machine_arn
                stack.clients.stepfunctions.start_execution(stateMachineArn=machine, input=given)
        received = stack.clients.sqs.receive_message(QueueUrl=stack.queue_url, MaxNumberOfMessages=10)
        for message in received.get("Messages", []):
            stack.clients.sqs.delete_message(QueueUrl=stack.queue_url, ReceiptHandle=message["ReceiptHandle"])
            video_id = json.loads(message["Body"])["video_id"]
            # Nobody takes the video, so its message is sent again after a while.
            if died_s := killed_s.pop(video_id, None):
                recovered_s.append(time.monotonic() - died_s)
                say(f"{names[video_id]} after {recovered_s[-1]:.1f} s")
        time.sleep(_POLL_S)
    return sorted(recovered_s)
