"""Wrappers around ministack's Step Functions engine: they record, replay and time out."""

# ruff: noqa: ANN401 - ministack's objects have no types

import contextvars
import copy
import json
import threading
from typing import Any

from ministack.core.responses import now_iso
from ministack.services import stepfunctions as sf

from dev.local.redrive.journal import Attempt, Journal, SupersededError, journals, place, running_attempt


def journal_state(execute: Any) -> Any:
    """Wrap the handler of a state type: ``execute(state, input, [execution,] context) -> output, next``."""

    def handle(state: dict[str, Any], raw_input: Any, *rest: Any) -> tuple[Any, str | None]:
        attempt, context = running_attempt.get(), rest[-1]
        if attempt is None:
            output, successor = execute(state, raw_input, *rest)
            return output, successor
        attempt.require_current()
        journal = attempt.journal
        context["Execution"]["RedriveCount"] = journal.redrives
        if journal.redriven_at:
            context["Execution"]["RedriveTime"] = journal.redriven_at
        visit = attempt.visit(context["State"]["Name"])
        at, name, number = visit
        if not at:  # the history has no events of states inside a Map
            attempt.replaying = visit in attempt.recorded
        if visit in attempt.recorded:
            output, successor, variables = copy.deepcopy(attempt.recorded[visit])
            context["variables"].update(variables)
            return output, successor
        token = place.set((*at, (name, number)))
        try:
            output, successor = execute(state, raw_input, *rest)
        except Exception:
            attempt.require_current()
            raise
        finally:
            place.reset(token)
        attempt.require_current()
        with journal.lock:
            journal.finished[visit] = copy.deepcopy((output, successor, context["variables"]))
        return output, successor

    return handle


def locate_item(run_sub_machine: Any) -> Any:
    """Wrap what runs one item of a Map: give it a place of its own."""

    def run(states: Any, start_at: str, given: Any, execution: Any, context: dict[str, Any]) -> Any:
        attempt = running_attempt.get()
        if attempt is None:
            return run_sub_machine(states, start_at, given, execution, context)
        item = context.get("Map", {}).get("Item", {}).get("Index")
        token = place.set((*place.get(), (start_at, item)))
        try:
            # Branches share the context of their parent, and each writes its State into it.
            return run_sub_machine(states, start_at, given, execution, {**context})
        finally:
            place.reset(token)

    return run


def filter_event(add_event: Any) -> Any:
    """Wrap the writer of history events: drop those of a superseded attempt and those of replayed states."""

    def add(execution: dict[str, Any], event_type: str, details: dict[str, Any] | None = None) -> Any:
        attempt = running_attempt.get()
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


def run_attempt(run_execution: Any) -> Any:
    """Wrap the thread of an execution: keep the journal, and enforce the machine's TimeoutSeconds."""

    def run(arn: str) -> None:
        execution = sf._executions.get(arn)
        machine = sf._state_machines.get(execution["stateMachineArn"]) if execution else None
        attempt = None
        if machine and machine.get("type") != "EXPRESS":
            attempt = Attempt(journals.setdefault(arn, Journal(execution, machine["definition"])))
        # An execution may be started from a task of another, in its thread.
        tokens = running_attempt.set(attempt), place.set(())
        timer = _start_timeout(attempt) if attempt else None
        try:
            run_execution(arn)
        except SupersededError:
            pass
        finally:
            if timer:
                timer.cancel()
            running_attempt.reset(tokens[0])
            place.reset(tokens[1])

    return run


def _start_timeout(attempt: Attempt) -> threading.Timer | None:
    limit_s = json.loads(attempt.journal.definition).get("TimeoutSeconds")
    if not limit_s:
        return None
    timer = threading.Timer(limit_s, contextvars.copy_context().run, (_time_out, attempt))
    timer.daemon = True
    timer.start()
    return timer


def _time_out(attempt: Attempt) -> None:
    execution = attempt.journal.execution
    if attempt.current:
        execution.update(status="TIMED_OUT", stopDate=now_iso(), error="States.Timeout", cause=None)
        details = {"executionTimedOutEventDetails": {"error": "States.Timeout"}}
        sf._add_event(execution, "ExecutionTimedOut", details)
        sf._emit_execution_status_event(execution)


def reset_journals(reset: Any) -> Any:
    """Wrap the reset of ministack's Step Functions: forget all journals, too."""

    def forget() -> None:
        journals.clear()
        reset()

    return forget
