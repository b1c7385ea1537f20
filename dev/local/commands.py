"""The commands `make up`, `make down` and `make demo`."""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2

from cdk.stage import InvalidStage, load, stages_in
from dev.local.launch import start
from dev.local.platform_tables import fill
from dev.local.processes import ChildFailed
from dev.local.stack import HOME, STAGE, Stack
from dev.local.watchdog import watchdog


def print_line(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def up(home: Path, *, overrides: Mapping[str, Any], filled: bool) -> None:
    """Start the stack of this checkout; one that runs is left as it is.

    ``overrides`` are merged into the settings of the stage ``local``. With ``filled`` an empty academy gets
    videos, stuck ones among them.

    The servers outlive this program once ``stack.json`` is written, and end when it is removed. A failure or a signal
    before leaves nothing running.

    Raises:
        ChildFailed: a server did not start or the app was not deployed; the message shows its log.
    """
    lock = _lock(home)
    if lock is None:
        stack = Stack.load(home)
        print_line(f"The stack runs already: {home / 'stack.json'}")
        if overrides:
            print_line("To start it with this CONTEXT, run `make down` first")
    else:
        shutil.rmtree(home / "logs", ignore_errors=True)
        watchdog.keep_while(home / "stack.json", lock)
        stack = start(contextlib.ExitStack(), home, report=print_line, overrides=overrides).stack
    if filled:
        fill_academy(stack)
    if lock is not None:
        stack.save(home)
        print_line(f"Ready: {home / 'stack.json'}")
        for line in next_steps(stack, home):
            print_line(line)


def fill_academy(stack: Stack) -> None:
    """Give the academy its videos, and the queue the messages of those that wait; one that has videos keeps them."""
    try:
        messages = fill(stack.postgres_dsn, waiting=8)
    except psycopg2.errors.UniqueViolation:
        print_line("The academy has videos already")
        return
    for message in messages:
        stack.clients.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=message)
    print_line("The academy has videos: `ops run --dry-run` tells which of them are stuck")


def next_steps(stack: Stack, home: Path) -> list[str]:
    """Return what to do with a running stack: three commands to paste, each on a line of its own."""
    settings = " ".join(f"{name}={value}" for name, value in stack.environment.items())
    # The operator's command finds the stack of this checkout by itself, any other by its endpoint.
    elsewhere = "" if home == HOME else f"{settings} "
    return [
        "Start an execution and see its record:",
        f"  {elsewhere}.venv/bin/python -m ops run --stage local",
        "Look at the stack on one screen:",
        f"  {elsewhere}.venv/bin/python -m ops status --stage local",
        "Use the AWS CLI, or any other tool of AWS, with the same variables:",
        f"  {settings} .venv/bin/aws stepfunctions list-executions --state-machine-arn {stack.state_machine_arn}",
    ]


def down(home: Path) -> None:
    """Stop all that `up` started here and remove its temporary folder; harmless if nothing runs."""
    runs = (home / "stack.json").exists()
    _lock(home, end=True)
    print_line("Stopped" if runs else "No stack runs here")


def _lock(home: Path, *, end: bool = False) -> int | None:
    """Lock the stack for this program, and return the lock; None if the stack runs, which ``end`` ends before.

    The program that starts a stack has the lock, and so has its watchdog until the stack has ended.
    """
    stack_file = home / "stack.json"
    home.mkdir(parents=True, exist_ok=True)
    lock, waits = os.open(home / "lock", os.O_RDWR | os.O_CREAT), stack_file.exists()
    while True:
        if end:
            stack_file.unlink(missing_ok=True)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stack_file.unlink(missing_ok=True)  # of a stack that ended with the machine
            return lock
        if stack_file.exists() and not end:
            os.close(lock)
            return None
        if not waits:
            print_line("Another command works on this stack: waiting for it")
            waits = True
        time.sleep(0.1)


def main() -> int:
    """Run the command that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.local", description="The local stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="show the workflow at work")
    starts = commands.add_parser("up", help="start the stack")
    stops = commands.add_parser("down", help="stop it")
    for command in (starts, stops):
        command.add_argument("--home", type=Path, default=HOME, help="folder of stack.json and the logs")
    starts.add_argument("--context", default="", help="settings, as JSON, that override stages/local.json")
    starts.add_argument("--fill", action="store_true", help="with videos, stuck ones too")
    given = parser.parse_args()
    try:
        if given.command == "up":
            load(stages_in(), STAGE, given.context)  # so that a mistake starts nothing
            up(given.home, overrides=json.loads(given.context or "{}"), filled=given.fill)
        elif given.command == "down":
            down(given.home)
        else:
            from dev.local import demo

            return demo.main()
    except InvalidStage as exc:
        print(f"CONTEXT: {exc}", file=sys.stderr)
        return 2
    except ChildFailed as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0
