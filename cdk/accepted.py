"""Findings of cdk-nag that are accepted, each at its construct and with its reason."""

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def accept(construct: IConstruct, finding: str, *, because: str) -> None:
    """Accept one finding, such as ``IAM5[Resource::*]``, of the AwsSolutions rules for one construct."""
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions-{finding}", reason=because))
