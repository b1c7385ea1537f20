"""Time to recover: from SIGKILL of a worker until its video's message is in SQS.

Simulated, and measured on the local stack in real time, many workers at once, with the same constants. The schedule
starts a run in each minute, anywhere within it (AWS, "Schedule types in EventBridge Scheduler": a precision of 60
seconds).
"""

import heapq
import json
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil
from multiprocessing.process import BaseProcess

import numpy as np

from dev.bench import academy
from dev.bench.deployed import HOME
from dev.bench.report import Figure, Section, number, say, table
from dev.local.launch import running
from dev.local.stack import Clients, Stack
from video_reclaim.rules.platform import instance_of
from video_reclaim.rules.sightings import Look, Sighting, see

BEAT_EVERY_S, BEAT_TTL_S = 20.0, 60.0  # docs/worker-contract.md
RECORD_EVERY_S, RECORD_TTL_S = 3_600.0 / 35, 300.0
"""The platform's progress records, about 35 in an encode of an hour, set the same key; the next beat ends that."""

RATE_S = JITTER_S = 60.0
SILENT_AFTER_S, WAIT_MARGIN_S = 60.0, 2  # reclaiming.silentAfterSeconds, and what a run waits longer

LOOK_AFTER_S = SEND_AFTER_S = 1.0
"""From the start of a run to its look at the heartbeats, and from that look to the message in the queue."""

SIMULATED_DEATHS, SEED = 10_000, 20
REAL_DEATHS, TOLD_DEATHS, SURVIVORS = 40, 20, 24
"""Some workers live on: where more are silent than heard, silence counts later."""

WINDOW_S, TOLD_WINDOW_S, GIVE_UP_S = 480.0, 60.0, 420.0
"""The workers die at random moments of a window, and their videos must be back so long after the last death."""

PRODUCT, REAL = "this product", "this product, local stack"
TOLD = f"{REAL}, told of the instance's end"
"""The run that EventBridge starts is started at the death: how long AWS takes to tell is not known here."""
_POLL_S = 0.2
_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(["dev.bench.recovery", "dev.local.worker", "boto3"])


def measure(*, quick: bool) -> Section:
    """Kill workers in real time, and simulate deaths with the same constants."""
    deaths, told, window_s = (6, 3, 30.0) if quick else (REAL_DEATHS, TOLD_DEATHS, WINDOW_S)
    times = simulate() | recover(deaths, told, window_s=window_s)
    figures = {}
    for key, name, label, median_s, most_s in (
        ("simulated", PRODUCT, "this product, simulated", 95, 140),
        ("real", REAL, REAL, 95, 140),
        ("told", TOLD, TOLD, None, 5),
    ):
        p50, p95, _ = _percentiles(times[name])
        figures[f"{key}_p50"] = Figure(f"{label}: median", "s", [p50], median_s)
        figures[f"{key}_p95"] = Figure(f"{label}: 95 of 100 deaths within", "s", [p95], most_s)
    rows = [(name, number(len(of_way)), *map(number, _percentiles(of_way))) for name, of_way in times.items()]
    caption = (
        f"Seconds. Heartbeats every {BEAT_EVERY_S:.0f} s; a run per minute starts anywhere within it; "
        f"silence counts after {SILENT_AFTER_S:.0f} s"
    )
    details = table(("recovered by", "deaths", "median", "95 of 100 within", "longest"), rows)
    return Section("recovery", figures, f"{caption}:\n\n{details}")


def _percentiles(times_s: list[float]) -> list[float]:
    """Return the time within which half, 95 of 100 and all lie (nearest rank)."""
    return [float(one) for one in np.percentile(times_s, (50, 95, 100), method="inverted_cdf")]


def simulate(deaths: int = SIMULATED_DEATHS) -> dict[str, list[float]]:
    """Return the times to recover, by way of recovery; every call returns the same."""
    ways: dict[str, Callable[[random.Random], float]] = {
        PRODUCT: product_s,
        "the platform's command, every minute": lambda rng: _command_s(rng, RATE_S),
        "the platform's command, every 5 minutes": lambda rng: _command_s(rng, 5 * RATE_S),
    }
    sources = {name: random.Random(SEED) for name in ways}
    return {name: [way(sources[name]) for _ in range(deaths)] for name, way in ways.items()}


def product_s(rng: random.Random) -> float:
    """Draw a death, and return the time to recover by this product.

    Nothing else is wrong, so a run looks twice only for this video's sake.
    """
    set_s, ttl_s = -rng.uniform(0, BEAT_EVERY_S), BEAT_TTL_S
    if rng.uniform(-RECORD_EVERY_S, 0) > set_s:
        set_s, ttl_s = rng.uniform(set_s, 0), RECORD_TTL_S
    minute_s = -rng.uniform(0, RATE_S)  # the death lies anywhere within its minute
    starts_s = [minute_s + number * RATE_S + rng.uniform(0, JITTER_S) for number in range(-2, 8)]
    return silent_s(set_s, ttl_s, [start_s + LOOK_AFTER_S for start_s in starts_s]) + SEND_AFTER_S


def silent_s(set_s: float, ttl_s: float, looks_s: list[float]) -> float:
    """Return when the product finds that a heartbeat, last set at ``set_s`` for ``ttl_s``, is silent.

    Before that it was set every 20 s. The first look must be earlier. A run waits once, for what its look tells.
    """
    looks = [(at_s, True) for at_s in looks_s]
    heapq.heapify(looks)
    recorded, looked_at_s = dict[int, Sighting](), 0.0
    while True:
        at_s, is_first = heapq.heappop(looks)
        beats = max(0, ceil((set_s - at_s) / BEAT_EVERY_S))  # that follow until the last one
        expires_s = set_s - beats * BEAT_EVERY_S + BEAT_TTL_S if beats else set_s + ttl_s
        expiries = {1: expires_s if expires_s > at_s else None}
        look = Look(True, at_s, expiries, recorded, looked_at_s)
        seen = see(1, "the video's row", look, SILENT_AFTER_S)
        if seen.unchanged_s >= SILENT_AFTER_S:
            return at_s
        if is_first and (left_s := seen.told_in_s(SILENT_AFTER_S)):
            heapq.heappush(looks, (at_s + ceil(left_s) + WAIT_MARGIN_S, False))
        recorded, looked_at_s = ({1: seen.sighting} if seen.sighting else {}), at_s


def _command_s(rng: random.Random, every_s: float) -> float:
    return next_cron(rng, BEAT_TTL_S - rng.uniform(0, BEAT_EVERY_S), every_s)


def next_cron(rng: random.Random, ready_s: float, every_s: float) -> float:
    """Return when cron next starts the command, to which the first miss counts, after ``ready_s``."""
    first_s = rng.uniform(0, every_s)
    return first_s + max(0, -int((first_s - ready_s) // every_s)) * every_s


def recover(deaths: int, told: int, *, window_s: float) -> dict[str, list[float]]:
    """Kill workers on a stack of its own; return the seconds until their videos were in the queue again.

    First those die whose death only silence tells, then those of whose instances' end the workflow is told.

    Raises RuntimeError if a video did not come back in time.
    """
    dying = [f"worker-{number}" for number in range(deaths)]
    ending = [f"i-{number:017x}" for number in range(told)]
    names = [*dying, *ending, *(f"survivor-{number}" for number in range(SURVIVORS))]
    stop = threading.Event()
    with running(HOME) as started:
        stack = started.stack
        fresh = replace(stack)  # without the clients, which can't be sent to another process
        workers = {
            name: _FORK.Process(name=name, target=_work, args=(name, fresh), daemon=True) for name in names
        }
        schedule = threading.Thread(target=_start_runs, args=(fresh, stop), daemon=True)
        try:
            _send_videos(stack, len(names))
            for worker in workers.values():
                worker.start()
            videos = _wait_until_claimed(stack, len(names))
            schedule.start()
            return {
                REAL: _kill(stack, {videos[name]: workers[name] for name in dying}, window_s),
                TOLD: _kill(stack, {videos[name]: workers[name] for name in ending}, TOLD_WINDOW_S),
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
    rng, minute_s, clients = random.Random(SEED), time.monotonic(), Clients(stack.endpoint_url)
    while not stop.wait(max(0.0, minute_s + rng.uniform(0, JITTER_S) - time.monotonic())):
        clients.stepfunctions.start_execution(stateMachineArn=stack.state_machine_arn, input="{}")
        minute_s += RATE_S


def _kill(stack: Stack, workers: Mapping[int, BaseProcess], window_s: float) -> list[float]:
    """Kill workers, given by their videos, within some seconds, and receive the videos' messages; return the times."""
    rng, began_s, killed_s = random.Random(SEED), time.monotonic(), dict[int, float]()
    waiting = sorted((began_s + rng.uniform(0, window_s), video_id) for video_id in workers)
    give_up_s, recovered_s = waiting[-1][0] + GIVE_UP_S, list[float]()
    while len(recovered_s) < len(workers):
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"not all of {len(workers)} videos came back: {recovered_s}")
        while waiting and time.monotonic() >= waiting[0][0]:
            video_id = waiting.pop(0)[1]
            workers[video_id].kill()
            killed_s[video_id] = time.monotonic()
            if (instance := instance_of(workers[video_id].name)) is not None:
                given = json.dumps({"terminated": [instance]})
                stack.clients.stepfunctions.start_execution(
                    stateMachineArn=stack.state_machine_arn, input=given
                )
        received = stack.clients.sqs.receive_message(QueueUrl=stack.queue_url, MaxNumberOfMessages=10)
        for message in received.get("Messages", []):
            stack.clients.sqs.delete_message(QueueUrl=stack.queue_url, ReceiptHandle=message["ReceiptHandle"])
            video_id = json.loads(message["Body"])["video_id"]
            # Nobody takes the video, so its message is sent again after a while.
            if died_s := killed_s.pop(video_id, None):
                recovered_s.append(time.monotonic() - died_s)
                say(f"video {video_id} after {recovered_s[-1]:.1f} s")
        time.sleep(_POLL_S)
    return recovered_s
