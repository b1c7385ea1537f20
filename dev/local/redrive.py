"""RedriveExecution, for ministack's Step Functions.

On AWS a redrive continues a failed, aborted or timed-out execution ("Restarting state machine executions with
redrive", Step Functions Developer Guide): finished states keep their results; states that were entered but
not finished run again, with new retry attempts and new timeouts. Ministack has no RedriveExecution.

Here every finished state is recorded with its output, its successor and the variables, in order: those at the top, and
those of each item of a Map. A redrive walks the same execution again. A recorded state returns what was recorded,
without running; then the others run. Therefore a Map that had not finished is entered again, and its unfinished items
continue at the state that failed; a caught error belongs to a finished state and is not tried again; a Fail state fails
again.

Limits: the records are in memory, as ministack's executions are. A Map inside a Map, Parallel states, retries of a Map,
client tokens, the limits of age and length of an execution and the TimeoutSeconds of a state machine are missing, and a
redrive uses the newest definition. An unfinished Map evaluates its items again. The history has recorded states again.
When an iteration of a Map fails and nothing catches it, AWS stops the other iterations, so a redrive there may run more
of them. A stopped execution must not be redriven before the state that it was in has ended.
"""

# ruff: noqa: ANN401 - ministack's objects have no types

import contextvars
import copy
import json
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from ministack.core.responses import error_response_json, json_response, now_iso
from ministack.services import stepfunctions as sf

Place = tuple[int, int] | None
"""Where a state is: at the top (None), or in an item of the Map that follows so many states at the top."""


@dataclass
class _Journal:
    """The finished states of an execution, in order, by their place."""

    finished: defaultdict[Place, list[Any]] = field(default_factory=lambda: defaultdict(list))
    passed: Counter[Place] = field(default_factory=Counter)  # how many of them the present run has passed
    redrives: int = 0


_journals: dict[str, _Journal] = {}
"""By the ARN of the execution."""


def install() -> None:
    """Install redrive, once, before the emulator serves."""
    for kind in ("pass", "task", "choice", "wait", "map"):
        _wrap(f"_execute_{kind}", _record)
    _wrap("_describe_execution", _with_redrives)
    _wrap("_list_executions", _with_redrives)
    _wrap("handle_request", _route)


def _wrap(name: str, wrapper: Any) -> None:
    setattr(sf, name, wrapper(getattr(sf, name)))


def _record(execute: Any) -> Any:
    """Wrap the handler of a state type: ``execute(state, input, [execution,] context) -> output, next``."""

    def handle(state: dict[str, Any], raw_input: Any, *rest: Any) -> tuple[Any, str | None]:
        context = rest[-1]
        journal = _journals.setdefault(context["Execution"]["Id"], _Journal())
        context["Execution"]["RedriveCount"] = journal.redrives
        place = (journal.passed[None], context["Map"]["Item"]["Index"]) if "Map" in context else None
        finished = journal.finished[place]
        if journal.passed[place] < len(finished):
            output, successor, variables = copy.deepcopy(finished[journal.passed[place]])
            context["variables"].update(variables)
        else:
            output, successor = execute(state, raw_input, *rest)
            finished.append(copy.deepcopy((output, successor, context["variables"])))
        journal.passed[place] += 1
        return output, successor

    return handle


def _route(handle_request: Any) -> Any:
    """Wrap the request handler: serve RedriveExecution."""

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return sf._finalize_response(_redrive(json.loads(body)["executionArn"]))
        return await handle_request(method, path, headers, body, query)

    return handle


def _redrive(arn: str) -> Any:
    execution = sf._executions.get(arn)
    if execution is None:
        return error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
    if reason := _why_not_redrivable(execution):
        return error_response_json("ExecutionNotRedrivable", reason, 400)
    journal = _journals.setdefault(arn, _Journal())
    journal.redrives += 1
    journal.passed.clear()
    execution.update(status="RUNNING", stopDate=None, output=None, error=None, cause=None)
    sf._add_event(
        execution,
        "ExecutionRedriven",
        {"executionRedrivenEventDetails": {"redriveCount": journal.redrives}},
    )
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
            execution["redriveCount"] = _journals.get(execution["executionArn"], _Journal()).redrives
            reason = _why_not_redrivable(execution)
            execution["redriveStatus"] = "NOT_REDRIVABLE" if reason else "REDRIVABLE"
            if reason:
                execution["redriveStatusReason"] = reason
        return json_response(shown)

    return answer_with_redrives
