"""Corrections of CloudWatch Logs: saved queries."""

from typing import Any

from ministack.services.cloudformation import provisioners

from dev.local.corrections.review import EmulatorChanged

_TYPE = "AWS::Logs::QueryDefinition"


def accept_query_definitions() -> None:
    """Let CloudFormation create saved queries.

    AWS stores them for Logs Insights ("AWS::Logs::QueryDefinition", CloudFormation's Template Reference).
    Ministack refuses the type; here its resources exist in the stack alone.
    """
    handlers: dict[str, Any] = vars(provisioners).get("_RESOURCE_HANDLERS", {})
    if "AWS::Logs::LogGroup" not in handlers or _TYPE in handlers:
        raise EmulatorChanged(f"ministack's handlers of resource types have changed, or know {_TYPE}")
    handlers[_TYPE] = {
        "create": lambda logical_id, _properties, stack: (f"{stack}-{logical_id}", {}),
        "update": lambda physical_id, _old, _new, *_: (physical_id, {}),
        "delete": lambda _physical_id, _properties: None,
    }
