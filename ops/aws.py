"""A deployed stage in AWS: every call that the commands make, but those of `verify`.

`docs/ops-policy.json` grants exactly these calls. Everything is found by the name of the stage: the functions' names
follow from it, and PublishBacklog's configuration has the account, the region and all settings.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any, TypeVar

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import ClientError

from video_reclaim.errors import InvalidSetting
from video_reclaim.settings import Queues, Scaling, Workers, read

from .errors import OpsError
from .executions import Execution

STEPS = ("ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog")
# UpdateSchedule resets every field that it is not given to its default (EventBridge Scheduler API Reference).
SCHEDULE_FIELDS = (
    *("ActionAfterCompletion", "Description", "EndDate", "FlexibleTimeWindow", "GroupName", "KmsKeyArn"),
    *("Name", "ScheduleExpression", "ScheduleExpressionTimezone", "StartDate", "Target"),
)
_CONFIG = Config(retries={"mode": "adaptive", "max_attempts": 4}, connect_timeout=5, read_timeout=30)

Described = Mapping[str, Any]
"""What AWS describes, in its own words."""
Section = TypeVar("Section", bound=msgspec.Struct)


class Deployment:
    """One deployed stage.

    Every method makes AWS calls and may raise botocore's errors; reads can be repeated at any time. ``stage`` is its
    name, which may be that of a construct in another app, and ``prefix`` what the names of its resources begin with.
    ``client`` makes boto3's client for a service, and is not thread-safe for one that is not made yet.
    """

    def __init__(self, stage: str, session: boto3.Session, endpoint_url: str | None) -> None:
        self.stage = stage
        self.prefix = f"video-reclaim-{stage}"

        @cache
        def client(service: Any) -> Any:  # noqa: ANN401 (boto3 types clients by literal names)
            return session.client(service, endpoint_url=endpoint_url, config=_CONFIG)

        self.client = client

    @cached_property
    def publisher(self) -> Described:
        """The configuration of PublishBacklog. Raises OpsError if there is no such stage."""
        name = f"{self.prefix}-PublishBacklog"
        try:
            found: Described = self.client("lambda").get_function_configuration(FunctionName=name)
        except ClientError as exc:
            if _code(exc) != "ResourceNotFoundException":
                raise
            raise OpsError(
                f"There is no stage {self.stage!r} here: no function {name} in this account and region. It is "
                "elsewhere, or its deployment is not complete."
            ) from exc
        return found

    def settings(self, section: type[Section]) -> Section:
        """Return a section of the settings as deployed. Raises OpsError if this version can't read it."""
        try:
            return read(section, self.publisher.get("Environment", {}).get("Variables", {}))
        except InvalidSetting as exc:
            raise OpsError(f"The deployed functions have settings of another version: {exc}") from exc

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource in the stage's account and region."""
        _, partition, _, region, account, *_ = self.publisher["FunctionArn"].split(":")
        return f"arn:{partition}:{service}:{region}:{account}:{resource}"

    # Executions.

    @property
    def machine(self) -> str:
        """ARN of the state machine."""
        return self.arn("states", f"stateMachine:{self.prefix}-reclaim-videos")

    def list_executions(
        self, *, since: datetime | None = None, limit: int | None = None, status: str | None = None
    ) -> list[Execution]:
        """Return executions, newest first, without their outputs; those that were started since a time."""
        given: dict[str, Any] = {"stateMachineArn": self.machine, "maxResults": min(limit or 1000, 1000)}
        if status:
            given["statusFilter"] = status
        found: list[Execution] = []
        for page in self.client("stepfunctions").get_paginator("list_executions").paginate(**given):
            for shown in page["executions"]:
                execution = Execution.described(shown)
                if (since and execution.started < since) or len(found) == limit:
                    return found
                found.append(execution)
        return found

    def execution_arn(self, name_or_arn: str) -> str:
        """Return the ARN of an execution that is given by its name or its ARN."""
        if name_or_arn.startswith("arn:"):
            return name_or_arn
        return f"{self.machine.replace(':stateMachine:', ':execution:')}:{name_or_arn}"

    def describe(self, arn: str) -> Execution:
        """Return one execution with its output. Raises OpsError if there is none."""
        try:
            return Execution.described(self.client("stepfunctions").describe_execution(executionArn=arn))
        except ClientError as exc:
            if _code(exc) not in ("ExecutionDoesNotExist", "InvalidArn"):
                raise
            raise OpsError(f"There is no execution {arn.rpartition(':')[2]}.") from exc

    def describe_all(self, executions: Sequence[Execution]) -> list[Execution]:
        """Return executions with their outputs, in the same order."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda execution: self.describe(execution.arn), executions))

    def last_state(self, arn: str) -> str:
        """Return the name of the state that an execution entered last; '' if the history doesn't tell."""
        asked = {"executionArn": arn, "reverseOrder": True, "maxResults": 50}
        events = self.client("stepfunctions").get_execution_history(**asked)["events"]
        entered = (
            event["stateEnteredEventDetails"] for event in events if "stateEnteredEventDetails" in event
        )
        return str(next((details["name"] for details in entered), ""))

    def start(self, given: Mapping[str, Any]) -> str:
        """Start an execution; return its ARN."""
        text, machine = json.dumps(given), self.machine
        started = self.client("stepfunctions").start_execution(stateMachineArn=machine, input=text)
        return str(started["executionArn"])

    def redrive(self, arn: str) -> None:
        """Continue a failed execution where it failed."""
        self.client("stepfunctions").redrive_execution(executionArn=arn)

    # Logs and alarms.

    def log_lines(self, pattern: str, *, since: timedelta, steps: Sequence[str] = STEPS) -> list[str]:
        """Return the lines that match a filter pattern for JSON, of several functions, in no special order.

        FilterLogEvents searches all lines of the time range: minutes for weeks of a busy stage.
        """
        start_ms = int((datetime.now(UTC) - since).timestamp() * 1000)
        pages = self.client("logs").get_paginator("filter_log_events").paginate

        def of_step(step: str) -> list[str]:
            found = pages(logGroupName=f"/{self.prefix}/{step}", startTime=start_ms, filterPattern=pattern)
            return [event["message"] for page in found for event in page["events"]]

        with ThreadPoolExecutor(len(steps)) as pool:
            return [line for lines in pool.map(of_step, steps) for line in lines]

    def alarms(self) -> dict[str, Described]:
        """Return the stage's alarms by name, without those of a stage whose name begins with this one's."""
        pages = self.client("cloudwatch").get_paginator("describe_alarms")
        pages = pages.paginate(AlarmNamePrefix=f"{self.prefix}-")
        found = [alarm for page in pages for alarm in page["MetricAlarms"]]
        named = {alarm["AlarmName"].removeprefix(f"{self.prefix}-"): alarm for alarm in found}
        return {name: alarm for name, alarm in named.items() if "-" not in name}

    # Queues.

    def dead_letter_queues(self) -> dict[str, str | None]:
        """Return the URLs of the two dead-letter queues by what is in them: starts, and videos if it has one."""
        sqs = self.client("sqs")
        asked = {"QueueUrl": self.settings(Queues).video_url, "AttributeNames": ["RedrivePolicy"]}
        policy = json.loads(
            sqs.get_queue_attributes(**asked).get("Attributes", {}).get("RedrivePolicy", "{}")
        )
        names = {"starts": f"{self.prefix}-undelivered"}
        if target := policy.get("deadLetterTargetArn"):
            names["videos"] = target.rpartition(":")[2]
        found = {what: sqs.get_queue_url(QueueName=name)["QueueUrl"] for what, name in names.items()}
        return {"videos": None, **found}

    def count_messages(self, queue_url: str) -> int:
        """Return about how many messages a queue has that can be received."""
        asked = {"QueueUrl": queue_url, "AttributeNames": ["ApproximateNumberOfMessages"]}
        shown = self.client("sqs").get_queue_attributes(**asked)
        return int(shown["Attributes"]["ApproximateNumberOfMessages"])

    def peek(self, queue_url: str) -> list[Described]:
        """Return up to ten messages of a queue and leave them there, to be received by anybody."""
        asked = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["SentTimestamp"]}
        shown = self.client("sqs").receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, VisibilityTimeout=0, **asked
        )
        return list(shown.get("Messages", []))

    # Fleet, override, schedule.

    def group(self) -> Described | None:
        """Return the worker group as Auto Scaling describes it; None if there is none of that name."""
        names = [self.settings(Workers).group_name]
        shown = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=names)
        return next(iter(shown["AutoScalingGroups"]), None)

    def activities(self, limit: int) -> list[Described]:
        """Return the newest scaling activities of the worker group, newest first."""
        name = self.settings(Workers).group_name
        shown = self.client("autoscaling").describe_scaling_activities(
            AutoScalingGroupName=name, MaxRecords=limit
        )
        return list(shown["Activities"])

    @property
    def _override(self) -> str:
        return self.settings(Scaling).override_parameter

    def override_text(self) -> str | None:
        """Return the text of the override parameter; None if it does not exist."""
        try:
            return str(self.client("ssm").get_parameter(Name=self._override)["Parameter"]["Value"])
        except ClientError as exc:
            if _code(exc) != "ParameterNotFound":
                raise
            return None

    def put_override(self, text: str) -> None:
        """Write the override parameter, in place of any other text."""
        self.client("ssm").put_parameter(Name=self._override, Value=text, Type="String", Overwrite=True)

    def delete_override(self) -> None:
        """Delete the override parameter."""
        self.client("ssm").delete_parameter(Name=self._override)

    def schedule(self) -> Described:
        """Return the schedule."""
        found: Described = self.client("scheduler").get_schedule(Name=f"{self.prefix}-reclaim-videos")
        return found

    def enable_schedule(self, enabled: bool) -> None:
        """Switch the schedule on or off; nothing else of it changes. A repeated call changes nothing."""
        kept = {name: value for name, value in self.schedule().items() if name in SCHEDULE_FIELDS}
        self.client("scheduler").update_schedule(**kept, State="ENABLED" if enabled else "DISABLED")


def _code(exc: ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))
