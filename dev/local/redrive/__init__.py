"""RedriveExecution and the timeout of a state machine, for ministack's Step Functions.

On AWS a redrive continues a failed, aborted or timed-out execution ("Restarting state machine executions with
redrive", Step Functions Developer Guide): finished states keep their results; states that were entered but
not finished run again, with new retry attempts and new timeouts. Ministack has neither RedriveExecution nor
the TimeoutSeconds of a state machine.

Here a journal records every finished state with its output, its successor and the variables. The key is the
state's name, the number of its visit (a workflow may loop), and its place: the visits of the Maps around it, with
the item. A redrive walks the same execution again. A state in the journal returns what was recorded, without
running; any other state runs. Therefore a Map that had not finished is entered again, and its unfinished items
continue at the state that failed; a caught error belongs to a finished state and is not tried again; a Fail state
fails again.

Limits: the journal is in memory, as ministack's executions are. Parallel states, retries of a Map, client tokens
and the limits of age and length of an execution are missing, and a redrive uses the newest definition. An
unfinished Map evaluates its items again. When an iteration of a Map fails and nothing catches it, AWS stops the
other iterations, so a redrive there may run more of them. Express workflows can't be redriven.
"""

from collections.abc import Callable
from typing import Any

from ministack.services import stepfunctions as sf

from dev.local.corrections.review import reviewed
from dev.local.redrive import api, engine

__all__ = ["install"]


def install() -> None:
    """Install redrive and machine timeouts, once, before the emulator serves.

    Raises:
        EmulatorChanged: ministack is another version than the one this was written against.
    """
    for name, expected in (
        ("_execute_pass", "b1dff47048bc"),
        ("_execute_task", "53c818d247db"),
        ("_execute_choice", "468955fcd4a4"),
        ("_execute_wait", "a1012679c72d"),
        ("_execute_map", "18ad39652912"),
    ):
        _wrap(name, expected, engine.journal_state)
    _wrap("_run_sub_machine", "f8d844168b14", engine.locate_item)
    _wrap("_add_event", "b1db143ccd21", engine.filter_event)
    _wrap("_run_execution", "996dff84e0e0", engine.run_attempt)
    _wrap("_describe_execution", "c3ad294ad8b5", api.describe_with_redrives)
    _wrap("_list_executions", "741208b30077", api.list_with_redrives)
    _wrap("handle_request", "efa6e8c4532a", api.route_redrive)
    _wrap("reset", "80aa7bd9644d", engine.reset_journals)


def _wrap(name: str, expected: str, wrapper: Callable[[Any], Any]) -> None:
    setattr(sf, name, wrapper(reviewed(sf, name, expected)))
