"""Time Procrastinate's documented loop over stalled jobs: arguments DSN, rows, width.

Prints a JSON object: seconds, rows retried, average width of a row in bytes, and Procrastinate's version.
"""

import asyncio
import json
import sys
import time
from importlib.metadata import version
from typing import Any

import procrastinate
import psycopg

FILL = """
INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, attempts, worker_id)
SELECT 'default', 'transcode', jsonb_build_object('video_id', i, 'pad', repeat('x', %s)), 'doing', 1, %s
FROM generate_series(1, %s) i
"""
WIDTH = "SELECT coalesce(avg(pg_column_size(j.*)), 0)::int FROM procrastinate_jobs j"


def fill(dsn: str, rows: int, width: int) -> int:
    """Jobs of a worker that was last heard of an hour ago; return the average width of a row."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")
        (worker,) = connection.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat)"
            " VALUES (now() - interval '1 hour') RETURNING id"
        ).fetchone()
        connection.execute(FILL, (0, worker, 1))
        (narrow,) = connection.execute(WIDTH).fetchone()
        connection.execute("TRUNCATE procrastinate_jobs CASCADE")
        connection.execute(FILL, (max(0, width - narrow), worker, rows))
        (wide,) = connection.execute(WIDTH).fetchone()
        connection.execute("VACUUM (ANALYZE) procrastinate_jobs")
        return int(wide)


async def main(dsn: str, rows: int, width: int) -> dict[str, Any]:
    """Fill the table, run the loop that the documentation gives, and time it."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    async with app.open_async():
        with psycopg.connect(dsn) as connection:
            (there,) = connection.execute("SELECT to_regclass('procrastinate_jobs') IS NOT NULL").fetchone()
        if not there:
            await app.schema_manager.apply_schema_async()
        wide = fill(dsn, rows, width)
        began = time.perf_counter()
        stalled = list(await app.job_manager.get_stalled_jobs())
        for job in stalled:
            await app.job_manager.retry_job(job)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "rows": len(stalled), "width": wide, "version": version("procrastinate")}


print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
