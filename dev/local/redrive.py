"""RedriveExecution, and the timeout of a whole state machine, for ministack's Step Functions.

AWS takes up a failed, aborted or timed-out execution where it stood: what finished keeps its result, what
was entered and never left runs again, with a fresh budget of retries and fresh timeouts. Ministack has
neither this nor a machine's TimeoutSeconds.

Here every state that finishes is written into a journal, by its place: the Maps' items and Parallels'
branches around it, its name, and which visit it was, as a workflow may loop. A redrive walks the same
execution again, by the definition it started with: a state found in the journal hands over its recorded
output, successor and variables without running; any other runs. So:

- a Map or Parallel that had not finished is entered again, and in it the iterations and branches that
  finished cost nothing, while the others resume at the state that failed;
- an error that was caught is a finished state, and stays as it was;
- a Fail state fails again.

Limits: the journal lives in memory, as ministack's executions do. An unfinished Map evaluates its items
again, which differs only where they depend on the clock or on chance. When one iteration of a Map fails
uncaught, AWS stops the others, so that a redrive there may run more of them than here, where they end by
themselves. A Map that fails with States.DataLimitExceeded runs again as a whole on AWS; here no state exceeds
a limit. Express workflows, children of Distributed Maps and the status events on EventBridge know no redrive.
"""

# ruff: noqa: ANN401 - what ministack hands around has no types

import contextvars
import copy
import json
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from ministack.core.responses import AccountRegionScopedDict, error_response_json, json_response, now_iso
from ministack.services import stepfunctions as sf

from dev.local.corrections.review import reviewed

REDRIVABLE_DAYS = 14
MAX_EVENTS = 24_999
REMEMBERED_TOKENS = 10
TOKEN_LIFE_S = 900

Place = tuple[object, ...]
Visit = tuple[Place, str, int]

_place: contextvars.ContextVar[Place] = contextvars.ContextVar("place", default=())
_attempt: "contextvars.ContextVar[_Attempt | None]" = contextvars.ContextVar("attempt", default=None)
_journals: "dict[str, _Journal]" = {}


class _Superseded(BaseException):
    """Unwinds a thread whose attempt is over: the execution was stopped, timed out or redriven meanwhile.

    Not an Exception, so that neither a Catch nor the engine's own handlers take it for a failed state.
    """


class _Journal:
    """What one execution has finished, over all its attempts."""

    def __init__(self, execution: dict[str, Any], definition: str) -> None:
        self.execution = execution
        self.definition = definition
        self.finished: dict[Visit, tuple[Any, str | None, dict[str, Any]]] = {}
        self.entered: Counter[str] = Counter()
        self.redrives = 0
        self.redriven_at: str | None = None
        self.ended_s: float | None = None
        self.tokens: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self.attempt: _Attempt | None = None
        self.lock = threading.Lock()


class _Attempt:
    """One walk through an execution: the first, or a redrive."""

    def __init__(self, journal: _Journal) -> None:
        self.journal = journal
        self.replayable = dict(journal.finished)
        self.visits: Counter[tuple[Place, str]] = Counter()
        self.entered: Counter[str] = Counter()
        self.sub_machines: set[Place] = set()
        self.replaying = False
        journal.attempt = self

    @property
    def current(self) -> bool:
        return self.journal.attempt is self and self.journal.execution["status"] == "RUNNING"

    def require_current(self) -> None:
        if not self.current:
            raise _Superseded

    def visit(self, name: str) -> Visit:
        with self.journal.lock:
            place = _place.get()
            self.visits[place, name] += 1
            return place, name, self.visits[place, name]

    def enter(self, place: Place) -> None:
        """Note a Map's item or a Parallel's branch; entered again in one attempt, it starts anew.

        That is so when the Map or Parallel is retried. In a loop it is visited anew after it has finished as
        a whole, so that nobody asks for what finished inside it any more.
        """
        with self.journal.lock:
            if place in self.sub_machines:
                self._forget(place)
            self.sub_machines.add(place)

    def _forget(self, place: Place) -> None:
        def below(other: Place) -> bool:
            return other[: len(place)] == place

        for store in (self.journal.finished, self.replayable):
            for visit in [visit for visit in store if below(visit[0])]:
                del store[visit]
        for key in [key for key in self.visits if below(key[0])]:
            del self.visits[key]
        self.sub_machines -= {other for other in self.sub_machines if below(other)}


def install() -> None:
    """Put redrive and machine timeouts in place, once, before the emulator serves.

    Raises:
        EmulatorChanged: ministack is another version than the one this was written against.
    """
    for name, expected in (
        ("_execute_pass", "b1dff47048bc"),
        ("_execute_task", "53c818d247db"),
        ("_execute_choice", "468955fcd4a4"),
        ("_execute_wait", "a1012679c72d"),
        ("_execute_parallel", "2166e1f53e5f"),
        ("_execute_map", "18ad39652912"),
    ):
        _wrap(name, expected, _journaled)
    _wrap("_run_sub_machine", "f8d844168b14", _placed)
    _wrap("_add_event", "b1db143ccd21", _told_once)
    _wrap("_run_execution", "996dff84e0e0", _attempted)
    _wrap("_describe_execution", "c3ad294ad8b5", _described)
    _wrap("_list_executions", "741208b30077", _listed)
    _wrap("handle_request", "efa6e8c4532a", _served)
    _wrap("reset", "80aa7bd9644d", _forgotten)
    sf._state_machines.__class__ = _OriginalDefinitions


def _wrap(name: str, expected: str, wrapper: Callable[[Any], Any]) -> None:
    setattr(sf, name, wrapper(reviewed(sf, name, expected)))


def _journaled(execute: Any) -> Any:
    """Around a state's handler: ``execute(state, input, [execution,] context) -> (output, successor)``."""

    def handle(state: dict[str, Any], raw_input: Any, *rest: Any) -> tuple[Any, str | None]:
        attempt, context = _attempt.get(), rest[-1]
        if attempt is None:
            output, successor = execute(state, raw_input, *rest)
            return output, successor
        attempt.require_current()
        journal = attempt.journal
        context["Execution"]["RedriveCount"] = journal.redrives
        if journal.redriven_at:
            context["Execution"]["RedriveTime"] = journal.redriven_at
        visit = attempt.visit(context["State"]["Name"])
        replaying = visit in attempt.replayable
        if not visit[
            0
        ]:  # the history tells of the states inside a Map neither that they begin nor that they end
            attempt.replaying = replaying
        if replaying:
            output, successor, variables = copy.deepcopy(attempt.replayable[visit])
            context["variables"].update(variables)
            return output, successor
        try:
            output, successor = execute(state, raw_input, *rest)
        except Exception:
            attempt.require_current()
            raise
        attempt.require_current()
        with journal.lock:
            journal.finished[visit] = copy.deepcopy((output, successor, context["variables"]))
        return output, successor

    return handle


def _placed(run_sub_machine: Any) -> Any:
    """Around what runs one item of a Map, or one branch of a Parallel: give it a place of its own."""

    def run(states: Any, start_at: str, given: Any, execution: Any, context: dict[str, Any]) -> Any:
        attempt = _attempt.get()
        if attempt is None:
            return run_sub_machine(states, start_at, given, execution, context)
        item = context.get("Map", {}).get("Item", {}).get("Index")
        token = _place.set((*_place.get(), (start_at, item)))
        try:
            attempt.enter(_place.get())
            # Branches share their parent's context, and each writes its State into it.
            return run_sub_machine(states, start_at, given, execution, {**context})
        finally:
            _place.reset(token)

    return run


def _told_once(add_event: Any) -> Any:
    """Around the history's writer: nothing from an attempt that is over, nothing twice."""

    def add(execution: dict[str, Any], event_type: str, details: dict[str, Any] | None = None) -> Any:
        attempt = _attempt.get()
        if attempt is not None:
            if not event_type.startswith("Execution") and not attempt.current:
                return None
            if event_type.endswith("StateEntered") and details:
                name = details["stateEnteredEventDetails"]["name"]
                attempt.entered[name] += 1
                if attempt.entered[name] <= attempt.journal.entered[name]:
                    return None
                attempt.journal.entered[name] += 1
            if event_type.endswith("StateExited") and attempt.replaying:
                return None
        return add_event(execution, event_type, details)

    return add


def _attempted(run_execution: Any) -> Any:
    """Around an execution's thread: keep the journal, and the machine's TimeoutSeconds."""

    def run(arn: str) -> None:
        execution = sf._executions.get(arn)
        machine = sf._state_machines.get(execution["stateMachineArn"]) if execution else None
        attempt = None
        if machine and machine.get("type") != "EXPRESS":
            attempt = _Attempt(_journals.setdefault(arn, _Journal(execution, machine["definition"])))
        # An execution may be started from within another's thread.
        tokens = _attempt.set(attempt), _place.set(())
        timer = _timer(attempt) if attempt else None
        try:
            run_execution(arn)
        except _Superseded:
            pass
        finally:
            if timer:
                timer.cancel()
            if attempt:
                attempt.journal.ended_s = time.time()
            _attempt.reset(tokens[0])
            _place.reset(tokens[1])

    return run


def _timer(attempt: _Attempt) -> threading.Timer | None:
    limit_s = json.loads(attempt.journal.definition).get("TimeoutSeconds")
    if not limit_s:
        return None
    timer = threading.Timer(limit_s, contextvars.copy_context().run, (_time_out, attempt))
    timer.daemon = True
    timer.start()
    return timer


def _time_out(attempt: _Attempt) -> None:
    execution = attempt.journal.execution
    if attempt.current:
        execution.update(status="TIMED_OUT", stopDate=now_iso(), error="States.Timeout", cause=None)
        details = {"executionTimedOutEventDetails": {"error": "States.Timeout"}}
        sf._add_event(execution, "ExecutionTimedOut", details)
        sf._emit_execution_status_event(execution)


class _OriginalDefinitions(AccountRegionScopedDict):  # type: ignore[misc]
    """The store of state machines, which shows an execution the definition that it started with."""

    __slots__ = ()

    def get(self, key: str, default: Any = None) -> Any:
        machine, attempt = super().get(key, default), _attempt.get()
        if machine and attempt is not None and key == attempt.journal.execution["stateMachineArn"]:
            return {**machine, "definition": attempt.journal.definition}
        return machine


def _redrive(request: dict[str, Any]) -> Any:
    arn, token = request.get("executionArn", ""), request.get("clientToken")
    execution, journal = sf._executions.get(arn), _journals.get(arn)
    if execution is None:
        return error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
    if journal is not None and (done := _redriven_by(journal, token)):
        return json_response({"redriveDate": done})
    if journal is None or (reason := why_not_redrivable(execution, journal)):
        reason = reason if journal else "Only a Standard execution can be redriven"
        return error_response_json("ExecutionNotRedrivable", reason, 400)
    journal.redrives += 1
    journal.redriven_at = now_iso()
    journal.attempt = None
    if token:
        journal.tokens[token] = time.time(), journal.redriven_at
    execution.update(status="RUNNING", stopDate=None, output=None, error=None, cause=None)
    details = {"executionRedrivenEventDetails": {"redriveCount": journal.redrives}}
    sf._add_event(execution, "ExecutionRedriven", details)
    sf._emit_execution_status_event(execution)
    run = contextvars.copy_context().run
    threading.Thread(target=run, args=(sf._run_execution, arn), daemon=True).start()
    return json_response({"redriveDate": journal.redriven_at})


def _redriven_by(journal: _Journal, token: str | None) -> str | None:
    """Say when this token redrove the execution: the last ten count, for fifteen minutes."""
    for old in list(journal.tokens)[:-REMEMBERED_TOKENS]:
        del journal.tokens[old]
    used_s, redriven_at = journal.tokens.get(token or "", (0.0, ""))
    return redriven_at if time.time() - used_s < TOKEN_LIFE_S else None


def why_not_redrivable(execution: dict[str, Any], journal: _Journal | None) -> str | None:
    """Say why an execution can't be redriven, in AWS's words; None if it can."""
    if execution["status"] not in ("FAILED", "ABORTED", "TIMED_OUT"):
        return f"Execution is {execution['status']} and cannot be redriven"
    if journal is None:
        return "Only a Standard execution can be redriven"
    if len(execution["events"]) >= MAX_EVENTS:
        return "Execution history event limit exceeded"
    if journal.ended_s and time.time() - journal.ended_s > REDRIVABLE_DAYS * 86_400:
        return "Execution has exceeded the redrivable period"
    return None


def _described(describe_execution: Any) -> Any:
    def describe(request: dict[str, Any]) -> Any:
        status, headers, body = describe_execution(request)
        if status != 200:
            return status, headers, body
        arn = request["executionArn"]
        journal = _journals.get(arn)
        reason = why_not_redrivable(sf._executions[arn], journal)
        shown = json.loads(body) | _redrive_fields(journal)
        shown["redriveStatus"] = "NOT_REDRIVABLE" if reason else "REDRIVABLE"
        if reason:
            shown["redriveStatusReason"] = reason
        return json_response(shown)

    return describe


def _listed(list_executions: Any) -> Any:
    def list_(request: dict[str, Any]) -> Any:
        status, headers, body = list_executions(request)
        if status != 200:
            return status, headers, body
        shown = json.loads(body)
        for execution in shown["executions"]:
            execution.update(_redrive_fields(_journals.get(execution["executionArn"])))
        return json_response(shown)

    return list_


def _redrive_fields(journal: _Journal | None) -> dict[str, Any]:
    if journal is None or not journal.redrives:
        return {"redriveCount": 0}
    return {"redriveCount": journal.redrives, "redriveDate": journal.redriven_at}


def _served(handle_request: Any) -> Any:
    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return sf._finalize_response(_redrive(json.loads(body or b"{}")))
        return await handle_request(method, path, headers, body, query)

    return handle


def _forgotten(reset: Any) -> Any:
    def forget() -> None:
        _journals.clear()
        reset()

    return forget
