"""Accept single findings of cdk-nag and of CloudFormation's rules, each at its construct and with a reason."""

from typing import Any

from aws_cdk import Acknowledgment, CfnResource, Stack, Validations
from constructs import IConstruct


def accept(construct: IConstruct, finding: str, *, because: str) -> None:
    """Accept one finding of cdk-nag, or of CloudFormation's own rules, for one construct."""
    Validations.of(construct).acknowledge(Acknowledgment(id=finding, reason=because))


def accept_wildcard(construct: IConstruct, resource: str, *, because: str) -> None:
    """Accept one resource with a ``*`` in the policies of one construct."""
    rendered = _render(Stack.of(construct).resolve(resource))
    accept(construct, f"AwsSolutions-IAM5[Resource::{rendered}]", because=because)


def accept_dead_letters(queue: IConstruct) -> None:
    """Accept that a queue has no dead-letter queue."""
    for rule in ("AwsSolutions-SQS3", "Serverless-SQSRedrivePolicy"):
        accept(queue, rule, because="a dead-letter queue itself, or one whose depth alone is measured")


def accept_lint(construct: IConstruct, rule: str, *, because: str) -> None:
    """Accept one rule of cfn-lint for one resource, in the template's own metadata."""
    resource = construct.node.default_child or construct
    assert isinstance(resource, CfnResource)
    given = resource.get_metadata("cfn-lint") or {"config": {"ignore_checks": []}}
    rules = [*given["config"]["ignore_checks"], rule]
    resource.add_metadata("cfn-lint", {"config": {"ignore_checks": rules}, "because": because})


def _render(resource: Any) -> str:  # noqa: ANN401 (CloudFormation's JSON)
    """Render a resource as cdk-nag does, which puts references into angle brackets."""
    if isinstance(resource, str):
        return resource
    if "Ref" in resource:
        return f"<{resource['Ref']}>"
    if "Fn::GetAtt" in resource:
        return f"<{'.'.join(resource['Fn::GetAtt'])}>"
    _, parts = resource["Fn::Join"]
    return "".join(_render(part) for part in parts)
