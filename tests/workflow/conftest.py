"""The real state machine and the real handlers in one process, interpreted by moto, on real servers.

The definition is the file that is deployed, with its placeholders filled in. Where it invokes a function, the
handler is called with that function's environment and no other. JSONata is evaluated by jsonata-python. The
interpreter is another one than the local stack's, so what both make of the file is worth more than either.
"""

import contextlib
import functools
import importlib
import io
import itertools
import json
import os
import re
import threading
import time
import traceback
import types
import zipfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from unittest.mock import patch

import boto3
import jsonata
import moto.stepfunctions.parser.asl.component.common.retry.retrier_decl as moto_retry
import moto.stepfunctions.parser.asl.component.state.exec.state_task.lambda_eval_utils as moto_lambda
import moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function as moto_wait
import moto.stepfunctions.parser.asl.eval.states as moto_states
import moto.stepfunctions.parser.asl.eval.variable_store as moto_variables
import moto.stepfunctions.parser.asl.jsonata.jsonata as moto_jsonata
import pytest
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT_ID
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils.boto_client import boto_client_for
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from dev.testing.messages import Queue
from dev.testing.sections import GROUP, NAMESPACE, OVERRIDE, SIZING, of_function
from dev.testing.servers import common_settings, forget_clients
from dev.testing.strict_aws import STEP_FUNCTIONS_AND_LAMBDA, make_workers, strict_aws
from video_reclaim.adapters.postgres.store import store
from video_reclaim.adapters.redis.heartbeats import heartbeats

DEFINITION = json.loads(
    (Path(__file__).parents[2] / "state_machines" / "reclaim_videos.asl.json").read_text()
)
MODULES = {
    "ListStaleVideos": "list_stale_videos",
    "Reclaim": "reclaim",
    "Enqueue": "enqueue",
    "PublishBacklog": "publish_backlog",
}
OTHER_QUEUES = ("academy-ai-jobs-lite", "academy-ai-jobs-basic", "academy-messaging-jobs")


class Failure(Exception):
    """What a function's service reports instead of the function's own answer."""

    def __init__(self, error, message=""):
        super().__init__(message)
        self.error = error


def timed_out(payload, call):
    raise Failure("Sandbox.Timedout", "RequestId: 0 Error: Task timed out after 30.00 seconds")


@dataclass(frozen=True)
class Call:
    """One invocation: what went in, and what came out."""

    function: str
    payload: dict
    answer: object
    error: str | None


class Workflow:
    """The workflow with everything around it.

    ``around[function]`` is called as ``(payload, call)`` in place of the function; ``call(payload)`` is the
    function itself. ``environment[function]`` may be changed. ``waits`` are the seconds before each retry,
    ``second_looks`` those of each Wait state; ``meanwhile()`` is called during a Wait state.
    """

    def __init__(self, aws, settings, expressions):
        self.aws, self.expressions = aws, expressions
        self.sqs, self.cloudwatch, self.ssm, self.autoscaling, self._stepfunctions = (
            boto3.client(name) for name in ("sqs", "cloudwatch", "ssm", "autoscaling", "stepfunctions")
        )
        self._lock, self._numbers, self._closed = threading.Lock(), itertools.count(), False
        self._settings, self._warm, self._machines = settings, {}, {}
        self._queues = {name: self._make_queue(name) for name in ("academy-video-jobs", *OTHER_QUEUES)}
        self.queue = Queue(self.sqs, self._queues["academy-video-jobs"])
        self._role = boto3.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument="{}")["Role"][
            "Arn"
        ]
        self._arns = self._make_functions()

    def reset(self, concurrency):
        """Empty queue, a group of 1 to 20 at 1, no metric, no override, no fault."""
        self.aws.reset()
        self.expressions.redrives = {}
        self.make_queue()
        self.queue.take_all()
        self._make_group()
        if self.ssm.describe_parameters()["Parameters"]:
            self.ssm.delete_parameter(Name=OVERRIDE)
        self.calls, self.around, self.waits = [], {}, []
        self.second_looks, self.meanwhile = [], lambda: None
        self.environment = self._environments(self._settings)
        self.state_machine_arn = self._make_state_machine(concurrency)
        for function in MODULES:
            self._keep_warm(function)

    def run_states(self, states, given):
        """Run an execution of another definition, whose Tasks call ``arn(function)``."""
        machine = self._stepfunctions.create_state_machine(
            name=f"made-{next(self._numbers)}",
            definition=json.dumps(
                {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}
            ),
            roleArn=self._role,
        )
        return self.run(given, machine["stateMachineArn"])

    def arn(self, function):
        """The ARN of one of the four functions."""
        return self._arns[function]

    def run(self, given=None, machine=None):
        """Run an execution to its end and describe it; ``record`` is its output, read."""
        started = self._stepfunctions.start_execution(
            stateMachineArn=machine or self.state_machine_arn,
            input=given if isinstance(given, str) else json.dumps({} if given is None else given),
            name=f"execution-{next(self._numbers)}",
        )
        give_up = time.monotonic() + 120
        while not self._has_ended(started["executionArn"]):
            assert time.monotonic() < give_up, "the execution does not end"
            time.sleep(0.002)
        shown = self._stepfunctions.describe_execution(executionArn=started["executionArn"])
        shown["record"] = json.loads(shown["output"]) if "output" in shown else None
        return shown

    def _has_ended(self, arn):
        """Ask moto itself: through the API each question would cost more than a step of the execution.

        It sets the status before the output or the cause.
        """
        execution = self._found(arn)
        ended_with = (execution.output, execution.cause, execution.error)
        return execution.status != "RUNNING" and any(one is not None for one in ended_with)

    def _found(self, arn):
        machines = stepfunctions_parser_backends[ACCOUNT_ID][
            self._stepfunctions.meta.region_name
        ].state_machines
        executions = (execution for machine in machines for execution in machine.executions)
        return next(execution for execution in executions if execution.execution_arn == arn)

    def history(self, execution):
        """Every event of an execution, those inside Maps too."""
        return self._found(execution["executionArn"]).to_history_output()["events"]

    def route(self, execution):
        """The states that were entered, in order; those inside Maps in the order of their entering."""
        return [
            event["stateEnteredEventDetails"]["name"]
            for event in self.history(execution)
            if "stateEnteredEventDetails" in event
        ]

    def unfinished(self, execution):
        """The states that were entered and never left: where a redrive goes on."""
        entered, left = Counter(self.route(execution)), Counter()
        for event in self.history(execution):
            if "stateExitedEventDetails" in event:
                left[event["stateExitedEventDetails"]["name"]] += 1
        return set(entered - left)

    def failed(self, execution):
        """The items that the first Map leaves to the second: the videos of each."""
        left = [
            event["stateExitedEventDetails"]["assignedVariables"]["failed"]
            for event in self.history(execution)
            if event.get("stateExitedEventDetails", {}).get("name") == "ReclaimVideos"
        ]
        return [item["videos"] for item in json.loads(left[0])]

    def asked(self, function):
        """The payloads that a function was called with."""
        return [call.payload for call in self.calls if call.function == function]

    def desired(self):
        groups = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])
        return groups["AutoScalingGroups"][0]["DesiredCapacity"]

    def published(self, name, worker_type=None):
        """The values of a metric as they were put, oldest first."""
        dimensions = (("WorkerType", worker_type),) if worker_type else ()
        return [
            value
            for (namespace, metric, has, _), points in self.aws.points.items()
            if (namespace, metric, has) == (NAMESPACE, name, dimensions)
            for _, value, _ in points
        ]

    def _make_queue(self, name):
        return self.sqs.create_queue(QueueName=name)["QueueUrl"]

    def make_queue(self):
        self._make_queue("academy-video-jobs")

    def _make_group(self):
        if self.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]:
            self.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=GROUP, ForceDelete=True)
        make_workers(self.autoscaling, GROUP)

    def _make_functions(self):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("any.py", "")
        return {
            name: boto3.client("lambda").create_function(
                FunctionName=name,
                Runtime="python3.13",
                Handler="any.handler",
                Role=self._role,
                Code={"ZipFile": packed.getvalue()},
            )["FunctionArn"]
            for name in MODULES
        }

    def _make_state_machine(self, concurrency):
        if concurrency not in self._machines:
            values = {f"{name}Arn": arn for name, arn in self._arns.items()}
            values |= {"AutoScalingGroupName": GROUP, "MaxConcurrency": str(concurrency), "Partition": "aws"}
            self._machines[concurrency] = self._stepfunctions.create_state_machine(
                name=f"reclaim-videos-{len(self._machines)}",
                definition=re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], json.dumps(DEFINITION)),
                roleArn=self._role,
            )["stateMachineArn"]
        return self._machines[concurrency]

    def _environments(self, settings):
        kinds = {
            "Video": [self._queues["academy-video-jobs"]],
            "AI": [self._queues[name] for name in OTHER_QUEUES[:2]],
            "Messaging": [self._queues[OTHER_QUEUES[2]]],
        }
        known = {**settings, **SIZING, "QUEUES_URLS": json.dumps(kinds)}
        return {function: of_function(function, known) for function in MODULES}

    def _keep_warm(self, function):
        """Let a function keep its connections, unless its settings lead elsewhere than the last one's."""
        for made_once, prefix, users in (
            (store, "DATABASE_", MODULES),
            (heartbeats, "REDIS_", ("ListStaleVideos", "Reclaim", "Enqueue")),
        ):
            given = self.environment[function].items()
            settings = {name: value for name, value in given if name.startswith(prefix)}
            if function in users and settings != self._warm.get(prefix):
                made_once.cache_clear()
                self._warm[prefix] = settings

    def enter(self, function):
        """Make the process's environment this function's, for the length of a call."""
        os.environ |= self.environment[function]
        self._keep_warm(function)

    def invoke(self, function, body):
        """Answer as Lambda does: the body, and the kind of error if it is one."""
        payload = json.loads(body or "{}")
        handler = importlib.import_module(MODULES[function]).handler
        with self._lock:  # the environment is the process's
            if self._closed:
                return b"{}", "Closed"
            kept = dict(os.environ)
            self.enter(function)
            try:
                around = self.around.get(function)
                answer = (
                    around(payload, lambda given: handler(given, None)) if around else handler(payload, None)
                )
                answer, error = json.loads(json.dumps(answer)), None
            except Exception as exc:
                error = exc.error if isinstance(exc, Failure) else type(exc).__name__
                answer = {"errorMessage": str(exc), "errorType": error}
                answer["stackTrace"] = traceback.format_tb(exc.__traceback__)
            finally:
                os.environ.clear()
                os.environ.update(kept)
            self.calls.append(Call(function, payload, answer, error))
        return json.dumps(answer).encode(), error

    def close(self):
        """Call no function any more: threads of a failed Map outlive its execution."""
        with self._lock:
            self._closed = True


class Expressions:
    """JSONata for moto, which writes every variable into the expression, as text.

    To parse ten thousand ids for each expression would take minutes: a name stands for each value instead.
    """

    def __init__(self):
        self._values, self._numbers = {}, itertools.count()
        self.redrives = {}  # how often the execution has been redriven when it is in a state, by the state's name

    def declare(self, bindings):
        declarations = []
        for variable, value in bindings.items():
            if variable == "$states" and "context" in value:
                context = value["context"]  # moto knows no redrives
                context["Execution"]["RedriveCount"] = self.redrives.get(context["State"]["Name"], 0)
            name = f"value{next(self._numbers)}"
            self._values[name] = value
            declarations.append(f"{variable}:=${name};")
        return "".join(declarations)

    def evaluate(self, expression):
        try:
            values = {name: self._values[name] for name in re.findall(r"\$(value\d+);", expression)}
            found = jsonata.Jsonata(expression).evaluate(None, values)
            return json.loads(json.dumps(found, default=_iso))  # moto's start time is no text yet
        except Exception as exc:
            raise moto_jsonata.JSONataException("UNKNOWN", str(exc)) from exc


def _iso(at):
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pytest_collection_modifyitems(items):
    """Keep the tests of this folder on one process: what they need takes seconds to make."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("workflow"))


@pytest.fixture(scope="module")
def one_workflow(postgres, valkey):
    """Everything that takes a while to make, once for a file.

    A wider scope would end with the process: moto, mocked for the whole of it, would keep messages from test to test.
    """
    running, expressions = [], Expressions()

    def invoke(_backend, function_name, qualifier, body, headers, response_headers):
        answer, error = running[0].invoke(function_name.rpartition(":")[2], body)
        if error:
            response_headers["x-amz-function-error"] = "Unhandled"
        return answer

    @functools.cache
    def client(region, service):
        return boto_client_for(region, service)

    def one_client(region, service, state_credentials=None):  # moto makes one for every call
        return client(region, service)

    def sleep(seconds):
        running[0].waits.append(seconds)

    def wait(_self, env, wait_seconds):
        running[0].second_looks.append(wait_seconds)
        running[0].meanwhile()

    with contextlib.ExitStack() as stack:
        stack.callback(forget_clients)
        aws = stack.enter_context(strict_aws(STEP_FUNCTIONS_AND_LAMBDA))
        stack.enter_context(patch.object(moto_jsonata, "_eval_jsonata", expressions.evaluate))
        parse = functools.cache(AmazonStateLanguageParser.parse)  # moto parses for every execution
        stack.enter_context(patch.object(AmazonStateLanguageParser, "parse", parse))
        for module in (moto_states, moto_variables):
            declare = patch.object(module, "encode_jsonata_variable_declarations", expressions.declare)
            stack.enter_context(declare)
        stack.enter_context(patch.object(LambdaSimpleBackend, "invoke", invoke))
        stack.enter_context(patch.object(moto_lambda, "boto_client_for", one_client))
        stack.enter_context(patch.object(moto_retry, "time", types.SimpleNamespace(sleep=sleep)))
        stack.enter_context(patch.object(moto_wait.WaitFunction, "_wait_interval", wait))
        forget_clients()
        running.append(Workflow(aws, common_settings(postgres, valkey), expressions))
        stack.callback(running[0].close)
        yield running[0]


@pytest.fixture
def concurrency():
    """How many items of a Map run at once.

    In a file whose Maps fail it must be 1: moto breaks other items off in mid-expression, and calls their
    functions with half a payload, which AWS doesn't.
    """
    return 5


@pytest.fixture
def workflow(one_workflow, academy, concurrency):
    """The workflow, ready to run; see `Workflow.reset`."""
    one_workflow.reset(concurrency)
    return one_workflow
