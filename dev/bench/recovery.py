"""Time to recover: from SIGKILL of a worker until its video's message is in SQS.

Measured on the local stack in real time, many workers at once, and simulated with the same constants
(`dev.bench.deaths`). Every other worker is named by an EC2 instance, whose end EventBridge is taken to tell at once.
"""

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess

from dev.bench import academy
from dev.bench import deaths as model
from dev.bench.deployed import HOME
from dev.bench.report import Figure, Say, Section, Table, number
from dev.local.launch import running
from dev.local.stack import Clients, Stack

TITLE = "Time to recover"

DEATHS, SURVIVORS = 60, 24
"""Some workers live on: where more are silent than heard, silence counts later."""

WINDOW_S = 480.0
"""The workers die at random moments of this time."""

GIVE_UP_S = 420.0
REAL = f"{model.PRODUCT}, local stack"
TOLD = f"{model.PRODUCT}, told of the instance's end, local stack"
_GOALS: tuple[tuple[str, str, float | None, float], ...] = (
    ("simulated", model.PRODUCT, 95, 140),
    ("real", REAL, 95, 140),
    ("told", TOLD, None, 5),
)
_POLL_S = 0.2
_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(["dev.bench.recovery", "dev.local.worker", "boto3"])


def measure(*, quick: bool, say: Say) -> Section:
    """Kill workers in real time, and simulate deaths with the same constants."""
    deaths, window_s = (12, 30.0) if quick else (DEATHS, WINDOW_S)
    times = model.simulate() | recover(deaths, window_s=window_s, say=say)
    figures = []
    for key, name, median_s, most_s in _GOALS:
        p50, p95 = (model.percentile(times[name], share) for share in (0.5, 0.95))
        label = name if name in (REAL, TOLD) else f"{name}, simulated"
        figures.append(Figure(f"{key}_p50", f"{label}: median", "s", [p50], median_s))
        figures.append(Figure(f"{key}_p95", f"{label}: 95 of 100 deaths within", "s", [p95], most_s))
    rows = [
        (name, number(len(of_way)), *(number(model.percentile(of_way, share)) for share in (0.5, 0.95, 1)))
        for name, of_way in times.items()
    ]
    caption = (
        f"Seconds. Heartbeats every {model.BEAT_EVERY_S:.0f} s; a run per minute starts anywhere within it; "
        f"silence counts after {model.SILENT_AFTER_S:.0f} s"
    )
    table = Table(caption, ("recovered by", "deaths", "median", "95 of 100 within", "longest"), rows)
    return Section("recovery", TITLE, figures, [table])


def recover(deaths: int, *, window_s: float, say: Say) -> dict[str, list[float]]:
    """Kill workers on a stack of its own; return the sorted seconds until their videos were in the queue again.

    Raises RuntimeError if a video did not come back in time.
    """
    rng = random.Random(model.SEED)
    names = [f"i-{number:017x}" if number % 2 else f"worker-{number}" for number in range(deaths + SURVIVORS)]
    stop = threading.Event()
    with running(HOME) as started:
        stack = started.stack
        _send_videos(stack, len(names))
        fresh = replace(stack)  # without the clients, which can't be sent to another process
        workers = [_FORK.Process(target=_work, args=(name, fresh), name=name, daemon=True) for name in names]
        schedule = threading.Thread(target=_start_runs, args=(fresh, stop), daemon=True)
        try:
            for worker in workers:
                worker.start()
            videos = _wait_until_claimed(stack, len(names))
            schedule.start()
            victims = sorted((rng.uniform(0, window_s), videos[name]) for name in names[:deaths])
            return _kill(stack, {videos[worker.name]: worker for worker in workers}, victims, say)
        finally:
            stop.set()
            for worker in workers:
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

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    pace = Pace(encode_s=WINDOW_S + 2 * GIVE_UP_S)
    sqs, dsn, redis_url = Clients(stack.endpoint_url).sqs, stack.postgres_dsn, stack.redis_url
    Worker(
        name, sqs=sqs, queue_url=stack.queue_url, dsn=dsn, redis_url=redis_url, pace=pace, manner="fast"
    ).run(max_jobs=1)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


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
    stack: Stack, workers: dict[int, BaseProcess], victims: list[tuple[float, int]], say: Say
) -> dict[str, list[float]]:
    """Kill workers, known by their videos, at their times in seconds, and receive the messages of the videos."""
    sqs, began_s, killed_s = stack.clients.sqs, time.monotonic(), dict[int, float]()
    waiting, recovered_s = list(victims), dict[str, list[float]]()
    while sum(map(len, recovered_s.values())) < len(victims):
        passed_s = time.monotonic() - began_s
        if passed_s > victims[-1][0] + GIVE_UP_S:
            raise RuntimeError(f"not all of {len(victims)} videos came back: {recovered_s}")
        while waiting and passed_s >= waiting[0][0]:
            video_id = waiting.pop(0)[1]
            workers[video_id].kill()
            killed_s[video_id] = time.monotonic()
            if (name := workers[video_id].name).startswith("i-"):
                given = json.dumps({"terminated": [name]})
                machine = stack.state_machine_arn
                stack.clients.stepfunctions.start_execution(stateMachineArn=machine, input=given)
        received = sqs.receive_message(QueueUrl=stack.queue_url, MaxNumberOfMessages=10)
        for message in received.get("Messages", []):
            sqs.delete_message(QueueUrl=stack.queue_url, ReceiptHandle=message["ReceiptHandle"])
            video_id = json.loads(message["Body"])["video_id"]
            if (died_s := killed_s.pop(video_id, None)) is None:
                continue  # nobody takes the video, so its message is sent again after a while
            took_s = time.monotonic() - died_s
            kind = TOLD if workers[video_id].name.startswith("i-") else REAL
            recovered_s.setdefault(kind, []).append(took_s)
            say(f"{workers[video_id].name} after {took_s:.1f} s")
        time.sleep(_POLL_S)
    return {kind: sorted(seconds) for kind, seconds in sorted(recovered_s.items())}
