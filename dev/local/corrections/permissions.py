"""Corrections of IAM enforcement: actions and condition keys."""

# ruff: noqa: ANN401 - ministack's objects have no types

import json
import re
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator


def map_batch_actions() -> None:
    """Check batch calls of SQS against the permission of the single call.

    On AWS, SendMessageBatch requires ``sqs:SendMessage``; the same holds for deleting and for changing the
    visibility ("Actions, resources, and condition keys for Amazon SQS", Service Authorization Reference).
    Ministack requires ``sqs:SendMessageBatch``, which does not exist on AWS.
    """
    extract = iam_actions.extract_iam_action

    def extract_iam_action(*arguments: Any, **named: Any) -> str | None:
        action: str | None = extract(*arguments, **named)
        return action and re.sub(r"^(sqs:.+)Batch$", r"\1", action)

    iam_actions.extract_iam_action = extract_iam_action


def treat_requests_as_encrypted() -> None:
    """Treat all requests as encrypted.

    AWS SDKs use TLS. The policies of the app's queues and of the CDK's bucket deny requests without TLS
    (``aws:SecureTransport``). Requests to the emulator are plain HTTP, so with AUTH=true such a policy denied
    everything and the CDK CLI failed.
    """
    pin = iam_evaluator.pin_request_origin

    def pin_encrypted_origin(source_ip: str, _encrypted: bool) -> None:
        pin(source_ip, True)

    app.pin_request_origin = pin_encrypted_origin


def provide_metric_namespace() -> None:
    """Provide the condition key ``cloudwatch:namespace`` to policies.

    On AWS a policy can limit PutMetricData to a namespace ("Using condition keys to limit access to
    CloudWatch namespaces", CloudWatch User Guide). Ministack does not provide the key, so with AUTH=true such
    a policy allows nothing.
    """
    context = iam_actions.request_tag_context

    def request_context(service: str, action: str, body: bytes, params: dict[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = context(service, action, body, params)
        if action == "cloudwatch:PutMetricData":
            given["cloudwatch:namespace"] = json.loads(body)["Namespace"]
        return given

    iam_actions.request_tag_context = request_context
