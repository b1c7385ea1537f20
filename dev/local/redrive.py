"""RedriveExecution, for ministack's Step Functions.

On AWS a redrive continues a failed, aborted or timed-out execution ("Restarting state machine executions with
redrive", Step Functions Developer Guide): finished states keep their results; states that were entered but
not finished run again, with new retry attempts and new timeouts. Ministack has no RedriveExecution.

Here every finished state is recorded with its output, its successor and the variables. The key is the state's name,
the number of its visit (a workflow may loop), and its place: the visits of the Maps around it, with the item. A
redrive walks the same execution again. A recorded state returns what was recorded, without running; any other state
runs. Therefore a Map that had not finished is entered again, and its unfinished items continue at the state that
failed; a caught error belongs to a finished state and is not tried again; a Fail state fails again.

Limits: the records are in memory, as ministack's executions are. Parallel states, retries of a Map, client tokens, the
limits of age and length of an execution and the TimeoutSeconds of a state machine are missing, and a redrive uses the
newest definition. An unfinished Map evaluates its items again. The history has recorded states again. When an iteration
of a Map fails and nothing catches it, AWS stops the other iterations, so a redrive there may run more of them. What a
stopped execution is doing goes on until the state at the top has finished.
"""

# ruff: noqa: ANN401 - ministack's objects have no types

import contextvars
import copy
import json
import threading
from collections import Counter
from typing import Any

from ministack.core.responses import error_response_json, json_response, now_iso
from ministack.services import stepfunctions as sf

Place = tuple[object, ...]
Visit = tuple[Place, str, int]
Finished = dict[Visit, tuple[Any, str | None, dict[str, Any]]]


class _Attempt:
    """One run of an execution: the first, or a redrive of an earlier attempt."""

    def __init__(self, redrives: int, recorded: Finished) -> None:
        self.redrives, self.recorded = redrives, recorded
        self.finished = dict(recorded)
        self._visits: Counter[tuple[Place, str]] = Counter()

    def visit(self, place: Place, name: str) -> Visit:
        """Count a visit of a state; only one thread is at a place."""
        self._visits[place, name] += 1
        return place, name, self._visits[place, name]


_attempts: dict[str, _Attempt] = {}
"""The newest attempt of each execution, by ARN."""
_attempt: contextvars.ContextVar[_Attempt] = contextvars.ContextVar("attempt")
"""The attempt that this thread works for."""
_place: contextvars.ContextVar[Place] = contextvars.ContextVar("place")
"""Where the states are that this thread runs next: the visits of Maps, each followed by the item; () at the top."""


def install() -> None:
    """Install redrive, once, before the emulator serves."""
    for kind in ("pass", "task", "choice", "wait", "map"):
        _wrap(f"_execute_{kind}", _record)
    _wrap("_run_sub_machine", _place_item)
    _wrap("_run_execution", _begin)
    _wrap("_describe_execution", _with_redrives)
    _wrap("_list_executions", _with_redrives)
    _wrap("handle_request", _route)


def _wrap(name: str, wrapper: Any) -> None:
    setattr(sf, name, wrapper(getattr(sf, name)))


def _record(execute: Any) -> Any:
    """Wrap the handler of a state type: ``execute(state, input, [execution,] context) -> output, next``."""

    def handle(state: dict[str, Any], raw_input: Any, *rest: Any) -> tuple[Any, str | None]:
        attempt, context = _attempt.get(), rest[-1]
        context["Execution"]["RedriveCount"] = attempt.redrives
        visit = place, name, number = attempt.visit(_place.get(), context["State"]["Name"])
        if visit in attempt.recorded:
            output, successor, variables = copy.deepcopy(attempt.recorded[visit])
            context["variables"].update(variables)
            return output, successor
        token = _place.set((*place, (name, number)))
        try:
            output, successor = execute(state, raw_input, *rest)
        finally:
            _place.reset(token)
        attempt.finished[visit] = copy.deepcopy((output, successor, context["variables"]))
        return output, successor

    return handle


def _place_item(run_sub_machine: Any) -> Any:
    """Wrap what runs one item of a Map: give it a place of its own."""

    def run(states: Any, start_at: str, given: Any, execution: Any, context: dict[str, Any]) -> Any:
        token = _place.set((*_place.get(), context["Map"]["Item"]["Index"]))
        try:
            # Items share the context of the Map, and each writes its State into it.
            return run_sub_machine(states, start_at, given, execution, {**context})
        finally:
            _place.reset(token)

    return run


def _begin(run_execution: Any) -> Any:
    """Wrap what runs an execution, in a thread of its own."""

    def run(arn: str) -> None:
        _attempt.set(_attempts.setdefault(arn, _Attempt(0, {})))
        _place.set(())
        run_execution(arn)

    return run


def _route(handle_request: Any) -> Any:
    """Wrap the request handler: serve RedriveExecution."""

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return sf._finalize_response(_redrive(json.loads(body)["executionArn"]))
        return await handle_request(method, path, headers, body, query)

    return handle


def _redrive(arn: str) -> Any:
    execution, earlier = sf._executions.get(arn), _attempts.get(arn)
    if execution is None or earlier is None:
        return error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
    if reason := _why_not_redrivable(execution):
        return error_response_json("ExecutionNotRedrivable", reason, 400)
    _attempts[arn] = _Attempt(earlier.redrives + 1, earlier.finished)
    # A copy, so that a thread of the earlier attempt, which may still run, ends nothing but that.
    execution = {**execution, "events": [*execution["events"]]}
    execution.update(status="RUNNING", stopDate=None, output=None, error=None, cause=None)
    sf._executions[arn] = execution
    details = {"executionRedrivenEventDetails": {"redriveCount": _attempts[arn].redrives}}
    sf._add_event(execution, "ExecutionRedriven", details)
    sf._emit_execution_status_event(execution)
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(sf._run_execution, arn), daemon=True).start()
    return json_response({"redriveDate": now_iso()})


def _why_not_redrivable(execution: dict[str, Any]) -> str | None:
    """Return AWS's reason why an execution can't be redriven; None if it can."""
    if execution["status"] in ("FAILED", "ABORTED", "TIMED_OUT"):
        return None
    return f"Execution is {execution['status']} and cannot be redriven"


def _with_redrives(answer: Any) -> Any:
    """Wrap DescribeExecution or ListExecutions: say how often an execution was redriven, and whether it can be."""

    def answer_with_redrives(request: dict[str, Any]) -> Any:
        status, headers, body = answer(request)
        if status != 200:
            return status, headers, body
        shown = json.loads(body)
        for execution in shown.get("executions", [shown]):
            attempt = _attempts.get(execution["executionArn"])
            execution["redriveCount"] = attempt.redrives if attempt else 0
            reason = _why_not_redrivable(execution)
            execution["redriveStatus"] = "NOT_REDRIVABLE" if reason else "REDRIVABLE"
            if reason:
                execution["redriveStatusReason"] = reason
        return json_response(shown)

    return answer_with_redrives
