"""``python -m dev.local.worker`` runs one worker and prints each step as a line of JSON.

By default it works for the running local stack. SIGUSR1 cuts it off from Redis, SIGUSR2 undoes that. It ends
by itself when PostgreSQL or SQS can't be reached for a while.
"""

import argparse
import json
import os
import signal
import sys
from typing import Any, get_args

from dev.local import metadata
from dev.local.stack import Clients, NoStack, Stack
from dev.local.worker import DrainingWorker, Instance, Manner, Pace, UnreachableError, Worker


def _print(event: dict[str, Any]) -> None:
    # In one write, so that a killed worker leaves no part of a line.
    os.write(1, (json.dumps(event, default=str) + "\n").encode())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.local.worker", description="A worker for the local stack."
    )
    parser.add_argument("--name", default=f"worker-{os.getpid()}")
    parser.add_argument("--dsn", help="this and the next four: by default those of the running stack")
    parser.add_argument("--redis-url")
    parser.add_argument("--queue-url")
    parser.add_argument("--endpoint-url")
    parser.add_argument("--region")
    parser.add_argument("--encode-s", type=float, default=60, help="seconds that a video takes (60)")
    parser.add_argument("--lease-s", type=float, default=14_400, help="seconds that a lease lasts (14,400)")
    parser.add_argument("--time-scale", type=float, default=1.0, help="real seconds per second (1)")
    parser.add_argument("--slowness", type=float, default=1.0, help="factor for heartbeats and encoding (1)")
    parser.add_argument(
        "--manner", choices=get_args(Manner), default="contract", help="see dev/local/worker/records.py"
    )
    parser.add_argument(
        "--fenced", action="store_true", help="write a result only for a video that it still holds"
    )
    parser.add_argument("--failing-share", type=float, default=0.0, help="share of the videos that fail (0)")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--poll-s", type=int, default=1, help="seconds to wait for a message (1)")
    parser.add_argument(
        "--patience-s", type=float, default=60, help="seconds without a server before it ends (60)"
    )
    parser.add_argument("--max-jobs", type=int)
    parser.add_argument("--instance", help="id of the emulator's instance that it runs on")
    parser.add_argument("--group", help="the instance's group; by default that of the running stack")
    parser.add_argument(
        "--hook", default="finish-encode", help="the group's termination hook (finish-encode)"
    )
    return parser.parse_args()


def _addresses(given: argparse.Namespace) -> dict[str, str]:
    """Return the addresses that are given; for others those of the running stack."""
    names = ("dsn", "redis_url", "queue_url", "endpoint_url", "region")
    addresses = {name: value for name in names if (value := getattr(given, name))}
    if len(addresses) < len(names):
        stack = Stack.load()
        addresses = {**vars(stack), "dsn": stack.postgres_dsn, **addresses}
    return addresses


def _worker(given: argparse.Namespace, addresses: dict[str, str]) -> Worker:
    clients = Clients(addresses["endpoint_url"], addresses["region"])
    settings: dict[str, Any] = {
        "sqs": clients.sqs,
        "queue_url": addresses["queue_url"],
        "dsn": addresses["dsn"],
        "redis_url": addresses["redis_url"],
        "pace": Pace(
            time_scale=given.time_scale,
            lease_s=given.lease_s,
            encode_s=given.encode_s,
            slowness=given.slowness,
        ),
        "manner": given.manner,
        "fenced": given.fenced,
        "failing_share": given.failing_share,
        "seed": given.seed,
        "patience_s": given.patience_s,
        "tell": _print,
    }
    if given.instance is None:
        return Worker(given.name, **settings)
    instance = Instance(
        given.instance,
        given.group or addresses["auto_scaling_group"],
        given.hook,
        clients.autoscaling,
        metadata.url(addresses["endpoint_url"], given.instance),
        beat_every_s=60 * given.time_scale,
    )
    return DrainingWorker(given.name, instance=instance, **settings)


def main() -> int:
    """Run one worker until SIGTERM or SIGINT, after which it finishes its video."""
    given = _parse()
    try:
        addresses = _addresses(given)
    except NoStack as exc:
        print(exc, file=sys.stderr)
        return 1
    worker = _worker(given, addresses)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    signal.signal(signal.SIGUSR1, lambda *_: setattr(worker, "cut_off", True))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(worker, "cut_off", False))
    try:
        worker.run(poll_s=given.poll_s, max_jobs=given.max_jobs)
    except UnreachableError as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
