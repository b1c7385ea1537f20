"""``python -m dev.local.worker`` runs one worker and prints each step as a line of JSON.

By default it works for the running local stack. SIGUSR1 cuts it off from Redis, SIGUSR2 undoes that. It ends
by itself when PostgreSQL or SQS can't be reached for a while.
"""

import argparse
import dataclasses
import json
import os
import signal
import sys
from typing import Any, get_args

from dev.local import metadata
from dev.local.stack import Clients, NoStack, Stack
from dev.local.worker import DrainingWorker, Instance, Manner, Pace, UnreachableError, Worker

_PLACES = ("dsn", "redis_url", "queue_url", "endpoint_url", "region")


def _print(event: dict[str, Any]) -> None:
    # In one write, so that a killed worker leaves no part of a line.
    os.write(1, (json.dumps(event, default=str) + "\n").encode())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dev.local.worker", description="A worker for the local stack."
    )
    add = parser.add_argument
    add("--name", default=f"worker-{os.getpid()}", help="its name in leased_by")
    for place in _PLACES:
        add(f"--{place.replace('_', '-')}", help="by default that of the running stack")
    for time in dataclasses.fields(Pace):
        meaning = f"{time.metadata['help']} ({time.default:,g})"
        add(f"--{time.name.replace('_', '-')}", type=float, default=time.default, help=meaning)
    add("--manner", choices=get_args(Manner), default="contract", help="see dev/local/worker/records.py")
    add("--fenced", action="store_true", help="write a result only for a video that it still holds")
    add("--failing-share", type=float, default=0.0, help="share of the videos that fail (0)")
    add("--patience-s", type=float, default=60, help="seconds without a server before it ends (60)")
    add("--max-jobs", type=int, help="end after so many messages")
    add("--instance", help="id of the emulator's instance that it runs on")
    add("--group", help="the instance's group; by default that of the running stack")
    return parser.parse_args()


def _worker(given: argparse.Namespace) -> Worker:
    """Make the worker; what isn't given is taken from the running stack."""
    places = {name: value for name in (*_PLACES, "group") if (value := getattr(given, name))}
    if not places.keys() >= set(_PLACES):
        stack = Stack.load()
        places = {**vars(stack), "dsn": stack.postgres_dsn, "group": stack.auto_scaling_group, **places}
    clients = Clients(places["endpoint_url"], places["region"])
    settings: dict[str, Any] = {
        "sqs": clients.sqs,
        **{name: places[name] for name in ("dsn", "redis_url", "queue_url")},
        **{name: getattr(given, name) for name in ("manner", "fenced", "failing_share", "patience_s")},
        "pace": Pace(**{time.name: getattr(given, time.name) for time in dataclasses.fields(Pace)}),
        "tell": _print,
    }
    if given.instance is None:
        return Worker(given.name, **settings)
    address = metadata.url(places["endpoint_url"], given.instance)
    instance = Instance(given.instance, places["group"], "finish-encode", clients.autoscaling, address)
    return DrainingWorker(given.name, instance=instance, **settings)


def main() -> int:
    """Run one worker until SIGTERM or SIGINT, after which it finishes its video."""
    given = _parse()
    try:
        worker = _worker(given)
    except NoStack as exc:
        print(exc, file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    signal.signal(signal.SIGUSR1, lambda *_: setattr(worker, "cut_off", True))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(worker, "cut_off", False))
    try:
        worker.run(max_jobs=given.max_jobs)
    except UnreachableError as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
