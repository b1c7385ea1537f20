"""The whole local stack, deployed by the CDK CLI."""

import itertools
import json
import time

from dev.local.stack import Clients
from dev.testing.messages import Queue
from dev.testing.servers import Academy

OVERRIDE = "/academy/workers/video/scaling-override"


class Deployed:
    """A deployed stack as a test meets it: an empty academy, an empty queue, a group at its minimum."""

    def __init__(self, running):
        self.running, self.stack = running, running.stack
        self.clients: Clients = running.stack.clients
        self.connect()
        self.queue = Queue(self.clients.sqs, self.stack.queue_url)
        self._namespaces, self._configured = itertools.count(), set()
        self.started: list[str] = []
        self._deployed = {step: self._environment(step) for step in self.stack.functions}

    def _environment(self, step):
        shown = self.clients.functions.get_function_configuration(FunctionName=self.stack.functions[step])
        return shown["Environment"]["Variables"]

    def configure(self, step, **environment):
        """Give a function other settings than it was deployed with; without any, those again."""
        self.clients.functions.update_function_configuration(
            FunctionName=self.stack.functions[step],
            Environment={"Variables": self._deployed[step] | environment},
        )
        self._configured = {*self._configured, step}

    def connect(self):
        """Open connections to the servers, again if one of them was away."""
        self.academy = Academy(self.stack.postgres_dsn, self.stack.redis_url)

    def reset(self):
        for step in self._configured:
            self.configure(step)
        self._configured = set()
        self.academy.reset()
        self.make_queue()
        self.queue.take_all()
        self.set_desired(1)
        self.end_draining()
        self.forget_override()

    def close(self):
        self.academy.close()

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

    def forget_override(self):
        if self.clients.ssm.get_parameters(Names=[OVERRIDE])["Parameters"]:
            self.clients.ssm.delete_parameter(Name=OVERRIDE)

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
