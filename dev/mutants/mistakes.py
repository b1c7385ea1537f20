"""Mistakes in a template: where they are made, and what is changed."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dev.mutants.bodies import HIDDEN

_UNTOLD = {
    *(
        "AlarmDescription",
        "Description",
        "Tags",
        "TagSpecifications",
        "Version",
        "PolicyName",
        "DefinitionString",
    ),
    *(
        "Code",
        "Content",
        "AlarmName",
        "DashboardName",
        "Name",
        "StateMachineName",
        "ScheduleExpressionTimezone",
    ),
    *(
        "title",
        "label",
        "color",
        "x",
        "y",
        "width",
        "height",
        "view",
        "start",
        "GroupDescription",
        "DefinitionS3Location",
    ),
    *("LifecycleHookName", "VpcId", "Effect", "Roles", "periodOverride", "yAxis", "type", "tokens()"),
}
"""Properties that say nothing but to people, or that CDK alone decides about."""

_OTHERS: Mapping[str, tuple[str, ...]] = {
    "Statistic": ("Minimum", "Maximum", "Sum", "Average", "SampleCount"),
    "stat": ("Minimum", "Maximum", "Sum"),
    "ComparisonOperator": ("GreaterThanOrEqualToThreshold", "LessThanThreshold", "GreaterThanThreshold"),
    "TreatMissingData": ("breaching", "notBreaching", "ignore", "missing"),
    "State": ("ENABLED", "DISABLED"),
    "Level": ("ALL", "ERROR", "OFF"),
    "ScheduleExpression": ("rate(1 minute)", "rate(5 minutes)"),
    "Input": ("{}", '{"dryRun": true}'),
    "Mode": ("OFF", "FLEXIBLE", "Active", "PassThrough"),
}
"""Values that are valid in place of another."""

_NEVER_DROPPED = {
    *(
        "Action",
        "AssumeRolePolicyDocument",
        "Effect",
        "MetricName",
        "Namespace",
        "PolicyDocument",
        "Principal",
    ),
    *("Properties", "Resource", "Statement", "Variables", "metrics", "properties", "widgets"),
}
"""What a template can't be without, or what is dropped with the object around it."""

_INTRINSIC = {"Ref", "Fn::GetAtt", "Fn::Join", "Fn::Select", "Fn::Base64", "Fn::Sub"}


Json = Any


@dataclass(frozen=True)
class Mistake:
    """A change of one property, in every template that has it.

    Attributes:
        resource: logical id without its hash and without the construct's own; ``Outputs`` for those.
        keys: the way to the property; an entry of a list is ``[name]``.
        what: ``dropped``, ``zero``, ``ten times``, ``negated``, ``other``, ``widened``, or ``to`` and a value in JSON.
    """

    resource: str
    keys: tuple[str, ...]
    what: str

    def __str__(self) -> str:
        way = ".".join(key for key in self.keys if key not in HIDDEN and key != "Properties")
        return f"{self.resource} {way}: {self.what}"

    def make(self, template: Json) -> None:
        """Make the mistake in an opened template; nothing happens where there is no such property."""
        for holder in _holders(template, self.resource):
            found, last = holder, self.keys[-1]
            for key in self.keys[:-1]:
                found = (
                    found[index] if found is not None and (index := _index(found, key)) is not None else None
                )
            if found is None or (index := _index(found, last)) is None:
                continue
            if self.what == "dropped":
                del found[index]
            else:
                found[index] = _changed(found[index], self.what)


def mistakes_in(resource: str, value: Json) -> Iterator[Mistake]:
    """Yield every mistake that can be made in the properties of a resource."""
    for key in ("DeletionPolicy", "Properties"):
        if key in value:
            yield from _mistakes(resource, (), key, value[key])


def _mistakes(resource: str, way: tuple[str, ...], key: str, value: Json) -> Iterator[Mistake]:
    keys = (*way, key)
    if key in _UNTOLD:
        return
    if key not in _NEVER_DROPPED | HIDDEN:
        yield Mistake(resource, keys, "dropped")
    for what in _changes(key, value):
        yield Mistake(resource, keys, what)
    if isinstance(value, dict) and not _INTRINSIC & value.keys():
        for inner, part in value.items():
            yield from _unless_alone(_mistakes(resource, keys, inner, part), (*keys, inner), value)
    elif _is_series(value):
        yield from _of_series(resource, keys, value)
    elif isinstance(value, list):
        for n, part in enumerate(value):
            name = _name(n, part)
            yield from _unless_alone(_mistakes(resource, keys, name, part), (*keys, name), value)


def _unless_alone(found: Iterator[Mistake], keys: tuple[str, ...], holder: Json) -> Iterator[Mistake]:
    """Leave out dropping what is the only entry of its holder: that is dropped too."""
    alone = len(holder) == 1 and keys[-2] not in _NEVER_DROPPED
    return (one for one in found if not (alone and one.keys == keys and one.what == "dropped"))


def _is_series(value: Json) -> bool:
    """Whether this is a series of a dashboard: namespace, metric, dimensions, and how it is drawn."""
    return isinstance(value, list) and len(value) > 1 and isinstance(value[-1], dict) and "stat" in value[-1]


def _of_series(resource: str, keys: tuple[str, ...], series: list[Json]) -> Iterator[Mistake]:
    yield Mistake(resource, (*keys, "[metric]"), "other")
    if len(series) > 3:
        yield Mistake(resource, (*keys, "[dimension]"), "other")
    for what in _changes("stat", series[-1]["stat"]):
        yield Mistake(resource, (*keys, "[shown]", "stat"), what)


def _changes(key: str, value: Json) -> Iterator[str]:
    if key in _OTHERS and isinstance(value, str):
        yield from (f"to {json.dumps(other)}" for other in _OTHERS[key] if other != value)
    elif key == "Action":
        yield "widened"
    elif key == "Resource" and value != "*":
        yield 'to "*"'
    elif isinstance(value, bool) or value in ("true", "false"):
        yield "negated"
    elif isinstance(value, (int, float)) or (isinstance(value, str) and re.fullmatch(r"\d{1,6}", value)):
        yield from ("zero", "ten times")
    elif key in ("DeletionPolicy",):
        yield f"to {json.dumps('Retain' if value != 'Retain' else 'Delete')}"
    elif (isinstance(value, str) and not key.startswith("[")) or (
        isinstance(value, dict) and _INTRINSIC & value.keys()
    ):
        yield "other"


def _changed(value: Json, what: str) -> Json:
    if what.startswith("to "):
        return json.loads(what.removeprefix("to "))
    if what == "negated":
        return {"true": "false", "false": "true"}.get(value) if isinstance(value, str) else not value
    if what in ("zero", "ten times"):
        number = 0 if what == "zero" else float(value) * 10
        return f"{number:g}" if isinstance(value, str) else int(number)
    if what == "widened":
        actions = value if isinstance(value, list) else [value]
        return [*actions, *sorted({action.partition(":")[0] + ":*" for action in actions})]
    return "other"


def _holders(template: Json, resource: str) -> list[Json]:
    if resource == "Outputs":
        return [template.get("Outputs", {})]
    return [one for id_, one in template["Resources"].items() if short(id_) == resource]


def short(id_: str) -> str:
    """Return a logical id without its hash, as it is wherever the construct is placed."""
    return re.sub(r"[0-9A-F]{8}$", "", id_).removeprefix("VideoReclaim")


def _name(n: int, entry: Json) -> str:
    """Return the name of a list's entry, by which other templates have it too."""
    if isinstance(entry, str):
        return f"[{entry}]"
    if _is_series(entry):
        return f"[{n} {entry[1]}]"
    if isinstance(entry, dict) and "Effect" in entry:
        return f"[{entry['Effect']} {_actions(entry)[0]}]"
    if isinstance(entry, dict) and isinstance(entry.get("properties"), dict):
        return f"[{entry['properties']['title']}]"
    return f"[{n}]"


def _actions(statement: Json) -> list[str]:
    actions = statement["Action"]
    return actions if isinstance(actions, list) else [actions]


_IN_SERIES = {"[metric]": 1, "[dimension]": -2, "[shown]": -1}


def _index(holder: Json, key: str) -> Any:  # noqa: ANN401 (a key, an index, or None)
    if isinstance(holder, dict):
        return key if key in holder else None
    if not isinstance(holder, list):
        return None
    if key in _IN_SERIES:
        return _IN_SERIES[key]
    if effect_and_action := re.fullmatch(r"\[(Allow|Deny) (\S+)\]", key):
        effect, action = effect_and_action.groups()
        return next(
            (n for n, one in enumerate(holder) if one["Effect"] == effect and action in _actions(one)),
            None,
        )
    return next((n for n, entry in enumerate(holder) if _name(n, entry) == key), None)
