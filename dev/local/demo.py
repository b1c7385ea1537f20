"""``make demo``: the workflow at work on a small academy, in a terminal, on real servers.

It starts a stack of its own, fills it, lets workers die, and uses the operator's command as an operator would: a
dry run, runs, a broken queue with its redrive, the story of one video. Nothing is left running.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from dev.local import ROOT
from dev.local.demo_academy import DemoAcademy
from dev.local.launch import running
from dev.local.platform_tables import fill
from dev.local.stack import Stack
from dev.local.watchdog import scratch_folder
from dev.local.worker import Pace, Worker, WorkerProcess

BEATS = 1 / 8  # the demo's workers live eight times faster: a heartbeat every 2.5 s
SILENT_AFTER_S = 8  # in place of 60; no stage may say less than 45
WORKERS = 5
KILLED = 2
SCHEDULED_IN_S = 3


class Demo:
    """The acts, on one stack."""

    def __init__(self, stack: Stack, console: Console, home: Path) -> None:
        self._stack, self._console, self._home = stack, console, home
        self._clients, self._academy = stack.clients, DemoAcademy(stack)
        self._started_s = time.monotonic()
        self._broken_video = 0

    def play(self) -> None:
        """Play every act, in order."""
        with ExitStack() as crew:
            workers = self.fill_the_academy(crew)
            self.dry_run()
            self.run()
            self.lose_workers(workers)
            self.confirm_silence()
            self.work_off_the_queue()
            self.break_mend_and_redrive()
            self.ask_why()

    def fill_the_academy(self, crew: ExitStack) -> list[WorkerProcess]:
        """Videos in every state, and workers that encode."""
        self._act(
            "A small academy",
            "The database has videos in every state. Some were stuck before the demo began: their workers died",
            f"hours ago. {WORKERS} workers take {WORKERS} new videos and send heartbeats to Redis while they encode.",
        )
        for message in fill(self._stack.postgres_dsn, waiting=WORKERS):
            self._clients.sqs.send_message(QueueUrl=self._stack.queue_url, MessageBody=message)
        workers = [crew.enter_context(self._worker(f"worker-{number}")) for number in range(1, WORKERS + 1)]
        self._wait(
            "Workers claim their videos", lambda: self._academy.statuses()["PROCESSING, beating"] == WORKERS
        )
        self._show_videos()
        return workers

    def dry_run(self) -> None:
        """What would be reclaimed, and what not; nothing is written."""
        self._act("What would be put back to work?", "A dry run writes nothing.")
        self._operator("run", "--dry-run")

    def run(self) -> None:
        """The main job."""
        before = self._academy.statuses()
        self._act("A run", "The same without --dry-run.")
        self._operator("run")
        record = self._academy.last_record()
        self._show_videos(before)
        self._show_queue(expected=record["enqueued"])
        self._say(
            f"You saw {record['enqueued']} videos go back to work, each with exactly one message, and the group grow "
            f"to {self._academy.desired()} workers. The {WORKERS} living workers kept their videos."
        )

    def lose_workers(self, workers: list[WorkerProcess]) -> None:
        """Workers are killed; the run that the schedule starts sees their last heartbeats."""
        self._pass_time("Workers send heartbeats")
        for number, worker in enumerate(workers[:KILLED], start=1):
            worker.kill()
            self._broken_video = self._academy.video_of(f"worker-{number}")
        self._act(
            "Workers die",
            f"{KILLED} of the {WORKERS} workers are killed. Nobody tells the database: video {self._broken_video} and",
            "the other one stay PROCESSING. Only their heartbeats are not renewed any more. EventBridge Scheduler",
            "starts the workflow every minute; the demo copies the stage's schedule with a single start in",
            f"{SCHEDULED_IN_S} seconds. That run sees those heartbeats for the last time.",
        )
        known = self._academy.executions()
        deployed = self._clients.scheduler.get_schedule(Name=self._stack.outputs()["ScheduleName"])
        at = datetime.now(UTC) + timedelta(seconds=SCHEDULED_IN_S)
        self._clients.scheduler.create_schedule(
            Name="demo",
            ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target=json.loads(json.dumps(deployed["Target"])),
        )
        self._wait("The schedule is due", lambda: bool(self._academy.executions() - known))
        self._wait("The scheduled execution runs", lambda: self._academy.last()["status"] != "RUNNING")
        self._operator("status")
        self._pass_time("A living worker would send a heartbeat now")

    def confirm_silence(self) -> None:
        """The next run finds the heartbeats unchanged, waits until that is certain, and looks again."""
        before = self._academy.statuses()
        self._act(
            "Silence is confirmed",
            "The next run finds two heartbeats unchanged, waits until a living worker would have sent three (seconds",
            "here, up to a minute in a deployed stage), looks again, and puts those two videos back, too.",
        )
        self._operator("run")
        self._show_videos(before)
        record = self._academy.last_record()
        if record["stale"] != {"silent": KILLED}:
            raise AssertionError(f"{KILLED} videos should have been silent: {record}")
        self._say(
            f"You saw {KILLED} more videos go back to work. The {WORKERS - KILLED} living workers kept theirs."
        )

    def work_off_the_queue(self) -> None:
        """The fleet that the decision asked for does its work."""
        self._act("The fleet works", "New workers take the messages, as they would any others.")
        with closing(self._quick_worker()) as worker:
            done = 0
            while job := worker.receive():
                done += worker.work(job)
        self._show_videos()
        self._say(f"You saw {done} videos that had been stuck become READY. The queue is empty.")

    def break_mend_and_redrive(self) -> None:
        """The queue is gone: only the failed videos fail, and are redriven."""
        stuck = self._academy.lose_workers(4)
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

    def ask_why(self) -> None:
        """The story of one video."""
        self._act(
            "Why was this video touched?",
            f"The demo killed the worker of video {self._broken_video}. The logs have its story.",
        )
        self._operator("why", str(self._broken_video))
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

    def _quick_worker(self) -> Worker:
        return Worker(
            "new-worker",
            sqs=self._clients.sqs,
            queue_url=self._stack.queue_url,
            dsn=self._stack.postgres_dsn,
            redis_url=self._stack.redis_url,
            pace=Pace(time_scale=1 / 1000),
        )

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

    def _show_videos(self, before: Counter[str] | None = None) -> None:
        now = self._academy.statuses()
        table = Table(title="Videos", title_justify="left")
        for heading in ("status", "now") if before is None else ("status", "before", "now"):
            table.add_column(heading, justify="left" if heading == "status" else "right")
        for status in sorted({*now, *(before or {})}):
            counts = [now] if before is None else [before, now]
            table.add_row(status, *(str(count[status]) for count in counts))
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
