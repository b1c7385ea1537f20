"""Corrections of Step Functions: inputs, tasks and their errors."""

# ruff: noqa: ANN401 - ministack's objects have no types

import functools
import json
import xml.etree.ElementTree as ET
from typing import Any

from ministack.core.responses import _service_model, error_response_json
from ministack.services import stepfunctions as sf

from dev.local.corrections.review import EmulatorChanged, reviewed

_MOST_BYTES = 262_144


def refuse_invalid_input() -> None:
    """Refuse to start an execution whose input isn't JSON.

    AWS returns InvalidExecutionInput, "The provided JSON input data is not valid" (StartExecution and
    StartSyncExecution, Step Functions API Reference). Ministack starts the execution, which then fails.
    """
    for name, expected in (("_start_execution", "9923282fc76c"), ("_start_sync_execution", "8600470a0208")):
        setattr(sf, name, _with_valid_input(reviewed(sf, name, expected)))


def _with_valid_input(start_execution: Any) -> Any:
    @functools.wraps(start_execution)
    def start(request: dict[str, Any]) -> Any:
        try:
            json.loads(request.get("input", "{}"), parse_constant=_refuse_constant)
        except ValueError as exc:
            message = f"Invalid State Machine Execution Input: '{exc}'"
            return error_response_json("InvalidExecutionInput", message, 400)
        return start_execution(request)

    return start


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")  # Python's parser accepts NaN and Infinity


def evaluate_task_timeouts() -> None:
    """Accept a JSONata expression as the TimeoutSeconds of a Task.

    AWS accepts an expression that evaluates to a positive integer ("Task workflow state", Step Functions
    Developer Guide). Ministack accepts only a number; an expression ends the execution with a Python error.
    """
    execute_task = reviewed(sf, "_execute_task", "53c818d247db")

    @functools.wraps(execute_task)
    def execute_task_with_timeout(state: dict[str, Any], raw_input: Any, execution: Any, ctx: Any) -> Any:
        if isinstance(state.get("TimeoutSeconds"), str):
            seconds = sf._jsonata_state_field(state, "TimeoutSeconds", "number", raw_input, ctx)
            state = {**state, "TimeoutSeconds": seconds}
        return execute_task(state, raw_input, execution, ctx)

    sf._execute_task = execute_task_with_timeout


def limit_task_results() -> None:
    """Fail a Task whose result is larger than 256 KiB with States.DataLimitExceeded.

    So AWS answers (recorded: `dev.testing.recorded`; "Quotas related to state machine executions", Step Functions
    Developer Guide). Ministack has no limit.
    """
    invoke_resource = reviewed(sf, "_invoke_resource", "a85d2be9a858")

    @functools.wraps(invoke_resource)
    def invoke_limited(resource: str, data: Any) -> Any:
        result = invoke_resource(resource, data)
        if len(json.dumps(result).encode()) > _MOST_BYTES:
            cause = "returned a result with a size exceeding the maximum number of bytes service limit."
            raise sf._ExecutionError("States.DataLimitExceeded", f"The state/task '{resource}' {cause}")
        return result

    sf._invoke_resource = invoke_limited


def give_no_cause_of_timeouts() -> None:
    """Leave the cause of States.Timeout empty, as AWS does (recorded: `dev.testing.recorded`)."""
    invoke_in_time = reviewed(sf, "_invoke_resource_with_timeout", "faeed0bf70d5")

    @functools.wraps(invoke_in_time)
    def invoke(resource: str, data: Any, timeout: float) -> Any:
        try:
            return invoke_in_time(resource, data, timeout)
        except sf._ExecutionError as exc:
            if exc.error == "States.Timeout":
                raise sf._ExecutionError("States.Timeout", "") from exc
            raise

    sf._invoke_resource_with_timeout = invoke


def add_autoscaling_tasks() -> None:
    """Support tasks that call Auto Scaling: ``arn:aws:states:::aws-sdk:autoscaling:…``.

    AWS supports them ("Learning to use AWS service SDK integrations", Step Functions Developer Guide).
    Ministack serves the Auto Scaling API, but not to tasks.
    """
    if "autoscaling" in sf._AWS_SDK_SERVICE_MAP:
        raise EmulatorChanged("ministack itself supports aws-sdk:autoscaling now")
    sf._AWS_SDK_SERVICE_MAP["autoscaling"] = {"protocol": "query"}
    sf._AWS_SDK_ERROR_PREFIX["autoscaling"] = "AutoScaling"


def name_sdk_errors() -> None:
    """Name the errors of ``aws-sdk`` tasks after the exception classes of the AWS SDK for Java.

    On AWS an error that the service's model lists has the name of its class, such as
    ``Ssm.ParameterNotFoundException``. Any other error has the name of the service's base class, such as
    ``AutoScaling.AutoScalingException``; its cause contains the error code. Ministack uses the plain error
    code, and for XML responses with a namespace neither code nor message.
    """
    prefixed = reviewed(sf, "_prefix_sdk_error", "dc105d4294e0")
    dispatch_query = reviewed(sf, "_dispatch_aws_sdk_query", "951869397cfd")

    def prefix_sdk_error(service: str, code: str) -> str:
        if code.startswith("States."):
            return code
        model = _service_model(sf._AWS_SDK_SERVICE_MAP[service].get("service_key", service))
        if model is None:
            return str(prefixed(service, code))
        code = code.rsplit("#", 1)[-1]
        known = {n: s.name for s in model.error_shapes for n in (s.name, s.error_code)}
        prefix = sf._AWS_SDK_ERROR_PREFIX.get(service, service.capitalize())
        return f"{prefix}.{_java_exception(known.get(code, prefix))}"

    def dispatch_aws_sdk_query(info: Any, service: str, action: str, data: Any) -> Any:
        try:
            return dispatch_query(info, service, action, data)
        except sf._ExecutionError as exc:
            if not exc.cause.lstrip().startswith("<"):
                raise
            answer = ET.fromstring(exc.cause)
            code = answer.findtext("{*}Error/{*}Code", "")
            raise sf._ExecutionError(
                prefix_sdk_error(service, code), f"{answer.findtext('{*}Error/{*}Message', '')} ({code})"
            ) from None

    sf._prefix_sdk_error = prefix_sdk_error
    sf._dispatch_aws_sdk_query = dispatch_aws_sdk_query


def _java_exception(shape: str) -> str:
    return shape.removesuffix("Fault").removesuffix("Exception") + "Exception"
