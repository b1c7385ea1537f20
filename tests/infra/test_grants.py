"""Who may assume each role, what the services do in its name, and who may reach a queue: nothing wider than its use."""

import json

import pytest

from cdk.stage import load, stages_in
from tests.infra.conftest import functions, of_type
from tests.infra.references import ACCOUNT, REGION, as_list, granted, role_of, statements, written
from tests.infra.test_example import template_of_example

LAMBDA, STATES, SCHEDULER, EVENTS, EC2 = (
    f"{service}.amazonaws.com" for service in ("lambda", "states", "scheduler", "events", "ec2")
)
USERS = {
    "AWS::Lambda::Function": (LAMBDA, lambda one: one["Role"]),
    "AWS::StepFunctions::StateMachine": (STATES, lambda one: one["RoleArn"]),
    "AWS::Scheduler::Schedule": (SCHEDULER, lambda one: one["Target"]["RoleArn"]),
    "AWS::Events::Rule": (EVENTS, lambda one: one["Targets"][0]["RoleArn"]),
    "AWS::IAM::InstanceProfile": (EC2, lambda one: one["Roles"][0]),
}
# Of these AWS's documents say that they take no resource but *.
TAKE_NO_RESOURCE = (
    *("xray:", "ec2:", "autoscaling:Describe", "cloudwatch:GetMetricData", "cloudwatch:PutMetricData"),
    *("logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:GetLogDelivery", "logs:ListLogDeliveries"),
    *(
        "logs:UpdateLogDelivery",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    ),
)
# "Logging to CloudWatch Logs" and "X-Ray", Step Functions Developer Guide.
DELIVERY = {f"logs:{verb}LogDelivery" for verb in ("Create", "Delete", "Get", "Update")} | {
    *(
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    ),
}
TRACES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
SAMPLING = {"xray:GetSamplingRules", "xray:GetSamplingTargets"}
# "Giving Lambda functions access to resources in an Amazon VPC".
INTERFACES = {
    *("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface"),
    *("ec2:DescribeSubnets", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
}


def used_roles(resources):
    """Every role with the service that uses it."""
    for kind, (service, role) in USERS.items():
        for one in of_type(resources, kind).values():
            reference = role(one)
            yield service, reference.get("Ref") or reference["Fn::GetAtt"][0]


def test_a_role_is_assumed_by_the_service_that_uses_it_and_by_nobody_else(template):
    used = dict(map(reversed, used_roles(template)))
    roles = of_type(template, "AWS::IAM::Role")
    assert set(used) == set(roles)
    for id_, service in used.items():
        (trust,) = roles[id_]["AssumeRolePolicyDocument"]["Statement"]
        assert (trust["Effect"], trust["Action"]) == ("Allow", "sts:AssumeRole")
        assert trust["Principal"] == {"Service": service}


def test_no_other_account_can_make_a_service_use_a_role(stage, template):
    check_callers(template, load(stages_in(), stage).account or ACCOUNT)


def check_callers(resources, account):
    """ "The confused deputy problem", IAM User Guide: these services take a role from whoever calls them."""
    found = [one for one in used_roles(resources) if one[0] in (STATES, SCHEDULER, EVENTS)]
    assert len(found) == 3
    for service, id_ in found:
        (trust,) = resources[id_]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        given = {key: value for block in trust["Condition"].values() for key, value in block.items()}
        assert written(given["aws:SourceAccount"], resources) == account
        source = written(given["aws:SourceArn"], resources)
        assert f":{service.partition('.')[0]}:" in source and f":{account}:" in source
        assert set(trust["Condition"]) <= {"StringEquals", "ArnLike"}


def test_what_lambda_does_in_a_function_s_name(template):
    for function in functions(template).values():
        group = function["LoggingConfig"]["LogGroup"]["Ref"]
        wanted = {(action, f"<{group}.Arn>") for action in ("logs:CreateLogStream", "logs:PutLogEvents")}
        wanted |= {(action, "*") for action in TRACES | (INTERFACES if "VpcConfig" in function else set())}
        services = ("logs:", "xray:", "ec2:")
        found = granted(template, role_of(function))
        assert {pair for pair in found if pair[0].startswith(services)} == wanted


def test_a_function_s_own_code_can_t_touch_network_interfaces(template):
    for function in functions(template).values():
        denied = [one for one in statements(template, role_of(function)) if one["Effect"] == "Deny"]
        assert len(denied) == ("VpcConfig" in function)
        for one in denied:
            assert (set(one["Action"]), one["Resource"]) == (INTERFACES, "*")
            source = written(one["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"], template)
            assert source.endswith(f":function:{function['FunctionName']}")


def test_what_step_functions_does_in_the_workflow_s_name(template):
    (machine,) = of_type(template, "AWS::StepFunctions::StateMachine").values()
    found = granted(template, machine["RoleArn"]["Fn::GetAtt"][0])
    services = ("logs:", "xray:")
    assert {action for action, _ in found if action.startswith(services)} == DELIVERY | TRACES | SAMPLING


def check_narrow(resources, *, of=""):
    policies = of_type(resources, "AWS::IAM::Policy").items()
    for policy in (policy for id_, policy in policies if id_.startswith(of)):
        for one in policy["PolicyDocument"]["Statement"]:
            for action in as_list(one["Action"]):
                assert "*" not in action
                wide = [written(resource, resources) for resource in as_list(one["Resource"])]
                assert "*" not in wide or action.startswith(TAKE_NO_RESOURCE), action


def test_a_grant_names_what_it_is_for_wherever_aws_lets_it(template):
    check_narrow(template)


def test_a_grant_of_the_example_does_too():
    check_narrow(template_of_example()["Resources"], of="VideoReclaim")


def test_each_queue_refuses_what_is_sent_in_the_clear(template):
    policies = of_type(template, "AWS::SQS::QueuePolicy").values()
    for id_ in of_type(template, "AWS::SQS::Queue"):
        (of_queue,) = [one for one in policies if {"Ref": id_} in one["Queues"]]
        (refusal,) = [one for one in of_queue["PolicyDocument"]["Statement"] if one["Effect"] == "Deny"]
        assert (refusal["Action"], refusal["Principal"]) == ("sqs:*", {"AWS": "*"})
        assert refusal["Resource"] == {"Fn::GetAtt": [id_, "Arn"]}
        assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_each_policy_belongs_to_a_role_that_is_used(template):
    used = {id_ for _, id_ in used_roles(template)}
    for policy in of_type(template, "AWS::IAM::Policy").values():
        assert {role["Ref"] for role in policy["Roles"]} <= used


class TestExample:
    @pytest.fixture
    def resources(self):
        return template_of_example()["Resources"]

    def test_the_functions_reach_database_and_redis_and_nothing_else_does(self, resources):
        (placed,) = {
            json.dumps(one["VpcConfig"]["SecurityGroupIds"]) for one in functions(resources).values()
        }
        (source,) = json.loads(placed)
        rules = of_type(resources, "AWS::EC2::SecurityGroupIngress").values()
        reached = {}
        for rule in rules:
            assert (rule["IpProtocol"], rule["SourceSecurityGroupId"]) == ("tcp", source)
            assert rule["FromPort"] == rule["ToPort"]
            reached[json.dumps(rule["GroupId"])] = rule["FromPort"]
        (database,) = of_type(resources, "AWS::RDS::DBInstance").items()
        (redis,) = of_type(resources, "AWS::ElastiCache::ReplicationGroup").values()
        assert reached == {
            json.dumps(database[1]["VPCSecurityGroups"][0]): {"Fn::GetAtt": [database[0], "Endpoint.Port"]},
            json.dumps(redis["SecurityGroupIds"][0]): 6379,
        }

    def test_the_key_may_be_used_for_what_it_encrypts(self, resources):
        (key_id,) = of_type(resources, "AWS::KMS::Key")
        arn = f"<{key_id}.Arn>"
        by_role = {
            id_: {action for action, resource in granted(resources, id_) if resource == arn}
            for id_ in of_type(resources, "AWS::IAM::Role")
            if id_.startswith("VideoReclaim")
        }
        four = functions(resources)
        sends = {"kms:Decrypt", "kms:GenerateDataKey"}
        assert by_role[role_of(four["Enqueue"])] >= sends
        (machine,) = of_type(resources, "AWS::StepFunctions::StateMachine").values()
        assert by_role[machine["RoleArn"]["Fn::GetAtt"][0]] >= sends
        (schedule,) = of_type(resources, "AWS::Scheduler::Schedule").values()
        letters = resources[schedule["Target"]["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]]["Properties"]
        assert letters["KmsMasterKeyId"] == {"Fn::GetAtt": [key_id, "Arn"]}

    def test_no_other_account_can_make_a_service_use_a_role(self, resources):
        check_callers(resources, ACCOUNT)

    def test_the_schedule_may_start_this_workflow_and_leave_letters(self, resources):
        (schedule,) = of_type(resources, "AWS::Scheduler::Schedule").values()
        machine, letters = schedule["Target"]["Arn"], schedule["Target"]["DeadLetterConfig"]["Arn"]
        found = granted(resources, schedule["Target"]["RoleArn"]["Fn::GetAtt"][0])
        assert {pair for pair in found if not pair[0].startswith("kms:")} == {
            ("states:StartExecution", written(machine, resources)),
            ("sqs:SendMessage", written(letters, resources)),
        }

    def test_workflow_and_schedule_use_the_key_for_this_workflow_its_logs_and_its_letters(self, resources):
        (machine,) = of_type(resources, "AWS::StepFunctions::StateMachine").items()
        (schedule,) = of_type(resources, "AWS::Scheduler::Schedule").values()
        name = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{machine[1]['StateMachineName']}"

        def uses(role):
            return {
                (key, written(value, resources))
                for one in statements(resources, role["Fn::GetAtt"][0])
                if as_list(one["Action"])[0].startswith("kms:")
                for key, value in one["Condition"]["StringEquals"].items()
            }

        of_machine, via = "kms:EncryptionContext:aws:states:stateMachineArn", f"sqs.{REGION}.amazonaws.com"
        assert uses(machine[1]["RoleArn"]) == {
            (of_machine, name),
            ("kms:EncryptionContext:SourceArn", f"arn:aws:logs:{REGION}:{ACCOUNT}:*"),
        }
        assert uses(schedule["Target"]["RoleArn"]) == {
            (of_machine, f"<{machine[0]}>"),
            ("kms:ViaService", via),
        }
