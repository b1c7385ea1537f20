"""Time Chancy's recovery: run by the interpreter of its own environment, arguments DSN, rows, width.

Prints a JSON object: seconds, and rows recovered.
"""

import asyncio
import json
import sys
import time
import uuid

from chancy import Chancy, Worker
from chancy.plugins.recovery import Recovery
from psycopg.rows import dict_row

FILL = """
INSERT INTO chancy_jobs (id, queue, func, kwargs, state, taken_by, claim_id, attempts, started_at)
SELECT gen_random_uuid(), 'default', 'transcode', jsonb_build_object('video_id', i, 'pad', repeat('x', %s)),
       'running', %s, gen_random_uuid(), 1, now() - interval '1 hour'
FROM generate_series(1, %s) i
"""
WIDTH = "SELECT coalesce(avg(pg_column_size(j.*)), 0)::int AS width FROM chancy_jobs j"


async def main(dsn: str, rows: int, width: int) -> dict[str, float]:
    """Fill the table, recover once as the worker's leader does every minute, and time that."""
    dead = str(uuid.uuid4())
    async with Chancy(dsn) as chancy:
        await chancy.migrate()
        async with chancy.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await connection.set_autocommit(True)
            await cursor.execute("TRUNCATE chancy_jobs")
            await cursor.execute(FILL, (0, dead, 1))
            narrow = (await (await cursor.execute(WIDTH)).fetchone())["width"]
            await cursor.execute("TRUNCATE chancy_jobs")
            await cursor.execute(FILL, (max(0, width - narrow), dead, rows))
            await cursor.execute("VACUUM (ANALYZE) chancy_jobs")
            await connection.set_autocommit(False)
        worker = Worker(chancy, register_signal_handlers=False)
        began = time.perf_counter()
        async with chancy.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            recovered = await Recovery.recover(worker, chancy, cursor)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "rows": recovered}


print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
