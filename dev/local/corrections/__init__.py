"""Corrections of ministack where it differs from AWS and the project depends on AWS's behaviour.

One module per service, one function per correction. Its docstring says what AWS does and what ministack does
without it. Corrections replace functions inside ministack. Each compares the source of what it replaces with
the fingerprint of the source it was written against (`reviewed`), so with another version of ministack the
emulator does not start until somebody has reviewed that source.

Differences that are not corrected; avoid them, or test elsewhere (`dev.testing.recorded` has more of them):

- Retry ignores MaxDelaySeconds and JitterStrategy, and waits a minute at most.
- When an iteration of a Map fails and nothing catches it, AWS stops the others; here they finish.
- The history has no StateEntered and no StateExited events from inside a Map.
- The role of a state machine is never enforced; the role of a function is, with AUTH=true.
- A definition is not validated when a state machine is made.
- A workflow variable with the name of a JSONata function (``count``) hides that function.
- Catch does not catch a TimeoutSeconds expression that can't be evaluated.
- When a function returns a string that contains JSON, the Task's result is the parsed value.
- A module that can't be imported gives a ``RuntimeError``; on AWS, a ``Runtime.ImportModuleError``.
- GetMetricData without ScanBy returns ascending times; on AWS, descending.
- A lifecycle action never times out, so nothing comes of a group's instance lifecycle policy.
- CloudFormation deletes a group at once, with its instances.
- A schedule's input keeps its placeholders ``<aws.scheduler.…>``.
- Functions can import the packages of this interpreter besides those of their layers.
"""

from dev.local.corrections import (
    auto_scaling,
    cloudformation,
    cloudwatch,
    lambda_functions,
    logs,
    permissions,
    scheduler,
    step_functions,
)
from dev.local.corrections.review import EmulatorChanged, fingerprint, reviewed

__all__ = ["EmulatorChanged", "apply", "fingerprint", "reviewed"]


def apply() -> None:
    """Apply all corrections, once, before the emulator serves.

    Raises:
        EmulatorChanged: ministack is another version than the one they were written against.
    """
    lambda_functions.report_exceptions()
    lambda_functions.collect_whole_log()
    lambda_functions.isolate_environment()
    step_functions.refuse_invalid_input()
    step_functions.evaluate_task_timeouts()
    step_functions.limit_task_results()
    step_functions.give_no_cause_of_timeouts()
    step_functions.add_autoscaling_tasks()
    step_functions.name_sdk_errors()
    auto_scaling.enforce_capacity_bounds()
    auto_scaling.drain_instances()
    auto_scaling.complete_lifecycle_actions()
    auto_scaling.keep_the_lifecycle_policy()
    cloudformation.accept_queries()
    cloudwatch.evaluate_alarms()
    logs.match_json_patterns()
    scheduler.check_every_second()
    permissions.map_batch_actions()
    permissions.treat_requests_as_encrypted()
    permissions.provide_metric_namespace()
