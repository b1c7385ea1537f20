"""Corrections of ministack where it differs from AWS and the project depends on AWS's behaviour.

One module per service, one function per correction. Its docstring says what AWS does and what ministack does
without it. Corrections replace functions inside ministack, so with another version of it the emulator does not start
until somebody has reviewed them.

Differences that are not corrected; avoid them, or test elsewhere:

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
- A lifecycle action never times out, so nothing comes of a group's instance lifecycle policy. An instance on which a
  worker runs has such an action, whatever the group's hooks; protection from scale-in is ignored.
- CloudFormation deletes a group at once, with its instances.
- The cause of a States.Timeout has a text, and a Fail without an Error has the error States.Fail.
- Any desired capacity is accepted, also outside the group's bounds.
- An error of an ``aws-sdk`` task has the plain code as its name; that of Auto Scaling has none.
- An input that isn't JSON starts an execution, which then fails.
- A Task accepts no expression as its TimeoutSeconds.
- An alarm is evaluated only when a metric is put, over all dimensions, as one period; missing data is ignored.
- A schedule's input keeps its placeholders ``<aws.scheduler.…>``.
- Functions see the emulator's own environment, which has neither settings of the app nor of the machine's user.
- Functions can import the packages of this interpreter besides those of their layers.
"""

import importlib.metadata

from dev.local.corrections import (
    auto_scaling,
    lambda_functions,
    logs,
    permissions,
    provisioning,
    step_functions,
)

VERSION = "1.5.33"


class EmulatorChanged(RuntimeError):
    """Ministack is not the version that the corrections were written against."""


def apply() -> None:
    """Apply all corrections, once, before the emulator serves.

    Raises:
        EmulatorChanged: ministack is another version than the one they were written against.
    """
    if (found := importlib.metadata.version("ministack")) != VERSION:
        problem = f"ministack is {found}, not {VERSION}"
        raise EmulatorChanged(f"{problem}: review what dev/local/corrections and dev/local/redrive replace")
    lambda_functions.report_exceptions()
    lambda_functions.collect_whole_log()
    step_functions.limit_task_results()
    step_functions.add_autoscaling_tasks()
    auto_scaling.drain_instances()
    auto_scaling.complete_lifecycle_actions()
    auto_scaling.keep_the_lifecycle_policy()
    provisioning.accept_queries()
    logs.match_json_patterns()
    permissions.map_batch_actions()
    permissions.treat_requests_as_encrypted()
    permissions.provide_metric_namespace()
