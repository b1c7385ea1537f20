"""Findings of the template's checks that are accepted, each at its construct and with its reason."""

from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from constructs import IConstruct


def accept(construct: IConstruct, finding: str, *, because: str) -> None:
    """Accept one finding of cdk-nag's AwsSolutions, or of CloudFormation's own rules, for one construct."""
    Validations.of(construct).acknowledge(Acknowledgment(id=finding, reason=because))


def accept_wildcard(construct: IConstruct, resource: str, *, because: str) -> None:
    """Accept one resource with a ``*`` in the policies of one construct."""
    written = _written(Stack.of(construct).resolve(resource))
    accept(construct, f"AwsSolutions-IAM5[Resource::{written}]", because=because)


def _written(resource: Any) -> str:  # noqa: ANN401 (CloudFormation's JSON)
    """Write a resource as cdk-nag does, which puts references into angle brackets."""
    if isinstance(resource, str):
        return resource
    if "Ref" in resource:
        return f"<{resource['Ref']}>"
    _, parts = resource["Fn::Join"]
    return "".join(_written(part) for part in parts)
