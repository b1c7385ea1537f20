"""Cold starts from the built bundle, against what the libraries take alone."""

import compileall
import io
import json
import os
import py_compile
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdk.bundle import dependency_layer
from dev.bench import academy
from dev.bench.figures import RATIO, Figure, Goal, Section, Table, number, ratios
from dev.bench.servers import Servers, servers
from dev.local.emulator import CREDENTIALS, REGION, Emulator
from dev.local.stack import Clients

TITLE = "Cold start"
ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "bench" / "bundles"
PROBE = ROOT / "dev" / "bench" / "probe.py"
EXECUTION = "arn:aws:states:us-east-1:000000000000:execution:reclaim-videos:bench"
MODULES = {
    "ListStaleVideos": "list_stale_videos",
    "Reclaim": "reclaim",
    "Enqueue": "enqueue",
    "PublishBacklog": "publish_backlog",
}
NAMESPACE = "Academy/Workers"
GROUP = "bench-workers"

# By bundle, what was compiled before it was packed.
BUNDLES = {"layer compiled": ("python",), "all compiled": ("python", "functions"), "plain": ()}


@dataclass(frozen=True, slots=True)
class World:
    """Servers, an emulator with a queue and a group, and the environment in which functions find them."""

    servers: Servers
    clients: Clients
    queue_url: str
    variables: Mapping[str, str]

    def events(self) -> dict[str, dict[str, Any]]:
        """An event for each function, as the workflow would send it; the stale videos are made anew."""
        academy.fill(self.servers.postgres.dsn, processing=100, stale=100)
        with_token = [{"videos": list(range(1, 101)), "execution": EXECUTION, "insist": False}]
        return {
            "ListStaleVideos": {},
            "Reclaim": with_token[0],
            "PublishBacklog": {"run": {"stale": {}, "spared": {}}, "results": [], "retried": False},
        }


@contextmanager
def world() -> Iterator[World]:
    """Start what the functions call."""
    with servers() as here, Emulator(here.postgres.child.log.parent / "emulator") as emulator:
        clients = Clients(emulator.endpoint_url)
        queue_url = clients.sqs.create_queue(QueueName="academy-video-jobs")["QueueUrl"]
        others = [
            clients.sqs.create_queue(QueueName=name)["QueueUrl"]
            for name in ("academy-ai-jobs-lite", "academy-ai-jobs-basic", "academy-messaging-jobs")
        ]
        clients.autoscaling.create_launch_configuration(
            LaunchConfigurationName="bench", ImageId="ami-00000000", InstanceType="c7g.large"
        )
        clients.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=GROUP,
            LaunchConfigurationName="bench",
            MinSize=1,
            MaxSize=20,
            AvailabilityZones=[f"{REGION}a"],
        )
        variables = {
            **here.settings(),
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": emulator.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "QUEUE_URL": queue_url,
            "QUEUE_URLS": json.dumps({"Video": [queue_url], "AI": others[:2], "Messaging": others[2:]}),
            "AUTO_SCALING_GROUP": GROUP,
            "METRIC_NAMESPACE": NAMESPACE,
        }
        yield World(here, clients, queue_url, variables)


def probe(
    module: str, event: Mapping[str, Any], path: Sequence[Path], variables: Mapping[str, str]
) -> dict[str, Any]:
    """One process that imports a handler and calls it once; what `probe.main` reports.

    Raises:
        RuntimeError: it failed; with its own words.
    """
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    ended = subprocess.run(
        [sys.executable, str(PROBE), module],
        input=json.dumps(event),
        env=environment,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise RuntimeError(f"{module} failed: {ended.stderr.strip()[-2000:]}")
    told: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return told


def bundles(home: Path) -> dict[str, list[Path]]:
    """The layer and the functions, as folders for a module path, in each of `BUNDLES`."""
    shutil.rmtree(home, ignore_errors=True)
    paths = {}
    for name, compiled in BUNDLES.items():
        layer, code = home / name / "python", home / name / "functions"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(dependency_layer("host") / "python", layer, ignore=ignored)
        shutil.copytree(ROOT / "functions", code, ignore=ignored)
        for folder in (layer, code):
            if folder.name in compiled:
                mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
                compileall.compile_dir(folder, quiet=1, invalidation_mode=mode)
        paths[name] = [code, layer]
    return paths


def zipped_bytes(home: Path) -> dict[str, int]:
    """What is uploaded to AWS, in bytes: the layer, plain and compiled, and the functions' code.

    The compiled modules are this interpreter's, about as large as those of Lambda's.
    """
    plain, compiled = home / "layer plain", home / "layer compiled"
    for folder in (plain, compiled):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(dependency_layer("aws"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(compiled, quiet=1)
    folders = {"layer, plain": plain, "layer, compiled": compiled, "functions": ROOT / "functions"}
    return {name: _zipped(folder) for name, folder in folders.items()}


def _zipped(folder: Path) -> int:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (folder.name != "functions" or "__pycache__" not in path.parts):
                archive.write(path, path.relative_to(folder))
    return len(target.getvalue())


# What the libraries alone are asked for: SQS for the functions that call it or nothing; and, beside
# PublishBacklog, one call to each service that its task is to ask.
def _alone(here: World, step: str) -> dict[str, Any]:
    attributes = {"QueueUrl": here.queue_url, "AttributeNames": ["ApproximateNumberOfMessages"]}
    calls: list[tuple[str, str, dict[str, Any]]] = [("sqs", "get_queue_attributes", attributes)]
    if step == "PublishBacklog":
        calls += [
            ("autoscaling", "describe_auto_scaling_groups", {"AutoScalingGroupNames": [GROUP]}),
            ("ssm", "describe_parameters", {}),
            ("cloudwatch", "list_metrics", {"Namespace": NAMESPACE}),
        ]
    return {"calls": calls}


def measure(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Start each function cold, from either bundle, and the libraries beside it, in turn."""
    repeats = 3 if quick else 11
    times: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with world() as here:
        paths = bundles(HOME)
        for turn in range(repeats):
            for step, module in MODULES.items():
                for bundle, path in paths.items():
                    events = here.events()
                    if step == "Enqueue":
                        taken = probe_answer(here, path, events["Reclaim"])
                        events["Enqueue"] = {**taken, "insist": False}
                    told = probe(module, events[step], path, here.variables)
                    times.setdefault((step, bundle), []).append(told)
                    alone = probe("libraries", _alone(here, step), path, here.variables)
                    times.setdefault((f"libraries beside {step}", bundle), []).append(alone)
            say(f"{turn + 1}/{repeats}")
    sizes = zipped_bytes(HOME)
    return Section("cold-start", TITLE, _figures(times, sizes), _meaning(), _tables(times, sizes))


def probe_answer(here: World, path: Sequence[Path], event: Mapping[str, Any]) -> dict[str, Any]:
    """Reclaim in a process of its own; return its answer, which Enqueue takes."""
    script = (
        "import json, sys, reclaim\nprint()\nprint(json.dumps(reclaim.handler(json.load(sys.stdin), None)))"
    )
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, path)), **here.variables}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(event),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return answer


def _seconds(told: Sequence[Mapping[str, Any]]) -> list[float]:
    return [one["import_s"] + one["call_s"] for one in told]


def _figures(
    times: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]], sizes: Mapping[str, int]
) -> list[Figure]:
    figures = []
    for bundle in BUNDLES:
        for step in MODULES:
            alone = _seconds(times[f"libraries beside {step}", bundle])
            figures.append(
                Figure(
                    f"{step} {bundle}",
                    f"{step}, {bundle}: times boto3, psycopg2 and redis alone",
                    RATIO,
                    ratios(_seconds(times[step, bundle]), alone),
                    Goal("at most", 1.25),
                )
            )
    for bundle in ("all compiled", "plain"):
        for step in MODULES:
            figures.append(
                Figure(
                    f"{step} {bundle} / layer compiled",
                    f"{step}: {bundle}, times layer compiled",
                    RATIO,
                    ratios(_seconds(times[step, bundle]), _seconds(times[step, "layer compiled"])),
                )
            )
    for form in ("plain", "compiled"):
        megabytes = (sizes[f"layer, {form}"] + sizes["functions"]) / 1e6
        label = f"layer, {form}, and functions, zipped"
        figures.append(Figure(f"zipped_{form}_mb", label, "MB", [megabytes], Goal("at most", 7)))
    return figures


def _tables(
    times: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]], sizes: Mapping[str, int]
) -> list[Table]:
    rows = []
    for step in (*MODULES, "libraries beside Enqueue", "libraries beside PublishBacklog"):
        cells = [step]
        for bundle in BUNDLES:
            told = times[step, bundle]
            parts = ("import_s", "call_s")
            cells.append(
                " + ".join(
                    number(round(Figure("", "", "", [o[part] * 1000 for o in told]).median)) for part in parts
                )
            )
        cells.append(", ".join(times[step, "plain"][0]["modules"]))
        rows.append(cells)
    return [
        Table(
            "Import + first call, medians in milliseconds, the interpreter's own start not included",
            ("", *BUNDLES, "imported by then"),
            rows,
        ),
        Table(
            "What is uploaded",
            ("", "zipped"),
            [(name, f"{number(size / 1e6)} MB") for name, size in sizes.items()],
        ),
    ]


def _meaning() -> str:
    return (
        "A cold start here is a new process that imports the handler from the built bundle and answers "
        "its first event, with a hundred videos, on real servers and the emulator; the time to fetch a "
        "bundle and to start an interpreter is AWS's. Beside each stands the least that any function "
        "can do which talks to the same stores: import boto3, psycopg2 and redis, connect to each, ask "
        "one question; beside PublishBacklog, one question to each of the four AWS services that its "
        "task is to ask. Functions import only what they use, and the AWS client only when they first "
        "call AWS: Enqueue and PublishBacklog have no Redis, ListStaleVideos and Reclaim no AWS client "
        "unless a secret is to be fetched or a token made for IAM. What a synthesis by Python 3.13 uploads "
        "is the layer compiled "
        "and the functions' own code plain; one by another version of Python can't compile for Lambda's, "
        "and uploads the plain bundle. Most of the layer is psycopg2-binary's own copies of OpenSSL, "
        "Kerberos and LDAP, without which it can't be loaded. The compiled modules come on top, and are "
        "kept, since the functions that use Redis start in less than half the time with them."
    )
