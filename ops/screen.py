"""What the commands have in common on the screen."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.durations import parse_duration

_WIDTH_OF_A_FILE = 160  # where the output is no terminal, rich would assume 80

console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
"""Standard output."""


def _duration(text: str | timedelta) -> timedelta:
    if isinstance(text, timedelta):  # the default
        return text
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


Stage = Annotated[
    str, typer.Option("--stage", help="The stage; `local` is the stack that `make up` started.")
]


def duration(name: str, text: str) -> typer.models.OptionInfo:
    """Return an option that takes a duration such as 2h."""
    option: typer.models.OptionInfo = typer.Option(name, parser=_duration, metavar="DURATION", help=text)
    return option


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def say(text: str) -> None:
    """Print a sentence; nothing in it is markup."""
    console.print(escape(text), soft_wrap=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> Table:
    """Return a table of texts; nothing in them is markup."""
    made = Table(title=escape(title) if title else None, title_justify="left")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(escape(cell) for cell in row))
    return made
