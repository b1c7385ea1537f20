"""Corrections of Step Functions: tasks."""

# ruff: noqa: ANN401 - ministack's objects have no types

import json
from typing import Any

from ministack.services import stepfunctions as sf

_MOST_BYTES = 262_144


def limit_task_results() -> None:
    """Fail a Task whose result is larger than 256 KiB with States.DataLimitExceeded.

    So AWS answers (recorded: `dev.testing.recorded`; "Quotas related to state machine executions", Step Functions
    Developer Guide). Ministack has no limit.
    """
    invoke_resource = sf._invoke_resource

    def invoke_limited(resource: str, data: Any) -> Any:
        result = invoke_resource(resource, data)
        if len(json.dumps(result).encode()) > _MOST_BYTES:
            cause = "returned a result with a size exceeding the maximum number of bytes service limit."
            raise sf._ExecutionError("States.DataLimitExceeded", f"The state/task '{resource}' {cause}")
        return result

    sf._invoke_resource = invoke_limited


def add_autoscaling_tasks() -> None:
    """Support tasks that call Auto Scaling: ``arn:aws:states:::aws-sdk:autoscaling:…``.

    AWS supports them ("Learning to use AWS service SDK integrations", Step Functions Developer Guide).
    Ministack serves the Auto Scaling API, but not to tasks.
    """
    sf._AWS_SDK_SERVICE_MAP["autoscaling"] = {"protocol": "query"}
    sf._AWS_SDK_ERROR_PREFIX["autoscaling"] = "AutoScaling"
