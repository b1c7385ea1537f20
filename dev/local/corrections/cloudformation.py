"""Corrections of CloudFormation: types of resources that exist in the stack alone."""

from typing import Any

from ministack.services.cloudformation import provisioners

from dev.local.corrections.review import EmulatorChanged

# With the attributes that Fn::GetAtt asks for; the CDK's VPC asks for these.
_TYPES = {
    "AWS::EC2::EIP": ("AllocationId",),
    "AWS::EC2::FlowLog": (),
    "AWS::EC2::NatGateway": ("NatGatewayId",),
    "AWS::EC2::SecurityGroupIngress": (),
    "AWS::Logs::QueryDefinition": (),
}


def accept_resource_types() -> None:
    """Let CloudFormation create what nothing on the emulator looks at: saved queries, and parts of a network.

    AWS makes them (CloudFormation's Template Reference). Ministack refuses a template that has one; here they
    exist in the stack alone.
    """
    handlers: dict[str, Any] = vars(provisioners).get("_RESOURCE_HANDLERS", {})
    if "AWS::Logs::LogGroup" not in handlers or _TYPES.keys() & handlers.keys():
        raise EmulatorChanged("ministack's handlers of resource types have changed, or know a type of _TYPES")
    for type_, attributes in _TYPES.items():
        handlers[type_] = _in_the_stack_alone(attributes)


def _in_the_stack_alone(attributes: tuple[str, ...]) -> dict[str, Any]:
    def create(logical_id: str, _properties: Any, stack: str) -> tuple[str, dict[str, str]]:  # noqa: ANN401 (JSON)
        name = f"{stack}-{logical_id}"
        return name, dict.fromkeys(attributes, name)

    return {
        "create": create,
        "update": lambda physical_id, _old, _new, *_: (physical_id, {}),
        "delete": lambda _physical_id, _properties: None,
    }
