"""``python -m ops COMMAND --stage NAME``, or ``video-reclaim COMMAND --stage NAME`` where it is installed."""

import sys

import typer
from botocore.exceptions import BotoCoreError, ClientError

from . import PROGRAM, RUNBOOK
from .errors import Exit, OpsError, describe_aws_error
from .fleet import activities, dead_letters, decisions
from .runs import redrive, run
from .status import status
from .steering import fix, pause, resume, start, stop
from .verify import verify
from .videos import history, quarantined, stuck, why

HELP = f"""Ask and steer a deployed stage of video-reclaim, with AWS credentials alone.

Exit status: 0 done; 1 tried and failed, or no answer; 2 wrong command line; 3 AWS, or the local stack, could not be
reached, refused, or has no such stage.

Runbook: {RUNBOOK}
"""
COMMANDS = (
    *(status, stuck, why, history, quarantined, decisions, activities, dead_letters),
    *(run, redrive, pause, fix, resume, stop, start, verify),
)

app = typer.Typer(
    name="ops", help=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
for command in COMMANDS:
    app.command()(command)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit status. An error is one line on standard error."""
    try:
        status: int | None = app(arguments, prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as exc:
        if said := describe_usage_error(exc):
            print(said, file=sys.stderr)
        return exc.exit_code
    except SystemExit as exc:
        return int(exc.code or 0)
    except OpsError as exc:
        print(exc, file=sys.stderr)
        return exc.status
    except (BotoCoreError, ClientError) as exc:
        print(describe_aws_error(exc), file=sys.stderr)
        return Exit.NO_AWS
    return status or Exit.DONE


def describe_usage_error(exc: typer.TyperException) -> str:
    """Return one line that says what is wrong with the command line; '' if help was shown instead."""
    said = " ".join(exc.format_message().split())
    command = getattr(getattr(exc, "ctx", None), "command_path", PROGRAM)
    return f"{said.removesuffix('.')}. See `{command} --help`." if said else ""


if __name__ == "__main__":
    sys.exit(main())
