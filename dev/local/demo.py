"""``make demo``: the workflow at work on a small academy, in a terminal, on servers that are real.

It starts a stack of its own, fills it, lets workers die, and shows what an operator would see: a dry run, a
run by hand, a broken queue with its redrive, and a run that the schedule started. Nothing is left running.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import redis
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from dev.local.files import scratch_folder
from dev.local.launch import running
from dev.local.platform_tables import Filling, fill
from dev.local.stack import Stack
from dev.local.worker import Pace, Worker, WorkerProcess

BEATS = 1 / 10  # the demo's workers live ten times faster: silent after 6 s instead of 60
WORKERS = 5
KILLED = 2
WHY = {
    "leaseExpired": "its lease expired",
    "silentTwice": "silent twice, half a minute apart or more",
    "orphaned": "left between database and queue by a crashed run",
    "beating": "its worker beats",
    "silentOnce": "silent for the first time: that may be Redis",
    "heartbeatUnknown": "Redis could not say",
    "tenantUnknown": "no tenant: no heartbeat to read, no message to write",
}


class Demo:
    """The acts, on one stack."""

    def __init__(self, stack: Stack, console: Console, home: Path) -> None:
        self._stack, self._console, self._home = stack, console, home
        self._clients = stack.clients
        self._own: set[str] = set()
        self._started_s = time.monotonic()

    def play(self) -> None:
        """Play every act, in order."""
        with ExitStack() as crew:
            self.fill_the_academy(crew)
            self.dry_run()
            self.run_by_hand()
            self.work_off_the_queue()
            self.break_mend_and_redrive()
            self.wait_for_the_schedule()

    def fill_the_academy(self, crew: ExitStack) -> None:
        """Sixty videos, and workers of whom some die."""
        self._act("A small academy")
        for message in fill(self._stack.postgres_dsn, Filling(uploaded=WORKERS)):
            self._clients.sqs.send_message(QueueUrl=self._stack.queue_url, MessageBody=message)
        workers = [crew.enter_context(self._worker(f"worker-{number}")) for number in range(1, WORKERS + 1)]
        self._wait("workers claim and beat", lambda: self._statuses()["PROCESSING, beating"] == WORKERS)
        self._show_videos("Before anybody dies")
        for worker in workers[:KILLED]:
            worker.kill()
        self._wait(
            f"{KILLED} of {WORKERS} workers are killed, their heartbeats fade",
            lambda: self._statuses()["PROCESSING, beating"] == WORKERS - KILLED,
        )

    def dry_run(self) -> None:
        """What would be reclaimed, and what not; nothing is written."""
        self._act('A dry run: {"dryRun": true}')
        record = self._finished(self._start({"dryRun": True}))["record"]
        self._show_reasons("Would be reclaimed", record["stale"])
        self._show_reasons("Would be left alone", record["spared"])

    def run_by_hand(self) -> None:
        """The main job."""
        self._act("A run by hand")
        before = self._statuses()
        execution = self._finished(self._start({}))
        record = execution["record"]
        self._show_videos("Videos before and after", before)
        self._show_reasons("Reclaimed", record["stale"])
        self._show_reasons("Left alone", record["spared"])
        self._show_queue(expected=record["enqueued"])
        self._show_backlog(record)
        self._show_decision(record)

    def work_off_the_queue(self) -> None:
        """The fleet that the decision asked for does its work."""
        self._act("The fleet works the queue off")
        pace = Pace(time_scale=1 / 1000)
        worker = Worker(
            "new-worker",
            sqs=self._clients.sqs,
            queue_url=self._stack.queue_url,
            dsn=self._stack.postgres_dsn,
            redis_url=self._stack.redis_url,
            pace=pace,
        )
        with closing(worker):
            done = 0
            while job := worker.receive():
                done += worker.work(job)
        self._say(f"{done} videos transcoded; the queue is empty")
        self._show_videos("Videos now")

    def break_mend_and_redrive(self) -> None:
        """The queue is gone: just the failed videos fail, and are redriven."""
        self._act("The queue breaks")
        stuck = self._lose_workers(4)
        self._say(f"four more workers die, and videos {', '.join(map(str, stuck))} are stuck")
        self._say("somebody deletes the queue")
        attributes = self._clients.sqs.get_queue_attributes(
            QueueUrl=self._stack.queue_url, AttributeNames=["All"]
        )["Attributes"]
        name = self._stack.queue_url.rsplit("/", 1)[1]
        self._clients.sqs.delete_queue(QueueUrl=self._stack.queue_url)
        arn = self._start({})
        failed = self._finished(arn)
        table = Table(title="The execution failed, the fleet was looked after")
        table.add_column("")
        table.add_column("")
        table.add_row("status", f"[red]{failed['status']}[/red] in RetryFailedVideos")
        table.add_row("error", failed["error"])
        table.add_row("cause", json.loads(failed["cause"])["errorMessage"])
        table.add_row("backlog published meanwhile", str(self._read_back("BacklogCount")[-1:]))
        table.add_row("rows", ", ".join(sorted({f"{s}, {by.split('.')[0]}…" for s, by in self._rows(stuck)})))
        self._console.print(table)

        self._act("Mended, and redriven")
        self._clients.sqs.create_queue(
            QueueName=name,
            Attributes={
                "VisibilityTimeout": attributes["VisibilityTimeout"],
                "RedrivePolicy": attributes["RedrivePolicy"],
            },
        )
        self._clients.stepfunctions.redrive_execution(executionArn=arn)
        redriven = self._finished(arn)
        self._say(
            f"the same execution: [green]{redriven['status']}[/green], "
            f"redriven {redriven['redriveCount']} time, {redriven['record']['recovered']} videos recovered"
        )
        self._show_queue(expected=len(stuck))

    def wait_for_the_schedule(self) -> None:
        """A run that nobody started; by now the silent workers' minute is over."""
        self._act("A run that nobody started")
        found: list[dict[str, Any]] = []

        def scheduled() -> bool:
            for arn in self._executions() - self._own:
                execution = self._finished(arn)
                if execution["record"].get("stale", {}).get("silentTwice"):
                    found.append(execution)
                    return True
                self._own.add(arn)
            return False

        self._wait("EventBridge Scheduler starts the workflow every minute", scheduled, limit_s=450)
        execution = found[0]
        self._say(f"{execution['name']}: [green]{execution['status']}[/green]")
        self._show_reasons("Reclaimed", execution["record"]["stale"])
        self._show_reasons("Left alone", execution["record"]["spared"])
        self._show_videos("Videos in the end")
        self._show_decision(execution["record"])

    @contextmanager
    def _worker(self, name: str) -> Iterator[WorkerProcess]:
        stack = self._stack
        places = ["--dsn", stack.postgres_dsn, "--redis-url", stack.redis_url, "--queue-url", stack.queue_url]
        places += ["--endpoint-url", stack.endpoint_url, "--region", stack.region]
        pace = ["--time-scale", str(BEATS), "--encode-s", "36000", "--max-jobs", "1"]
        worker = WorkerProcess(name, *places, *pace, log=self._home / f"{name}.log")
        try:
            yield worker
        finally:
            worker.kill()

    def _start(self, given: dict[str, Any]) -> str:
        started = self._clients.stepfunctions.start_execution(
            stateMachineArn=self._stack.state_machine_arn, input=json.dumps(given)
        )
        self._own.add(started["executionArn"])
        return started["executionArn"]

    def _finished(self, arn: str) -> dict[str, Any]:
        described: dict[str, Any] = {}

        def done() -> bool:
            described.update(self._clients.stepfunctions.describe_execution(executionArn=arn))
            return bool(described["status"] != "RUNNING")

        self._wait("the execution runs", done)
        return {**described, "record": json.loads(described.get("output") or "{}")}

    def _executions(self) -> set[str]:
        listed = self._clients.stepfunctions.list_executions(stateMachineArn=self._stack.state_machine_arn)
        return {execution["executionArn"] for execution in listed["executions"]}

    def _sql(self, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self._stack.postgres_dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall()

    def _statuses(self) -> Counter[str]:
        with closing(redis.Redis.from_url(self._stack.redis_url, decode_responses=True)) as client:
            beating = {int(str(key).split(":")[3]) for key in client.keys("tenant:*:video:*:heartbeat")}
        return Counter(
            "PROCESSING, beating" if status == "PROCESSING" and video_id in beating else status
            for video_id, status in self._sql("SELECT id, status FROM video_video")
        )

    def _rows(self, video_ids: list[int]) -> list[tuple[str, str]]:
        statement = "SELECT status, leased_by FROM video_video WHERE id = ANY(%s)"
        return [(status, holder) for status, holder in self._sql(statement, (video_ids,))]

    def _lose_workers(self, count: int) -> list[int]:
        statement = (
            "UPDATE video_video SET status = 'PROCESSING', leased_by = 'lost-worker',"
            " leased_until = now() - interval '1 minute', processing_started_at = now() - interval '4 hours'"
            " WHERE id IN (SELECT id FROM video_video WHERE status = 'READY' ORDER BY id LIMIT %s)"
            " RETURNING id"
        )
        return sorted(video_id for (video_id,) in self._sql(statement, (count,)))

    def _read_back(self, metric: str) -> list[float]:
        now = datetime.now(UTC)
        answer = self._clients.cloudwatch.get_metric_data(
            MetricDataQueries=[
                {
                    "Id": "m",
                    "MetricStat": {
                        "Metric": {"Namespace": self._stack.metric_namespace, "MetricName": metric},
                        "Period": 60,
                        "Stat": "Maximum",
                    },
                }
            ],
            StartTime=now - timedelta(minutes=20),
            EndTime=now + timedelta(minutes=1),
            ScanBy="TimestampAscending",
        )
        return answer["MetricDataResults"][0]["Values"]

    def _wait(self, what: str, done: Callable[[], bool], *, limit_s: float = 300) -> None:
        deadline = time.monotonic() + limit_s
        with self._console.status(what):
            while not done():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{what}: not within {limit_s:.0f} s")
                time.sleep(0.2)

    def _act(self, title: str) -> None:
        self._console.print()
        self._console.rule(
            f"[bold]{title}[/bold]  [dim]{time.monotonic() - self._started_s:.0f} s[/dim]", align="left"
        )

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}")

    def _show_videos(self, title: str, before: Counter[str] | None = None) -> None:
        now = self._statuses()
        table = Table(title=title)
        for heading in ("status", *(["before"] if before is not None else []), "now"):
            table.add_column(heading, justify="left" if heading == "status" else "right")
        for status in sorted({*now, *(before or {})}):
            earlier = [str(before[status])] if before is not None else []
            table.add_row(status, *earlier, str(now[status]))
        self._console.print(table)

    def _show_reasons(self, title: str, counts: dict[str, int]) -> None:
        table = Table(title=title)
        table.add_column("videos", justify="right")
        table.add_column("why")
        for reason, count in counts.items():
            table.add_row(str(count), WHY[reason])
        self._console.print(table)

    def _show_queue(self, *, expected: int) -> None:
        bodies: list[dict[str, Any]] = []
        while True:
            answer = self._clients.sqs.receive_message(
                QueueUrl=self._stack.queue_url, MaxNumberOfMessages=10, VisibilityTimeout=3
            )
            if not answer.get("Messages"):
                break
            bodies += [json.loads(message["Body"]) for message in answer["Messages"]]
        videos = {body["video_id"] for body in bodies}
        self._say(
            f"{len(bodies)} messages in SQS for {len(videos)} videos (expected {expected}); one of them:"
        )
        self._console.print_json(json.dumps(bodies[0]))
        if not len(bodies) == len(videos) == expected:
            raise AssertionError("the queue doesn't hold exactly one message a video")
        time.sleep(3)  # until they are visible again

    def _show_backlog(self, record: dict[str, Any]) -> None:
        inputs = record["decision"]["inputs"]
        published = inputs["uploaded"] + inputs["processing"]
        window = [point["value"] for point in inputs["window"]]
        self._say(f"backlog as published: {published}; as read back by the decision: {window}")

    def _show_decision(self, record: dict[str, Any]) -> None:
        decision = record["decision"]
        self._say(f"decision: {decision['action']}, {decision['desired']} workers. {decision['reason']}")
        group = self._clients.autoscaling.describe_auto_scaling_groups(
            AutoScalingGroupNames=[self._stack.auto_scaling_group]
        )["AutoScalingGroups"][0]
        self._say(f"{self._stack.auto_scaling_group}: desired capacity {group['DesiredCapacity']}")


def main() -> int:
    """Play the demo; 0 if every act ended as it should."""
    console = Console(highlight=False)
    console.print(Panel("video-reclaim: a small academy whose workers die", expand=False))
    with scratch_folder() as home:
        # The workers live faster here, so silence is confirmed sooner: by the first scheduled run.
        quick = {"schedule": {"enabled": True}, "reclaiming": {"confirmSilenceSeconds": 30}}
        with running(
            home, overrides=quick, report=lambda line: console.print(f"  [dim]{line}[/dim]")
        ) as started:
            Demo(started.stack, console, home).play()
    console.print("\n[green]Done.[/green] Nothing is left running.")
    return 0
