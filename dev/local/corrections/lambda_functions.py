"""Corrections of Lambda: exceptions and logs of a function."""

# ruff: noqa: ANN401 - ministack's objects have no types

import contextvars
import queue
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

# The line of ministack's Python worker that reports an exception of the handler.
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


def report_exceptions() -> None:
    """Report an exception of a function with its class name and its stack trace.

    AWS returns ``{"errorMessage", "errorType", "requestId", "stackTrace"}``. ``errorType`` is the name of the
    exception class, which Retry and Catch compare. The execution environment stays warm. When the process
    exits, the error is ``Runtime.ExitError``, and the next call gets a new process.
    ("AWS Lambda function errors in Python", Lambda Developer Guide)

    Ministack reports every exception as ``Runtime.HandlerError`` without a stack trace and ends the process.
    """
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(_RAISED, _RAISED_CORRECTED)
    invoke = lambda_runtime.Worker.invoke
    execute_warm = lambda_svc._execute_function_warm
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


# The line of ministack's Python worker that returns a result.
_FINISHED = '_real_stdout.write(json.dumps({"status": "ok", "result": result}) + "\\n")'
_LOG_END = "--- end of the invocation's log ---"


def collect_whole_log() -> None:
    """Collect the log of an invocation to its end.

    On AWS every line belongs to the invocation that wrote it. Ministack stops reading when no line comes for
    5 ms, so on a busy machine a line goes to the next invocation of the same process, or is lost.
    """
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    end = f"; sys.stderr.write({_LOG_END!r} + chr(10)); sys.stderr.flush()"
    for statement in (_FINISHED, _RAISED_CORRECTED):
        script = script.replace(statement, statement + end)
    lambda_runtime._PYTHON_WORKER_SCRIPT = script
    drain = lambda_runtime.Worker._drain_stderr_bounded

    def drain_to_the_end(self: Any, *limits: float, **named_limits: float) -> str:
        if not self.config.get("Runtime", "").startswith("python"):
            return str(drain(self, *limits, **named_limits))
        lines: list[str] = []
        while not lines or lines[-1] != _LOG_END:
            try:
                lines.append(self._stderr_queue.get(timeout=0.05))
            except queue.Empty:
                if not self._stderr_thread.is_alive():  # the process has ended without the last line
                    return "\n".join(lines)
        return "\n".join(lines[:-1])

    lambda_runtime.Worker._drain_stderr_bounded = drain_to_the_end
