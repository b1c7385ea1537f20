"""The commands `make up`, `make down` and `make demo`."""

import argparse
import contextlib
import fcntl
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2

from dev.local.context import InvalidContext, read_context, show_context
from dev.local.emulator import healthy
from dev.local.files import make_scratch_folder
from dev.local.identity import ChildFailed
from dev.local.launch import Report, start
from dev.local.ledger import Ledger
from dev.local.platform_tables import fill
from dev.local.stack import HOME, NoStack, Stack
from dev.local.watchdog import watchdog


def print_line(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def up(
    home: Path = HOME,
    *,
    overrides: Mapping[str, Any] | None = None,
    filled: bool = False,
    report: Report = print_line,
) -> Stack:
    """Start the stack of this checkout; one that runs and is healthy is left as it is.

    ``overrides`` are merged into the settings of the stage ``local``. With ``filled`` an empty academy gets
    videos, stuck ones among them.

    One that lacks a server is stopped first. A failure or a signal leaves nothing running; after success the
    servers outlive this program.

    Raises:
        ChildFailed: a server did not start or the app was not deployed; the message shows its log.
    """
    with _locked(home, report):
        ledger = Ledger(home)
        if ledger.exists:
            if (ended := ledger.ended_server()) is None:
                with contextlib.suppress(NoStack):
                    stack = Stack.load(home)
                    if healthy(stack.endpoint_url):
                        report(_describe_running(home, ledger.overrides, overrides or {}))
                        if filled:
                            fill_academy(stack, report)
                        return stack
            problem = f"{ended} has ended" if ended else "it was not deployed"
            report(f"The stack is not complete ({problem}): starting a new one")
            ledger.clear()
        logs = home / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        try:
            scratch = make_scratch_folder()
            ledger.begin(scratch, overrides or {})
            stack = start(scratch, logs, report=report, record=ledger.add, overrides=overrides).stack
            if filled:
                fill_academy(stack, report)
            stack.save(home)
            watchdog.release()
        except BaseException:
            ledger.clear()
            raise
        report(f"Ready: {home / 'stack.json'}")
        for line in next_steps(stack, home):
            report(line)
        return stack


def fill_academy(stack: Stack, report: Report) -> None:
    """Give the academy its videos, and the queue the messages of those that wait; one that has videos keeps them."""
    try:
        messages = fill(stack.postgres_dsn, waiting=8)
    except psycopg2.errors.UniqueViolation:
        report("The academy has videos already")
        return
    for message in messages:
        stack.clients.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=message)
    report("The academy has videos: `ops run --dry-run` tells which of them are stuck")


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


def down(home: Path = HOME, *, report: Report = print_line) -> None:
    """Stop all that `up` started here and remove its temporary folder; harmless if nothing runs.

    Raises:
        ChildFailed: a process belongs to another user or does not end.
    """
    with _locked(home, report):
        ledger = Ledger(home)
        if not ledger.exists:
            report("No stack runs here")
            return
        ledger.clear()
        report("Stopped")


def _describe_running(home: Path, current: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    if current == wanted:
        return f"The stack runs already: {home / 'stack.json'}"
    return (
        f"The stack runs already, started with {show_context(current)}. "
        f"To start it with {show_context(wanted)}, run `make down` first."
    )


@contextlib.contextmanager
def _locked(home: Path, report: Report) -> Iterator[None]:
    """Let one command at a time work on a stack; the second waits."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Another command works on this stack: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.local", description="The local stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (("up", "start the stack"), ("down", "stop it")):
        command = commands.add_parser(name, help=does)
        command.add_argument("--home", type=Path, default=HOME, help="folder of stack.json and the logs")
    commands.choices["up"].add_argument(
        "--context", default="", help="settings, as JSON, that override stages/local.json"
    )
    commands.add_parser("demo", help="show the workflow at work")
    commands.choices["up"].add_argument("--fill", action="store_true", help="with videos, stuck ones too")
    given = parser.parse_args(arguments)
    try:
        if given.command == "up":
            up(given.home, overrides=read_context(given.context), filled=given.fill)
        elif given.command == "down":
            down(given.home)
        else:
            from dev.local import demo

            return demo.main()
    except InvalidContext as exc:
        print(exc, file=sys.stderr)
        return 2
    except ChildFailed as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0
