"""``python -m dev.local.worker`` runs one worker of the running local stack, and prints each step as a line of JSON.

SIGUSR1 cuts it off from Redis, SIGUSR2 undoes that. It ends by itself when PostgreSQL or SQS can't be reached for a
minute.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, get_args

from dev.local import metadata
from dev.local.stack import HOME, NoStack, Stack
from dev.local.worker import DrainingWorker, Instance, Manner, Pace, UnreachableError, Worker


def _print(event: dict[str, Any]) -> None:
    # In one write, so that a killed worker leaves no part of a line.
    os.write(1, (json.dumps(event, default=str) + "\n").encode())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.local.worker", description="A worker for the local stack."
    )
    add = parser.add_argument
    add("--name", default=f"worker-{os.getpid()}", help="its name in leased_by")
    add("--home", type=Path, default=HOME, help="folder of the stack's stack.json")
    add("--encode-s", type=float, default=60, help="seconds that a video takes (60)")
    add("--time-scale", type=float, default=1, help="real seconds per second of the contract (1)")
    add("--manner", choices=get_args(Manner), default="contract", help="see dev/local/worker/pace.py")
    add("--fenced", action="store_true", help="write a result only for a video that it still holds")
    add("--instance", help="id of the emulator's instance that it runs on")
    return parser.parse_args()


def _worker(given: argparse.Namespace, stack: Stack) -> Worker:
    settings: dict[str, Any] = {
        "sqs": stack.clients.sqs,
        "queue_url": stack.queue_url,
        "dsn": stack.postgres_dsn,
        "redis_url": stack.redis_url,
        "pace": Pace(time_scale=given.time_scale, encode_s=given.encode_s),
        "manner": given.manner,
        "fenced": given.fenced,
        "tell": _print,
    }
    if given.instance is None:
        return Worker(given.name, **settings)
    address = metadata.url(stack.endpoint_url, given.instance)
    group, scaling = stack.auto_scaling_group, stack.clients.autoscaling
    instance = Instance(given.instance, group, "finish-encode", scaling, address)
    return DrainingWorker(given.name, instance=instance, **settings)


def main() -> int:
    """Run one worker until SIGTERM or SIGINT, after which it finishes its video."""
    given = _parse()
    try:
        worker = _worker(given, Stack.load(given.home))
    except NoStack as exc:
        print(exc, file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    signal.signal(signal.SIGUSR1, lambda *_: setattr(worker, "cut_off", True))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(worker, "cut_off", False))
    try:
        worker.run()
    except UnreachableError as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
