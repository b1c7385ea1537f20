"""A deployed stage in AWS: every call that the commands make.

`docs/ops-policy.json` grants exactly these calls.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import ClientError

from ops.errors import OpsError
from ops.executions import Execution
from video_reclaim.errors import InvalidSetting
from video_reclaim.settings import Scaling, read

if TYPE_CHECKING:
    from mypy_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef
    from mypy_boto3_cloudformation.type_defs import StackTypeDef
    from mypy_boto3_cloudwatch.type_defs import MetricAlarmTypeDef
    from mypy_boto3_scheduler.type_defs import GetScheduleOutputTypeDef
    from mypy_boto3_stepfunctions.type_defs import HistoryEventTypeDef

STEPS = ("ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog")
# UpdateSchedule resets every field that it is not given to its default (EventBridge Scheduler API Reference).
SCHEDULE_FIELDS = (
    "ActionAfterCompletion",
    "Description",
    "EndDate",
    "FlexibleTimeWindow",
    "GroupName",
    "KmsKeyArn",
    "Name",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "StartDate",
    "Target",
)
_CONFIG = Config(retries={"mode": "adaptive", "max_attempts": 4}, connect_timeout=5, read_timeout=30)

Section = TypeVar("Section", bound=msgspec.Struct)


class Deployment:
    """One deployed stage.

    Every method makes AWS calls and may raise botocore's errors; reads can be repeated at any time.

    Attributes:
        stage: its name.
        prefix: what the names of its resources begin with.
        stack_name: name of its CloudFormation stack.
    """

    def __init__(self, stage: str, session: boto3.Session, endpoint_url: str | None) -> None:
        self.stage = stage
        self.prefix = f"video-reclaim-{stage}"
        self.stack_name = f"VideoReclaim-{stage}"

        def client(service: Any) -> Any:  # noqa: ANN401 (boto3 types clients by literal names)
            return session.client(service, endpoint_url=endpoint_url, config=_CONFIG)

        self._client = client

    # The stack.

    @cached_property
    def _stack(self) -> "StackTypeDef":
        try:
            stacks: Sequence[StackTypeDef] = self._client("cloudformation").describe_stacks(
                StackName=self.stack_name
            )["Stacks"]
        except ClientError as exc:
            if exc.response.get("Error", {}).get("Code") != "ValidationError":
                raise
            raise OpsError(
                f"There is no stage {self.stage!r} here: no stack {self.stack_name} in this account and region."
            ) from exc
        return stacks[0]

    def output(self, key: str) -> str:
        """Return an output of the CloudFormation stack.

        Raises:
            OpsError: there is no such stack, or it has no such output: its first deployment is not complete, or
                another version made it.
        """
        for output in self._stack.get("Outputs", []):
            if output.get("OutputKey") == key:
                return output.get("OutputValue", "")
        raise OpsError(
            f"The stack {self.stack_name} has no output {key}; its status is {self._stack['StackStatus']}. Its first "
            "deployment is not complete or failed, or another version made it: see its events in CloudFormation, or "
            "deploy this version."
        )

    @cached_property
    def _environment(self) -> Mapping[str, str]:
        name = self.output("PublishBacklogFunction")
        shown = self._client("lambda").get_function_configuration(FunctionName=name)
        environment: Mapping[str, str] = shown.get("Environment", {}).get("Variables", {})
        return environment

    def settings(self, section: type[Section]) -> Section:
        """Return a section of the settings as deployed. Raises OpsError if this version can't read it."""
        try:
            return read(section, self._environment)
        except InvalidSetting as exc:
            raise OpsError(f"The deployed functions have settings of another version: {exc}") from exc

    # Executions.

    @cached_property
    def _executions(self) -> Any:  # noqa: ANN401 (boto3 types clients by literal names)
        return self._client("stepfunctions")

    @property
    def machine(self) -> str:
        """ARN of the state machine. Raises OpsError if the stack has none yet."""
        return self.output("StateMachineArn")

    def list_executions(
        self, *, since: datetime | None = None, limit: int | None = None, status: str | None = None
    ) -> list[Execution]:
        """Return executions, newest first, without their outputs; those that were started since a time."""
        given: dict[str, Any] = {"stateMachineArn": self.machine, "maxResults": min(limit or 1000, 1000)}
        if status:
            given["statusFilter"] = status
        found: list[Execution] = []
        for page in self._executions.get_paginator("list_executions").paginate(**given):
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
            return Execution.described(self._executions.describe_execution(executionArn=arn))
        except ClientError as exc:
            if exc.response.get("Error", {}).get("Code") not in ("ExecutionDoesNotExist", "InvalidArn"):
                raise
            raise OpsError(f"There is no execution {arn.rpartition(':')[2]}.") from exc

    def describe_all(self, executions: Sequence[Execution]) -> list[Execution]:
        """Return executions with their outputs, in the same order."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda execution: self.describe(execution.arn), executions))

    def last_state(self, arn: str) -> str:
        """Return the name of the state that an execution entered last; '' if the history doesn't tell."""
        history: Sequence[HistoryEventTypeDef] = self._executions.get_execution_history(
            executionArn=arn, reverseOrder=True, maxResults=50
        )["events"]
        return next(
            (
                event["stateEnteredEventDetails"]["name"]
                for event in history
                if "stateEnteredEventDetails" in event
            ),
            "",
        )

    def start(self, given: Mapping[str, Any]) -> str:
        """Start an execution; return its ARN."""
        arn: str = self._executions.start_execution(stateMachineArn=self.machine, input=json.dumps(given))[
            "executionArn"
        ]
        return arn

    def redrive(self, arn: str) -> None:
        """Continue a failed execution where it failed."""
        self._executions.redrive_execution(executionArn=arn)

    # Logs and alarms.

    def log_lines(self, pattern: str, *, since: timedelta, steps: Sequence[str] = STEPS) -> list[str]:
        """Return the lines that match a filter pattern for JSON, of several functions, in no special order.

        FilterLogEvents searches all lines of the time range: minutes for weeks of a busy stage.
        """
        start_ms = int((datetime.now(UTC) - since).timestamp() * 1000)

        def of_step(step: str) -> list[str]:
            pages = (
                self._client("logs")
                .get_paginator("filter_log_events")
                .paginate(logGroupName=f"/{self.prefix}/{step}", startTime=start_ms, filterPattern=pattern)
            )
            return [event["message"] for page in pages for event in page["events"]]

        with ThreadPoolExecutor(len(steps)) as pool:
            return [line for lines in pool.map(of_step, steps) for line in lines]

    def ringing_alarms(self) -> "Sequence[MetricAlarmTypeDef]":
        """Return the stage's alarms in state ALARM."""
        pages = (
            self._client("cloudwatch")
            .get_paginator("describe_alarms")
            .paginate(AlarmNamePrefix=f"{self.prefix}-", StateValue="ALARM")
        )
        return [alarm for page in pages for alarm in page["MetricAlarms"]]

    # Fleet, override, schedule.

    def group(self) -> "AutoScalingGroupTypeDef | None":
        """Return the worker group as Auto Scaling describes it; None if there is none of that name."""
        name = self.output("AutoScalingGroupName")
        groups: Sequence[AutoScalingGroupTypeDef] = self._client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[name]
        )["AutoScalingGroups"]
        return groups[0] if groups else None

    @property
    def _override(self) -> str:
        return self.settings(Scaling).override_parameter

    def override_text(self) -> str | None:
        """Return the text of the override parameter; None if it does not exist."""
        try:
            text: str = self._client("ssm").get_parameter(Name=self._override)["Parameter"]["Value"]
        except ClientError as exc:
            if exc.response.get("Error", {}).get("Code") != "ParameterNotFound":
                raise
            return None
        return text

    def put_override(self, text: str) -> None:
        """Write the override parameter, in place of any other text."""
        self._client("ssm").put_parameter(Name=self._override, Value=text, Type="String", Overwrite=True)

    def delete_override(self) -> None:
        """Delete the override parameter."""
        self._client("ssm").delete_parameter(Name=self._override)

    def schedule(self) -> "GetScheduleOutputTypeDef":
        """Return the schedule."""
        found: GetScheduleOutputTypeDef = self._client("scheduler").get_schedule(
            Name=self.output("ScheduleName")
        )
        return found

    def enable_schedule(self, enabled: bool) -> None:
        """Switch the schedule on or off; nothing else of it changes. A repeated call changes nothing."""
        found = self.schedule()
        kept: dict[str, Any] = {name: value for name, value in found.items() if name in SCHEDULE_FIELDS}
        self._client("scheduler").update_schedule(**kept, State="ENABLED" if enabled else "DISABLED")
