"""Workers as tests run them."""

import threading

import pytest

from dev.local.emulator import REGION
from dev.local.worker import WorkerProcess


@pytest.fixture
def process(postgres, valkey, tmp_path):
    """Starts a worker process with options, which name at least the endpoint and the queue."""
    started = []

    def start(name="w", **options):
        options = {"dsn": postgres.dsn, "redis_url": valkey.url, "region": REGION} | options
        given = [f"--{option.replace('_', '-')}={value}" for option, value in options.items()]
        started.append(WorkerProcess(name, *given, log=tmp_path / "worker.log"))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


def run_to_its_end(worker, *, limit_s=30):
    """Run a worker that ends by itself; stop it after ``limit_s`` seconds, so that a broken one fails its test."""
    timer = threading.Timer(limit_s, worker.stop)
    timer.start()
    try:
        worker.run()
    finally:
        timer.cancel()
