"""Check a deployed stage: ``python -m cdk.verify STAGE`` (`make verify STAGE=…`).

It writes nothing but a dry run, and one value into the namespace ``VideoReclaim/Verify``. It needs credentials that
may read the stack's resources, start an execution, simulate policies and put metrics. The stage ``local`` is looked
for on the local stack.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .checks import CHECKS, Client, Deployed, Note
from .sources import ROOT
from .stage import InvalidStage, StageFile, load, stages_in


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: what was checked.
        problem: what is wrong and what to do; '' if nothing is.
        note: what is worth knowing and not wrong; '' if nothing is.
    """

    check: str
    problem: str = ""
    note: str = ""

    def __str__(self) -> str:
        """One line of the output."""
        kind = "FAIL" if self.problem else "note" if self.note else "ok  "
        return f"{kind} {self.check}: {self.problem or self.note}".rstrip(": ")


def verify(name: str, stage: StageFile, client: Client) -> Iterator[Finding]:
    """Check one thing after the other. A service that refuses to answer is a problem of its check."""
    try:
        (stack,) = client("cloudformation").describe_stacks(StackName=f"VideoReclaim-{name}")["Stacks"]
    except Exception as exc:
        yield Finding("stack", f"can't be read: {exc}. Deploy the stage first: make deploy STAGE={name}")
        return
    done = stack["StackStatus"].endswith("_COMPLETE") and "ROLLBACK" not in stack["StackStatus"]
    yield Finding("stack", "" if done else f"is {stack['StackStatus']}: see its events in CloudFormation")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    deployed = Deployed(name, stage, outputs, client)
    for check, problems in CHECKS.items():
        found: list[str | Note]
        try:
            found = list(problems(deployed))
        except Exception as exc:
            found = [f"can't be checked: {exc}"]
        for one in found or [""]:
            yield Finding(check, note=one.text) if isinstance(one, Note) else Finding(check, one)


def _local() -> tuple[str, Client]:
    """Return the settings that `make up` deployed the stage ``local`` with, as JSON, and its clients."""
    import boto3

    stack = json.loads((Path.cwd() / ".local" / "stack.json").read_text())
    session = boto3.Session("000000000000", "test", region_name=stack["region"])
    client: Client = partial(session.client, endpoint_url=stack["endpoint_url"])
    return json.dumps(stack["settings"]), client


def _of_the_account(region: str | None) -> Client:
    import boto3

    client: Client = partial(boto3.Session(region_name=region).client)
    return client


def main(name: str) -> int:
    """Print each finding; return 1 if there is a problem, 2 if the stage can't be read."""
    try:
        overrides, client = _local() if name == "local" else (None, None)
        stage = load(stages_in(ROOT / "stages"), name, overrides)
    except FileNotFoundError:
        print("The stage local is not deployed: make up", file=sys.stderr)
        return 2
    except InvalidStage as exc:
        print(exc, file=sys.stderr)
        return 2
    failed = False
    for finding in verify(name, stage, client or _of_the_account(stage.region)):
        failed = failed or bool(finding.problem)
        print(finding, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
