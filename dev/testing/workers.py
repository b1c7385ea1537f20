"""Workers as tests run them."""

import threading


def run_to_its_end(worker, *, limit_s=30):
    """Run a worker that ends by itself; stop it after ``limit_s`` seconds, so that a broken one fails its test."""
    timer = threading.Timer(limit_s, worker.stop)
    timer.start()
    try:
        worker.run()
    finally:
        timer.cancel()
