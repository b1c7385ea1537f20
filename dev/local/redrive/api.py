"""The API: RedriveExecution, and what DescribeExecution and ListExecutions say of redrives.

Messages follow RedriveExecution and DescribeExecution in the Step Functions API Reference.
"""

# ruff: noqa: ANN401 - ministack's objects have no types

import contextvars
import json
import threading
from typing import Any

from ministack.core.responses import error_response_json, json_response, now_iso
from ministack.services import stepfunctions as sf

from dev.local.redrive.journal import Journal, journals


def route_redrive(handle_request: Any) -> Any:
    """Wrap the request handler: serve RedriveExecution, which ministack lacks."""

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return sf._finalize_response(_redrive(json.loads(body or b"{}")))
        return await handle_request(method, path, headers, body, query)

    return handle


def _redrive(request: dict[str, Any]) -> Any:
    arn = request.get("executionArn", "")
    execution, journal = sf._executions.get(arn), journals.get(arn)
    if execution is None:
        return error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
    reason = why_not_redrivable(execution, journal)
    if journal is None or reason:
        return error_response_json("ExecutionNotRedrivable", reason, 400)
    journal.redrives += 1
    journal.redriven_at = now_iso()
    journal.attempt = None
    execution.update(status="RUNNING", stopDate=None, output=None, error=None, cause=None)
    details = {"executionRedrivenEventDetails": {"redriveCount": journal.redrives}}
    sf._add_event(execution, "ExecutionRedriven", details)
    sf._emit_execution_status_event(execution)
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(sf._run_execution, arn), daemon=True).start()
    return json_response({"redriveDate": journal.redriven_at})


def why_not_redrivable(execution: dict[str, Any], journal: Journal | None) -> str | None:
    """Return AWS's reason why an execution can't be redriven; None if it can."""
    if journal is None:
        return "Only a Standard execution can be redriven"
    if execution["status"] not in ("FAILED", "ABORTED", "TIMED_OUT"):
        return f"Execution is {execution['status']} and cannot be redriven"
    return None


def describe_with_redrives(describe_execution: Any) -> Any:
    """Wrap DescribeExecution: add redriveCount, redriveDate and redriveStatus with its reason."""

    def describe(request: dict[str, Any]) -> Any:
        status, headers, body = describe_execution(request)
        if status != 200:
            return status, headers, body
        arn = request["executionArn"]
        journal = journals.get(arn)
        reason = why_not_redrivable(sf._executions[arn], journal)
        shown = json.loads(body) | _redrive_fields(journal)
        shown["redriveStatus"] = "NOT_REDRIVABLE" if reason else "REDRIVABLE"
        if reason:
            shown["redriveStatusReason"] = reason
        return json_response(shown)

    return describe


def list_with_redrives(list_executions: Any) -> Any:
    """Wrap ListExecutions: add redriveCount and redriveDate to each execution."""

    def list_(request: dict[str, Any]) -> Any:
        status, headers, body = list_executions(request)
        if status != 200:
            return status, headers, body
        shown = json.loads(body)
        for execution in shown["executions"]:
            execution.update(_redrive_fields(journals.get(execution["executionArn"])))
        return json_response(shown)

    return list_


def _redrive_fields(journal: Journal | None) -> dict[str, Any]:
    if journal is None or not journal.redrives:
        return {"redriveCount": 0}
    return {"redriveCount": journal.redrives, "redriveDate": journal.redriven_at}
