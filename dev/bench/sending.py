"""Time of Enqueue's sending over a network: its calls to SQS one after the other, and side by side."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from dev.bench.deployed import SQS
from dev.bench.figures import RATIO, Figure, Say, Section, Table, ratios, spread
from dev.bench.network import LATENCY_MS
from dev.bench.relay import Route, relays
from dev.local.emulator import CREDENTIALS, REGION, Emulator
from dev.local.files import scratch_folder
from dev.local.stack import Clients

TITLE = "Billed time of Enqueue"
QUEUE, BATCH = "academy-video-jobs", 150
CALLS_AT_ONCE = (1, 2, 5, 10)
"""1 is how Enqueue sent before version 0.2.0."""


def measure(*, quick: bool, say: Say) -> Section:
    """Send the same batches with different numbers of calls side by side, in turn."""
    from video_reclaim.adapters import sqs

    batches, repeats = (2, 1) if quick else (20, 7)
    billed: dict[int, list[float]] = {calls: [] for calls in CALLS_AT_ONCE}
    processor: dict[int, list[float]] = {calls: [] for calls in CALLS_AT_ONCE}
    with _sqs_over_network() as queue_url:
        for turn in range(repeats):
            for calls in CALLS_AT_ONCE:
                with patch.object(sqs, "_CALLS_AT_ONCE", calls):
                    _send(queue_url, 1)  # opens the connections that a warm function keeps
                    began_s, began_processor_s = time.perf_counter(), time.process_time()
                    _send(queue_url, batches)
                billed[calls].append((time.perf_counter() - began_s) * 1e6 / (batches * BATCH))
                processor[calls].append((time.process_time() - began_processor_s) * 1e6 / (batches * BATCH))
            say(f"{turn + 1}/{repeats}  {', '.join(f'{n}: {ms[-1]:.0f} ms' for n, ms in billed.items())}")
    label = f"time to send a batch: one call after the other, times {sqs._CALLS_AT_ONCE} side by side"
    quicker = ratios(billed[1], billed[sqs._CALLS_AT_ONCE])
    rows = [(str(calls), spread(billed[calls]), spread(processor[calls])) for calls in CALLS_AT_ONCE]
    heads = ("calls at a time", "billed", "of it processor time")
    figure = Figure("side_by_side", label, RATIO, quicker, better="higher")
    return Section("sending", TITLE, [figure], [Table("Milliseconds per 1,000 videos", heads, rows)])


@contextmanager
def _sqs_over_network() -> Iterator[str]:
    """Give this process's AWS clients an emulator behind a relay during a ``with`` block; yield a queue's URL."""
    with scratch_folder() as scratch, Emulator(scratch / "emulator") as emulator:
        queue_url = Clients(emulator.endpoint_url).sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
        with relays({"SQS": Route(emulator.port, LATENCY_MS[SQS] / 1000)}) as between:
            endpoint_url = f"http://127.0.0.1:{between.ports['SQS']}"
            variables = {"AWS_ENDPOINT_URL": endpoint_url, "AWS_DEFAULT_REGION": REGION, **CREDENTIALS}
            with patch.dict(os.environ, variables):
                yield queue_url


def _send(queue_url: str, batches: int) -> None:
    from video_reclaim.adapters import sqs

    bodies = {video: {"video_id": video, "file_key": f"tenants/{video}/source.mp4"} for video in range(BATCH)}
    for _ in range(batches):
        if len(sqs.send(queue_url, bodies).accepted) != BATCH:
            raise RuntimeError("SQS did not accept all messages")
