"""Corrections of CloudFormation: saved queries exist in the stack alone."""

from ministack.services.cloudformation import provisioners


def accept_queries() -> None:
    """Let CloudFormation create saved queries, which nothing on the emulator looks at.

    AWS makes them (CloudFormation's Template Reference). Ministack refuses a template that has one.
    """
    provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = {
        "create": lambda logical_id, _properties, stack: (f"{stack}-{logical_id}", {}),
        "update": lambda physical_id, _old, _new, *_: (physical_id, {}),
        "delete": lambda _physical_id, _properties: None,
    }
