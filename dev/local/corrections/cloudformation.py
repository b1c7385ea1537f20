"""Corrections of CloudFormation: saved queries exist in the stack alone."""

from typing import Any

from ministack.services.cloudformation import provisioners

from dev.local.corrections.review import EmulatorChanged

_QUERY = "AWS::Logs::QueryDefinition"


def accept_queries() -> None:
    """Let CloudFormation create saved queries, which nothing on the emulator looks at.

    AWS makes them (CloudFormation's Template Reference). Ministack refuses a template that has one.
    """
    handlers: dict[str, Any] = vars(provisioners).get("_RESOURCE_HANDLERS", {})
    if "AWS::Logs::LogGroup" not in handlers or _QUERY in handlers:
        raise EmulatorChanged("ministack's handlers of resource types have changed, or know saved queries")
    handlers[_QUERY] = {
        "create": lambda logical_id, _properties, stack: (f"{stack}-{logical_id}", {}),
        "update": lambda physical_id, _old, _new, *_: (physical_id, {}),
        "delete": lambda _physical_id, _properties: None,
    }
