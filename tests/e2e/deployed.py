"""The whole local stack, deployed by the CDK CLI, with a relay between its functions and AWS."""

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from dev.local.stack import Clients
from dev.testing.messages import Queue
from dev.testing.servers import Academy

OVERRIDE = "/academy/workers/video/scaling-override"
# Which function calls which service through the relay.
RELAYED = {
    "Enqueue": ("AWS_ENDPOINT_URL_SQS",),
    "PublishBacklog": (
        "AWS_ENDPOINT_URL_SQS",
        "AWS_ENDPOINT_URL_CLOUDWATCH",
        "AWS_ENDPOINT_URL_AUTO_SCALING",
        "AWS_ENDPOINT_URL_SSM",
    ),
}


class AwsRelay:
    """Passes requests on to the emulator and its answers back, unless a test has other plans.

    ``change_request(action, body)`` returns the body to pass on, or in its place an answer (status, bytes).
    ``change_answer(action, body)`` returns the body to answer with.
    """

    def __init__(self, endpoint_url: str):
        self.heal()
        target = urlsplit(endpoint_url)
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                action = _action(self.headers, body)
                change = relay.change_request(action, body)
                if isinstance(change, tuple):
                    self._answer(*change, content_type=self.headers.get("Content-Type"))
                    return
                headers = {name: value for name, value in self.headers.items() if name != "Content-Length"}
                with contextlib.closing(
                    http.client.HTTPConnection(target.hostname, target.port, timeout=60)
                ) as upstream:
                    upstream.request("POST", self.path, change, headers)
                    answer = upstream.getresponse()
                    status, kind, content = answer.status, answer.headers.get("Content-Type"), answer.read()
                self._answer(status, relay.change_answer(action, content), content_type=kind)

            def _answer(self, status, content, *, content_type):
                self.send_response(status)
                self.send_header("Content-Type", content_type or "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # a function that timed out no longer listens

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def heal(self):
        self.change_request: Callable = lambda _action, body: body
        self.change_answer: Callable = lambda _action, body: body

    def fail(self, action, *, code, status=400, about=""):
        """Have every call of one action that mentions ``about`` fail with this error."""

        def fail(asked, body):
            if asked != action or about not in body.decode():
                return body
            return status, json.dumps({"__type": code, "message": f"{code} by the relay"}).encode()

        self.change_request = fail

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def _action(headers, body):
    target = headers.get("X-Amz-Target")
    if target:
        return target.rpartition(".")[2]
    for part in body.decode(errors="replace").split("&"):
        if part.startswith("Action="):
            return part.removeprefix("Action=")
    return ""


class Deployed:
    """A deployed stack as a test meets it: an empty academy, an empty queue, a group at its minimum."""

    def __init__(self, running):
        self.running, self.stack = running, running.stack
        self.clients: Clients = running.stack.clients
        self.connect()
        self.queue = Queue(self.clients.sqs, self.stack.queue_url)
        self.relay = AwsRelay(self.stack.endpoint_url)
        self._namespaces, self._configured = itertools.count(), set()
        self.started: list[str] = []
        self._settings = {step: self._configuration(step) for step in self.stack.functions}
        for step, services in RELAYED.items():
            self._settings[step][0].update(dict.fromkeys(services, self.relay.url))
            self.configure(step)

    def _configuration(self, step):
        shown = self.clients.functions.get_function_configuration(FunctionName=self.stack.functions[step])
        return shown["Environment"]["Variables"], shown["Timeout"]

    def configure(self, step, *, timeout_s=None, **environment):
        """Give a function other settings than it was deployed with; without any, those again."""
        deployed, deployed_timeout_s = self._settings[step]
        self.clients.functions.update_function_configuration(
            FunctionName=self.stack.functions[step],
            Environment={"Variables": deployed | environment},
            Timeout=timeout_s or deployed_timeout_s,
        )
        if environment or timeout_s:
            self._configured.add(step)
        else:
            self._configured.discard(step)

    def connect(self):
        """Open connections to the servers, again if one of them was away."""
        self.academy = Academy(self.stack.postgres_dsn, self.stack.redis_url)

    def reset(self):
        self.relay.heal()
        for step in list(self._configured):
            self.configure(step)
        self.academy.reset()
        self.make_queue()
        self.queue.take_all()
        self.set_desired(1)
        self.end_draining()
        self.override(None)

    def close(self):
        self.academy.close()
        self.relay.close()

    def start(self, given=None):
        started = self.clients.stepfunctions.start_execution(
            stateMachineArn=self.stack.state_machine_arn, input=json.dumps(given or {})
        )
        self.started.append(started["executionArn"])
        return self.started[-1]

    def ended(self, arn):
        """Wait for an execution's end and describe it; ``record`` is its output, read."""
        give_up = time.monotonic() + 90
        while (shown := self.clients.stepfunctions.describe_execution(executionArn=arn))[
            "status"
        ] == "RUNNING":
            assert time.monotonic() < give_up, "the execution does not end"
            time.sleep(0.05)
        return {**shown, "record": json.loads(shown["output"]) if shown.get("output") else None}

    def run(self, given=None):
        return self.ended(self.start(given))

    def redrive(self, execution):
        self.clients.stepfunctions.redrive_execution(executionArn=execution["executionArn"])
        return self.ended(execution["executionArn"])

    def log_lines(self, step):
        """What a function has logged, oldest first."""
        group = f"/video-reclaim-local/{step}"
        pages = self.clients.logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        lines = [event["message"] for page in pages for event in page["events"]]
        return [json.loads(line) for line in lines if line.startswith('{"timestamp"')]

    def delete_queue(self):
        self.clients.sqs.delete_queue(QueueUrl=self.stack.queue_url)

    def make_queue(self):
        self.clients.sqs.create_queue(
            QueueName=self.stack.queue_url.rpartition("/")[2], Attributes={"VisibilityTimeout": "300"}
        )

    def _group(self):
        return self.clients.autoscaling.describe_auto_scaling_groups(
            AutoScalingGroupNames=[self.stack.auto_scaling_group]
        )["AutoScalingGroups"][0]

    def desired(self):
        return self._group()["DesiredCapacity"]

    def instances(self):
        """The lifecycle state of each instance of the group, by id."""
        return {one["InstanceId"]: one["LifecycleState"] for one in self._group()["Instances"]}

    def end_draining(self):
        """End the instances that a failed test has left waiting for their worker."""
        for id_, state in self.instances().items():
            if state == "Terminating:Wait":
                self.clients.autoscaling.complete_lifecycle_action(
                    AutoScalingGroupName=self.stack.auto_scaling_group,
                    LifecycleHookName="finish-encode",
                    InstanceId=id_,
                    LifecycleActionResult="CONTINUE",
                )

    def set_desired(self, workers):
        self.clients.autoscaling.set_desired_capacity(
            AutoScalingGroupName=self.stack.auto_scaling_group, DesiredCapacity=workers
        )

    def override(self, order):
        """Put the operator's order, or take it away."""
        ssm = self.clients.ssm
        if order is not None:
            ssm.put_parameter(Name=OVERRIDE, Value=json.dumps(order), Type="String", Overwrite=True)
        elif ssm.get_parameters(Names=[OVERRIDE])["Parameters"]:
            ssm.delete_parameter(Name=OVERRIDE)

    def switch_schedule_off(self):
        """As it was deployed, so that no execution disturbs a test."""
        scheduler, name = self.clients.scheduler, self.stack.outputs()["ScheduleName"]
        found = scheduler.get_schedule(Name=name)
        kept = {field: found[field] for field in ("ScheduleExpression", "FlexibleTimeWindow", "Target")}
        scheduler.update_schedule(Name=name, State="DISABLED", Description=found["Description"], **kept)

    def own_namespace(self):
        """Have metrics published to a namespace that holds none yet; return its name."""
        namespace = f"Academy/Workers/{next(self._namespaces)}"
        self.configure("PublishBacklog", METRICS_NAMESPACE=namespace)
        return namespace
