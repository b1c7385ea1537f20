"""What ministack does otherwise than AWS, put right where the project would notice.

Each correction is one function: its docstring says what AWS does and what ministack did instead. They reach
into ministack's internals, so each names the source it was written against (`reviewed`): with another version
of ministack the emulator does not start before somebody has read that source again.

What stays different, to be avoided or tested elsewhere:

- Retry ignores MaxDelaySeconds and JitterStrategy, and waits a minute at most.
- When one iteration of a Map fails uncaught, AWS stops the others; here they run to their end.
- What happens inside a Map leaves no StateEntered and no StateExited in the history.
- A state machine's own role is never enforced; a function's is, with AUTH=true.
- A definition is not validated when a state machine is made.
- A workflow variable that bears the name of a JSONata function (``count``) hides that function.
- A TimeoutSeconds expression that can't be evaluated is not caught by the state's Catch.
- A Task takes a string of JSON that its function returns for the value that it spells.
- A module that can't be imported is a ``RuntimeError``; on AWS, a ``Runtime.ImportModuleError``.
- GetMetricData without ScanBy is ascending; on AWS, descending.
- Functions find the packages of this interpreter beside those of their layers.
"""

# ruff: noqa: ANN401 - what ministack hands around has no types

import contextvars
import functools
import hashlib
import inspect
import json
import re
import subprocess
import threading
import time
import types
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from ministack import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.responses import _service_model, new_uuid, now_iso
from ministack.services import autoscaling, cloudwatch, eventbridge, lambda_svc, scheduler
from ministack.services import stepfunctions as sf

_ALARM_TICK_S = 1
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


class EmulatorChanged(RuntimeError):
    """Ministack is not the version that a correction was written against."""


def fingerprint(source: str) -> str:
    """Return what `reviewed` compares: it changes with any character of ``source``."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def reviewed(owner: Any, name: str, expected: str) -> Any:
    """Return ``owner.name``, a function of ministack that a correction is about to replace.

    Raises:
        EmulatorChanged: its source is not the one with the fingerprint ``expected``.
    """
    found = getattr(owner, name, None)
    seen = fingerprint(inspect.getsource(found)) if callable(found) else "missing"
    if seen != expected:
        raise EmulatorChanged(
            f"ministack's {owner.__name__}.{name} is {seen}, corrected was {expected}: "
            "read it again, mend the correction, then write the new fingerprint down"
        )
    return found


def apply() -> None:
    """Put all corrections in place, once, before the emulator serves.

    Raises:
        EmulatorChanged: ministack is another version than the one they were written against.
    """
    lambda_exceptions()
    lambda_environment()
    task_timeouts()
    sdk_autoscaling()
    sdk_error_names()
    desired_capacity_bounds()
    alarm_evaluation()
    scheduler_attributes()
    scheduler_punctuality()
    sqs_batch_permissions()
    secure_transport()
    metric_namespace_condition()


# The worker's own words for a handler that raised.
_RAISED = (
    '_real_stdout.write(json.dumps({"status": "error", "error": str(e), '
    '"trace": traceback.format_exc()}) + "\\n")'
)
_RAISED_CORRECTED = (
    "traceback.print_exc(); "
    '_real_stdout.write(json.dumps({"status": "ok", "result": None, "exception": {'
    '"errorMessage": str(e), "errorType": type(e).__name__, "requestId": context.aws_request_id, '
    '"stackTrace": traceback.format_list(traceback.extract_tb(e.__traceback__)[1:])}}) + "\\n")'
)


def lambda_exceptions() -> None:
    """Let a function's exception keep its class name and its stack.

    AWS answers ``{"errorMessage", "errorType", "requestId", "stackTrace"}`` with the exception's class name
    as errorType, which is what Retry and Catch compare; the environment stays warm. A process that exits is
    ``Runtime.ExitError``, and the next call finds a new one.

    Ministack called all of them ``Runtime.HandlerError``, without a stack, and ended the process each time.
    """
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if script.count(_RAISED) != 1:
        raise EmulatorChanged("ministack's Python worker reports exceptions in another way")
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(_RAISED, _RAISED_CORRECTED)

    invoke = reviewed(lambda_runtime.Worker, "invoke", "96751a754710")
    execute_warm = reviewed(lambda_svc, "_execute_function_warm", "62b9218bef5b")
    raised: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("raised", default=None)

    def worker_invoke(self: Any, event: Any, request_id: str, **rest: Any) -> dict[str, Any]:
        response: dict[str, Any] = invoke(self, event, request_id, **rest)
        exception = response.pop("exception", None)
        if response.get("error") == "Worker process died":
            exception = {
                "errorMessage": f"RequestId: {request_id} Error: Runtime exited",
                "errorType": "Runtime.ExitError",
            }
        raised.set(exception)
        return response

    def execute_function_warm(function: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        raised.set(None)
        result: dict[str, Any] = execute_warm(function, event, request_id)
        exception = raised.get()
        return result if exception is None else {**result, "body": exception, "error": True}

    lambda_runtime.Worker.invoke = worker_invoke
    lambda_svc._execute_function_warm = execute_function_warm


def lambda_environment() -> None:
    """Give a function its own environment variables and Lambda's, and nothing else.

    On AWS a function sees what its configuration and Lambda set. Ministack handed down its own environment
    as well, so that code could work here by a variable that it lacks on AWS.
    """
    reviewed(lambda_runtime.Worker, "_spawn", "c55febf95656")
    inherited = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    made_by_ministack = re.compile(r"AWS_|_?LAMBDA_|_MINISTACK_")

    def popen(command: list[str], *, env: dict[str, str], **rest: Any) -> subprocess.Popen[str]:
        # The worker sets the function's own variables itself, before it imports the function.
        kept = {n: v for n, v in env.items() if n in inherited or made_by_ministack.match(n)}
        return subprocess.Popen(command, env=kept | {"TZ": ":UTC"}, **rest)

    lambda_runtime.subprocess = types.SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE)


def task_timeouts() -> None:
    """Let a Task's TimeoutSeconds be a JSONata expression.

    On AWS it may be one that gives a positive integer. Ministack took a number only, and an expression ended
    the execution with a Python error.
    """
    execute_task = reviewed(sf, "_execute_task", "53c818d247db")

    @functools.wraps(execute_task)
    def execute_task_with_timeout(state: dict[str, Any], raw_input: Any, execution: Any, ctx: Any) -> Any:
        if isinstance(state.get("TimeoutSeconds"), str):
            seconds = sf._jsonata_state_field(state, "TimeoutSeconds", "number", raw_input, ctx)
            state = {**state, "TimeoutSeconds": seconds}
        return execute_task(state, raw_input, execution, ctx)

    sf._execute_task = execute_task_with_timeout


def sdk_autoscaling() -> None:
    """Let a Task call Auto Scaling by ``arn:aws:states:::aws-sdk:autoscaling:…``.

    AWS offers every service there. Ministack left this one out, though it serves its API.
    """
    if "autoscaling" in sf._AWS_SDK_SERVICE_MAP:
        raise EmulatorChanged("ministack knows aws-sdk:autoscaling by itself")
    sf._AWS_SDK_SERVICE_MAP["autoscaling"] = {"protocol": "query"}
    sf._AWS_SDK_ERROR_PREFIX["autoscaling"] = "AutoScaling"


def sdk_error_names() -> None:
    """Name the errors of ``aws-sdk`` tasks as AWS does, after the exception classes of its Java SDK.

    An error that the service's model lists is ``Ssm.ParameterNotFoundException``, whatever its code; any
    other is the service's own ``AutoScaling.AutoScalingException``, with the code's words in the cause.
    Ministack gave the bare code, and for XML answers with a namespace neither code nor message.
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


def desired_capacity_bounds() -> None:
    """Refuse a desired capacity outside the group's bounds.

    AWS answers ValidationError for less than MinSize or more than MaxSize. Ministack took any number.
    """
    accept = reviewed(autoscaling, "_set_desired_capacity", "92adf9a89b2f")

    def set_desired_capacity(parameters: dict[str, Any]) -> Any:
        group = autoscaling._asgs.get(autoscaling._p(parameters, "AutoScalingGroupName"))
        desired = autoscaling._p(parameters, "DesiredCapacity")
        if group and desired:
            for beyond, side, bound in (
                (int(desired) > group["MaxSize"], "above max", group["MaxSize"]),
                (int(desired) < group["MinSize"], "below min", group["MinSize"]),
            ):
                if beyond:
                    refused = f"New SetDesiredCapacity value {desired} is {side} value {bound}"
                    return autoscaling._error("ValidationError", f"{refused} for the AutoScalingGroup.")
        return accept(parameters)

    autoscaling._ACTION_MAP["SetDesiredCapacity"] = set_desired_capacity


def alarm_evaluation() -> None:
    """Evaluate metric alarms as AWS does, by the clock.

    AWS looks every period at the alarm's own dimensions, over EvaluationPeriods periods of which
    DatapointsToAlarm must breach, and treats absent ones as TreatMissingData says. Ministack looked only when
    a metric was put, over all dimensions at once, as one period, and never at absent data.
    """
    reviewed(cloudwatch, "_evaluate_alarm", "a0b0acd3d432")

    def evaluate(alarm: dict[str, Any]) -> None:
        if not alarm.get("MetricName"):
            return  # metric math, or an alarm over alarms
        old, new = alarm["StateValue"], _alarm_state(alarm, now_s=time.time())
        if new != old:
            reason = f"Threshold Crossed: {alarm['ComparisonOperator']} {alarm['Threshold']}"
            alarm.update(StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
            cloudwatch._record_history(alarm["AlarmName"], old, new, reason)
            cloudwatch._dispatch_alarm_actions(alarm, old, new, reason)
            cloudwatch._evaluate_parent_alarms(alarm)

    def clock() -> None:
        while True:
            time.sleep(_ALARM_TICK_S)
            cloudwatch._evaluate_all_alarms()

    cloudwatch._evaluate_alarm = evaluate
    threading.Thread(target=clock, daemon=True, name="alarm-clock").start()


def _alarm_state(alarm: dict[str, Any], *, now_s: float) -> str:
    dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm.get("Dimensions") or []))
    points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions)) or []
    period_s = int(alarm.get("Period", 60))
    periods = int(alarm.get("EvaluationPeriods", 1))
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
    when_missing = alarm.get("TreatMissingData") or "missing"
    breaches = known = 0
    for start_s in (int(now_s // period_s - back) * period_s for back in range(periods)):
        within = [point for point in points if start_s <= point["Timestamp"] < start_s + period_s]
        if within:
            value = cloudwatch._stat_value(cloudwatch._calc_stats(within), statistic, within)
            known += 1
            breaches += _COMPARISONS[alarm["ComparisonOperator"]](value, alarm["Threshold"])
        elif when_missing == "breaching":
            breaches += 1
    if breaches >= int(alarm.get("DatapointsToAlarm") or periods):
        return "ALARM"
    if known or when_missing in ("breaching", "notBreaching"):
        return "OK"
    return str(alarm["StateValue"]) if when_missing == "ignore" else "INSUFFICIENT_DATA"


def scheduler_attributes() -> None:
    """Substitute ``<aws.scheduler.…>`` in a schedule's target input.

    AWS fills in schedule-arn, scheduled-time, execution-id and attempt-number at each delivery. Ministack
    delivered the placeholders.
    """
    invoke_target = reviewed(eventbridge, "_invoke_target", "550e304af080")

    def invoke_scheduled_target(target: dict[str, Any], event: dict[str, Any], *rest: Any) -> Any:
        given = target.get("Input") or ""
        if event.get("Source") == "aws.scheduler" and "<aws.scheduler." in given:
            attributes = {
                "schedule-arn": event["Resources"][0],
                "scheduled-time": now_iso(),
                "execution-id": new_uuid(),
                "attempt-number": "1",
            }
            filled = re.sub(r"<aws\.scheduler\.([a-z-]+)>", lambda m: attributes.get(m[1], m[0]), given)
            target = {**target, "Input": filled}
        return invoke_target(target, event, *rest)

    eventbridge._invoke_target = invoke_scheduled_target


def scheduler_punctuality() -> None:
    """Look every second for schedules that are due.

    EventBridge Scheduler starts a schedule in the minute that it is due, mostly at its beginning. Ministack
    looked every ten seconds, so that a rate of a minute drifted by up to as many.
    """
    if vars(scheduler).get("_SCHEDULE_TICK_INTERVAL") != 10:
        raise EmulatorChanged("ministack's scheduler no longer looks every 10 s: read it again")
    scheduler._SCHEDULE_TICK_INTERVAL = 1


def sqs_batch_permissions() -> None:
    """Ask a batch call's caller for the permission of the single call.

    On AWS SendMessageBatch needs ``sqs:SendMessage``, and likewise for deleting and changing visibility;
    there are no actions of the batches' names. Ministack asked for those.
    """
    extract = reviewed(iam_actions, "extract_iam_action", "ec476b92d969")

    def extract_iam_action(*arguments: Any, **named: Any) -> str | None:
        action: str | None = extract(*arguments, **named)
        return action and re.sub(r"^(sqs:.+)Batch$", r"\1", action)

    iam_actions.extract_iam_action = extract_iam_action


def secure_transport() -> None:
    """Let requests count as encrypted, as all are that reach AWS from its SDKs.

    Buckets and queues carry policies that deny whatever comes without TLS. Here requests stay on this
    machine, in the clear, so that with AUTH=true such a policy denied everything, and the CDK CLI failed.
    """
    pin = reviewed(iam_evaluator, "pin_request_origin", "de819c1bd9ac")

    def pin_encrypted_origin(source_ip: str, _encrypted: bool) -> None:
        pin(source_ip, True)

    app.pin_request_origin = pin_encrypted_origin


def metric_namespace_condition() -> None:
    """Give policies the condition key ``cloudwatch:namespace``.

    On AWS a grant of PutMetricData can be held to a namespace. Ministack never filled the key in, so that
    with AUTH=true such a grant allowed nothing.
    """
    context = reviewed(iam_actions, "request_tag_context", "d46adb816e02")

    def request_context(service: str, action: str, body: bytes, params: dict[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = context(service, action, body, params)
        if action == "cloudwatch:PutMetricData":
            given["cloudwatch:namespace"] = _metric_namespace(body)
        return given

    iam_actions.request_tag_context = request_context


def _metric_namespace(body: bytes) -> str:
    """Read the namespace from a PutMetricData, whose body is JSON or, of old, a form."""
    if body.startswith(b"{"):
        return str(json.loads(body).get("Namespace", ""))
    return parse_qs(body.decode()).get("Namespace", [""])[0]
