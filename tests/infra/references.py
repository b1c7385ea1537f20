"""What a template's references will be once it is deployed, and what its roles allow."""

import json

from tests.infra.conftest import of_type

ACCOUNT, REGION = "123456789012", "ap-northeast-2"
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
}


def written(value, resources):
    """Write CloudFormation's references out, as they will be in `ACCOUNT` and `REGION`."""
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return PSEUDO.get(value["Ref"]) or _reference(value["Ref"], "Ref", resources)
    if "Fn::GetAtt" in value:
        return _reference(*value["Fn::GetAtt"], resources)
    if "Fn::Join" in value:
        return "".join(written(part, resources) for part in value["Fn::Join"][1])
    return f"<{json.dumps(value)}>"  # of another stack


def _reference(id_, attribute, resources):
    kind, properties = resources[id_]["Type"], resources[id_].get("Properties", {})
    if (kind, attribute) == ("AWS::Lambda::Function", "Arn"):
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{properties['FunctionName']}"
    if kind == "AWS::Lambda::Function":
        return properties["FunctionName"]
    if kind == "AWS::SQS::Queue" and "QueueName" in properties:
        name = properties["QueueName"]
        return {
            "Ref": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}",
            "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}",
            "QueueName": name,
        }[attribute]
    return f"<{id_}>" if attribute == "Ref" else f"<{id_}.{attribute}>"


def statements(resources, role_id):
    """Every statement of a role's policies."""
    for policy in of_type(resources, "AWS::IAM::Policy").values():
        if {"Ref": role_id} in policy.get("Roles", []):
            yield from policy["PolicyDocument"]["Statement"]


def as_list(value):
    return value if isinstance(value, list) else [value]


def granted(resources, role_id, effect="Allow"):
    """Every (action, resource) that a role's policies allow."""
    return {
        (action, written(resource, resources))
        for statement in statements(resources, role_id)
        if statement["Effect"] == effect
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def role_of(user, key="Role"):
    return user[key]["Fn::GetAtt"][0]
