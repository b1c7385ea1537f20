"""One cold start: run in a process of its own, with the bundle's folders on its path.

Argument: a handler's module, or ``libraries`` for what boto3, psycopg2 and redis take alone. The event comes
as JSON on standard input. The last line printed is JSON: seconds of the import and of the first call,
processor seconds of both, memory after the import and at its peak, and which libraries were imported.
"""

import json
import resource
import sys
import time
from typing import Any

WATCHED = ("boto3", "botocore", "psycopg2", "redis", "asyncio", "concurrent.futures", "decimal")


def libraries(event: dict[str, Any], _context: object) -> None:
    """What no function that talks to the three stores can do without."""
    import os

    import boto3
    import psycopg2
    import redis
    from botocore.config import Config

    connection = psycopg2.connect(
        host=os.environ["DATABASE_HOST"],
        port=os.environ["DATABASE_PORT"],
        dbname=os.environ["DATABASE_NAME"],
        user=os.environ["DATABASE_USER"],
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    redis.Redis.from_url(os.environ["REDIS_URL"]).ping()
    for service, call, arguments in event["calls"]:
        client = boto3.client(service, config=Config(retries={"total_max_attempts": 3, "mode": "standard"}))
        getattr(client, call)(**arguments)


def peak_kib() -> int:
    """The most memory this process has held so far.

    Linux's own count starts anew with the program; the portable one goes on from the process that started it.
    """
    try:
        with open("/proc/self/status") as status:
            return int(next(line for line in status if line.startswith("VmHWM")).split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak


def main(module: str) -> None:
    """Import, call, report."""
    event = json.loads(sys.stdin.read())
    before_s, before_cpu_s = time.perf_counter(), time.process_time()
    handler = libraries if module == "libraries" else __import__(module).handler
    imported_s, after_import_kib = time.perf_counter(), peak_kib()
    handler(event, None)
    done_s, done_cpu_s = time.perf_counter(), time.process_time()
    print()
    print(
        json.dumps(
            {
                "import_s": imported_s - before_s,
                "call_s": done_s - imported_s,
                "cpu_s": done_cpu_s - before_cpu_s,
                "after_import_kib": after_import_kib,
                "peak_kib": peak_kib(),
                "modules": [name for name in WATCHED if name in sys.modules],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
