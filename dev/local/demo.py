"""``make demo``: the workflow at work on a small academy, in a terminal, on real servers.

It starts a stack of its own, fills it, lets workers die, and uses the operator's command as an operator would: runs, a
broken queue with its redrive, the story of one video. Nothing is left running.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import redis
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from dev.local import ROOT
from dev.local.launch import running
from dev.local.platform_tables import fill
from dev.local.processes import Child
from dev.local.stack import Stack
from dev.local.watchdog import scratch_folder

BEATS = 1 / 8  # the demo's workers live eight times faster: a heartbeat every 2.5 s
SILENT_AFTER_S = 8  # in place of 60; no stage may say less than 45
WORKERS = 5
KILLED = 2


class Demo:
    """The acts, on one stack."""

    def __init__(self, stack: Stack, console: Console, home: Path) -> None:
        self._stack, self._console, self._home = stack, console, home
        self._clients = stack.clients
        self._started_s = time.monotonic()

    def play(self) -> None:
        """Play every act, in order."""
        workers = self.fill_the_academy()
        self.run()
        video = self.lose_workers(workers)
        self.confirm_silence()
        self.break_mend_and_redrive()
        self.ask_why(video)

    def fill_the_academy(self) -> list[Child]:
        """Videos in every state, and workers that encode."""
        self._act(
            "A small academy",
            "The database has videos in every state. Some were stuck before the demo began: their workers died",
            f"hours ago. {WORKERS} workers take {WORKERS} new videos and send heartbeats to Redis while they encode.",
        )
        for message in fill(self._stack.postgres_dsn, waiting=WORKERS):
            self._clients.sqs.send_message(QueueUrl=self._stack.queue_url, MessageBody=message)
        workers = [self._start_worker(f"worker-{number}") for number in range(1, WORKERS + 1)]
        self._wait("Workers claim their videos", lambda: self._statuses()["PROCESSING, beating"] == WORKERS)
        self._show_videos()
        return workers

    def run(self) -> None:
        """The main job."""
        self._act("A run", "The stuck videos go back to work.")
        self._operator("run")
        enqueued = self._last_record()["enqueued"]
        self._show_videos()
        self._show_queue(expected=enqueued)
        self._say(
            f"You saw {enqueued} videos go back to work, each with exactly one message, and the group grow. The "
            f"{WORKERS} living workers kept their videos."
        )

    def lose_workers(self, workers: list[Child]) -> int:
        """Workers are killed, and a run sees their last heartbeats; return the video of one of them."""
        self._pass_time("Workers send heartbeats")
        for worker in workers[:KILLED]:
            worker.stop(signal.SIGKILL)
        ((video,),) = self._sql("SELECT id FROM video_video WHERE leased_by = 'worker-1'")
        self._act(
            "Workers die",
            f"{KILLED} of the {WORKERS} workers are killed. Nobody tells the database: video {video} and the other",
            "one stay PROCESSING. Only their heartbeats are not renewed any more. The workflow runs every minute;",
            "this run sees those heartbeats for the last time.",
        )
        self._operator("run")
        return int(video)

    def confirm_silence(self) -> None:
        """The next run finds the heartbeats unchanged, waits until that is certain, and looks again."""
        self._pass_time("A living worker would send a heartbeat now")
        self._act(
            "Silence is confirmed",
            "The next run finds two heartbeats unchanged, waits until a living worker would have sent three (seconds",
            "here, up to a minute in a deployed stage), looks again, and puts those two videos back, too.",
        )
        self._operator("run")
        self._show_videos()
        record = self._last_record()
        if record["stale"] != {"silent": KILLED}:
            raise AssertionError(f"{KILLED} videos should have been silent: {record}")
        self._say(
            f"You saw {KILLED} more videos go back to work. The {WORKERS - KILLED} living workers kept theirs."
        )

    def break_mend_and_redrive(self) -> None:
        """The queue is gone: only the failed videos fail, and are redriven."""
        stuck = sorted(video for (video,) in self._sql(_LOSE_FOUR_WORKERS))
        self._act(
            "The queue breaks",
            f"Four more workers die, with videos {', '.join(map(str, stuck))}. Then somebody deletes the queue, and",
            "the next run can't send their messages. It does everything else and fails at its end.",
        )
        sqs, url = self._clients.sqs, self._stack.queue_url
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        sqs.delete_queue(QueueUrl=url)
        self._operator("run", status=1)
        self._say(
            "The videos are safe: each carries the lease of this execution, and no other run takes them meanwhile."
        )
        self._act(
            "Mended, and redriven", "The queue is there again. A redrive continues exactly what failed."
        )
        sqs.create_queue(
            QueueName=url.rsplit("/", 1)[1],
            Attributes={
                "VisibilityTimeout": attributes["VisibilityTimeout"],
                "RedrivePolicy": attributes["RedrivePolicy"],
            },
        )
        self._operator("redrive", "--since", "10m")
        self._show_queue(expected=len(stuck))
        self._say(f"You saw the same execution succeed, and the {len(stuck)} videos get one message each.")

    def ask_why(self, video: int) -> None:
        """The story of one video."""
        self._act(
            "Why was this video touched?",
            f"The demo killed the worker of video {video}. The logs have its story.",
        )
        self._operator("why", str(video))
        self._say("You saw the evidence that the decision was based on. That was the last act.")

    def _operator(self, command: str, *arguments: str, status: int = 0) -> None:
        """Run the operator's command, as a reader could."""
        words = ["ops", command, *arguments, "--stage", "local"]
        self._console.print(f"[bold]$ .venv/bin/python -m {' '.join(words)}[/bold]")
        sys.stdout.flush()
        environment = {**os.environ, **self._stack.environment}
        ended = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=environment, check=False)
        if ended.returncode != status:
            raise AssertionError(f"{' '.join(words)} ended with {ended.returncode}, not {status}")

    def _start_worker(self, name: str) -> Child:
        """Start a worker whose video takes longer than the demo."""
        options = [f"--name={name}", f"--home={self._home}", "--encode-s=36000", f"--time-scale={BEATS}"]
        command = [sys.executable, "-m", "dev.local.worker", *options]
        return Child(name, command, log=self._home / f"{name}.log", env=os.environ, cwd=ROOT)

    def _statuses(self) -> Counter[str]:
        """Return the number of videos by status; PROCESSING is told apart by heartbeats."""
        with closing(redis.Redis.from_url(self._stack.redis_url, decode_responses=True)) as client:
            beating = {int(str(key).split(":")[3]) for key in client.keys("tenant:*:video:*:heartbeat")}
        return Counter(
            "PROCESSING, beating" if status == "PROCESSING" and video_id in beating else status
            for video_id, status in self._sql("SELECT id, status FROM video_video")
        )

    def _sql(self, statement: str) -> list[tuple[Any, ...]]:
        connecting = closing(psycopg2.connect(self._stack.postgres_dsn))
        with connecting as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def _last_record(self) -> dict[str, Any]:
        """Return the record of the newest execution."""
        steps, machine = self._clients.stepfunctions, self._stack.state_machine_arn
        listed = steps.list_executions(stateMachineArn=machine)["executions"]
        newest = max(listed, key=lambda execution: execution["startDate"])
        return dict(json.loads(steps.describe_execution(executionArn=newest["executionArn"])["output"]))

    def _wait(self, what: str, done: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 120
        with self._console.status(what):
            while not done():
                if time.monotonic() > give_up:
                    raise TimeoutError(f"{what}: not within two minutes")
                time.sleep(0.1)

    def _pass_time(self, what: str) -> None:
        until_s = time.monotonic() + SILENT_AFTER_S / 2
        self._wait(what, lambda: time.monotonic() > until_s)

    def _act(self, title: str, *sentences: str) -> None:
        seconds = time.monotonic() - self._started_s
        self._console.print()
        self._console.rule(f"[bold]{title}[/bold]  [dim]{seconds:.0f} s[/dim]", align="left")
        self._say(" ".join(sentences))

    def _say(self, text: str) -> None:
        self._console.print(text)

    def _show_videos(self) -> None:
        table = Table("status", "videos")
        for status, count in sorted(self._statuses().items()):
            table.add_row(status, str(count))
        self._console.print(table)

    def _show_queue(self, *, expected: int) -> None:
        sqs, url = self._clients.sqs, self._stack.queue_url
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        shown = sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)
        count = int(attributes["ApproximateNumberOfMessages"])
        self._say(f"The queue has {count} messages. One of them:")
        self._console.print_json(shown["Messages"][0]["Body"])
        if count != expected:
            raise AssertionError(f"the queue should have exactly {expected} messages")


_LOSE_FOUR_WORKERS = """
UPDATE video_video SET status = 'PROCESSING', leased_by = 'lost-worker',
    leased_until = now() - interval '1 minute', processing_started_at = now() - interval '4 hours'
WHERE id IN (SELECT id FROM video_video WHERE status = 'READY' ORDER BY id DESC LIMIT 4) RETURNING id
"""


def main() -> int:
    """Play the demo; 0 if every act ended as it should."""
    console = Console(highlight=False)
    console.print(Panel("video-reclaim: a small academy whose workers die", expand=False))
    with (
        scratch_folder() as home,
        running(home, report=lambda line: console.print(f"  [dim]{line}[/dim]")) as started,
    ):
        _hasten(started.stack)
        Demo(started.stack, console, home).play()
    console.print("\n[green]Done.[/green] Nothing is left running. Your own stack to try: make up")
    return 0


def _hasten(stack: Stack) -> None:
    """The workers live faster here, so silence counts sooner than any stage may say."""
    for step in ("ListStaleVideos", "Reclaim"):
        name, functions = stack.functions[step], stack.clients.functions
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        variables |= {"RECLAIMING_SILENT_AFTER_SECONDS": str(SILENT_AFTER_S)}
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
