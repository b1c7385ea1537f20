"""The academy of ``make demo``: its videos and executions, read and changed directly."""

import json
from collections import Counter
from contextlib import closing
from typing import Any

import psycopg2
import redis

from dev.local.stack import Stack


class DemoAcademy:
    """Reads the stack as no operator needs to, and breaks what the demo shows the repair of."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._clients = stack, stack.clients

    def statuses(self) -> Counter[str]:
        """Return the number of videos by status; PROCESSING is told apart by heartbeats."""
        with closing(redis.Redis.from_url(self._stack.redis_url, decode_responses=True)) as client:
            beating = {int(str(key).split(":")[3]) for key in client.keys("tenant:*:video:*:heartbeat")}
        return Counter(
            "PROCESSING, beating" if status == "PROCESSING" and video_id in beating else status
            for video_id, status in self._sql("SELECT id, status FROM video_video")
        )

    def lose_workers(self, count: int) -> list[int]:
        """Make READY videos PROCESSING under a lease that has expired; return their ids."""
        statement = (
            "UPDATE video_video SET status = 'PROCESSING', leased_by = 'lost-worker',"
            " leased_until = now() - interval '1 minute', processing_started_at = now() - interval '4 hours'"
            " WHERE id IN (SELECT id FROM video_video WHERE status = 'READY' ORDER BY id DESC LIMIT %s)"
            " RETURNING id"
        )
        return sorted(video_id for (video_id,) in self._sql(statement, count))

    def executions(self) -> set[str]:
        """Return the ARNs of all executions."""
        listed = self._clients.stepfunctions.list_executions(stateMachineArn=self._stack.state_machine_arn)
        return {execution["executionArn"] for execution in listed["executions"]}

    def last(self) -> dict[str, Any]:
        """Return the newest execution as Step Functions describes it."""
        machine = self._stack.state_machine_arn
        listed = self._clients.stepfunctions.list_executions(stateMachineArn=machine)["executions"]
        newest = max(listed, key=lambda execution: execution["startDate"])
        return dict(self._clients.stepfunctions.describe_execution(executionArn=newest["executionArn"]))

    def last_record(self) -> dict[str, Any]:
        """Return the record of the newest execution."""
        return dict(json.loads(self.last()["output"]))

    def desired(self) -> int:
        """Return the desired capacity of the worker group."""
        return self._clients.autoscaling.describe_auto_scaling_groups(
            AutoScalingGroupNames=[self._stack.auto_scaling_group]
        )["AutoScalingGroups"][0]["DesiredCapacity"]

    def _sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self._stack.postgres_dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall()

    def video_of(self, holder: str) -> int:
        """Return the id of the video that a worker holds."""
        ((video_id,),) = self._sql("SELECT id FROM video_video WHERE leased_by = %s", holder)
        return int(video_id)
