"""Any partition, any account, and a pipeline's stage."""

import json
import re
from pathlib import Path

import aws_cdk
import pytest

from cdk import functions as constructs
from cdk.bundle import dependency_layer
from cdk.stage import stages_in
from examples.app import Academy
from tests.infra.conftest import CONTEXT, assemble, assemble_anew, functions, make_folder, of_type
from tests.infra.references import REGION, as_list, statements, written
from tests.infra.test_stages import CREATE, LEAST

PLACES = {"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1", "aws": "eu-west-1"}
ACCOUNT = "210987654321"


def synthesize(values, name="mine", **outer):
    """The template of a stage, in an app or in a ``cdk.Stage`` with ``outer``."""
    made = assemble(json.dumps({name: values}), name, place=tuple(sorted(outer.items())))
    return made, made.template


def arns_in(value):
    """Every partition that is written out in a template, and every reference to the deployment's own."""
    text = json.dumps(value)
    return set(re.findall(r"arn:(aws[\w-]*):", text)), "AWS::Partition" in text


@pytest.mark.parametrize("partition", PLACES)
@pytest.mark.parametrize("values", [LEAST, CREATE], ids=["existing", "created"])
def test_one_partition_throughout(partition, values):
    region = PLACES[partition]
    secret = f"arn:{partition}:secretsmanager:{region}:123456789012:secret:academy/database-AbCdEf"
    key = f"arn:{partition}:kms:{region}:123456789012:key/0123"
    database = {**values["database"], "secretArn": secret, "secretKeyArn": key, "sslMode": "require"}
    topic = f"arn:{partition}:sns:{region}:123456789012:operators"
    values = {**values, "region": region, "database": database, "observability": {"topicArn": topic}}
    workers = json.loads(json.dumps(values["workers"]))
    if "create" in workers:
        workers["create"]["availabilityZones"] = [f"{region}a", f"{region}b"]
    _, template = synthesize({**values, "workers": workers, "encryptionKeyArn": key})
    written, _ = arns_in(template)
    assert written == {partition}


def moved(values, partition, region):
    """A stage of stages/ as it would be in another partition, whose roots are not shipped."""
    text = json.dumps(values).replace(values["region"], region).replace("arn:aws:", f"arn:{partition}:")
    there = json.loads(text)
    if there["database"].get("sslMode") != "disable":
        there["database"]["sslMode"] = "require"
    return there


@pytest.mark.parametrize("partition", PLACES)
def test_every_stage_of_the_folder_is_of_one_partition(partition, stage):
    """They have networks, an instance profile, and sign in by IAM, by secret and by neither."""
    given = stages_in()[stage]
    written, _ = arns_in(synthesize(moved(given, partition, PLACES[partition]), stage)[1])
    assert written <= {partition}
    assert written or "arn:" not in json.dumps(given)


class ExampleElsewhere(Academy):
    def database_connection(self, database):
        return super().database_connection(database).model_copy(update={"ssl_mode": "require"})


@pytest.mark.parametrize("partition", PLACES)
def test_the_example_is_of_one_partition(partition):
    env = aws_cdk.Environment(account=ACCOUNT, region=PLACES[partition])
    zones = {
        f"availability-zones:account={ACCOUNT}:region={env.region}": [f"{env.region}a", f"{env.region}b"]
    }
    app = aws_cdk.App(context=CONTEXT | zones, outdir=make_folder(), builtin_cloud_formation_validation=False)
    ExampleElsewhere(app, "Academy", env=env)
    (stack,) = app.synth().stacks
    written, referred = arns_in(json.loads(Path(stack.template_full_path).read_text()))
    assert written <= {partition}
    assert referred


@pytest.mark.parametrize("values", [LEAST, CREATE], ids=["existing", "created"])
def test_without_a_region_the_partition_is_the_deployments(values):
    database = {"host": "db", "name": "academy", "user": "u"}
    written, referred = arns_in(synthesize({**values, "database": database})[1])
    assert (written, referred) == (set(), True)


def test_a_pipelines_stage_gives_account_and_region():
    database = {"host": "db", "name": "academy", "user": "u"}
    stack, template = synthesize({**LEAST, "database": database}, account=ACCOUNT, region="eu-west-2")
    assert (stack.account, stack.region) == (ACCOUNT, "eu-west-2")
    assert stack.name == "VideoReclaim-mine"
    (machine,) = of_type(template["Resources"], "AWS::StepFunctions::StateMachine").values()
    assert "eu-west-2" in json.dumps(template)
    assert machine["StateMachineName"] == "video-reclaim-mine-reclaim-videos"


class TestRegulated:
    KEY = "arn:aws:kms:eu-west-1:123456789012:key/0123"

    def test_one_key_for_all_that_is_created(self):
        _, template = synthesize({**CREATE, "encryptionKeyArn": self.KEY})
        resources = template["Resources"]
        assert {q["KmsMasterKeyId"] for q in of_type(resources, "AWS::SQS::Queue").values()} == {self.KEY}
        ours = {id_: one for id_, one in resources.items() if not id_.startswith("Workers")}
        assert {g["KmsKeyId"] for g in of_type(ours, "AWS::Logs::LogGroup").values()} == {self.KEY}
        assert {f["KmsKeyArn"] for f in functions(resources).values()} == {self.KEY}
        (group,) = of_type(resources, "AWS::EC2::LaunchTemplate").values()
        (disk,) = group["LaunchTemplateData"]["BlockDeviceMappings"]
        assert disk["Ebs"]["KmsKeyId"] == self.KEY
        (machine,) = of_type(resources, "AWS::StepFunctions::StateMachine").values()
        assert machine["EncryptionConfiguration"]["KmsKeyId"] == self.KEY

    @pytest.fixture(scope="class")
    @classmethod
    def encrypted(cls):
        """The resources of a stage that creates everything, with a key."""
        return synthesize({**CREATE, "encryptionKeyArn": cls.KEY})[1]["Resources"]

    def uses_of_the_key(self, resources, role):
        """What a role may do with the key, by the condition that holds it to one use."""
        return {
            (name, written(value, resources)): set(as_list(one["Action"]))
            for one in statements(resources, role)
            if one["Resource"] == self.KEY
            for name, value in one["Condition"]["StringEquals"].items()
        }

    def test_workers_may_decrypt_the_jobs(self, encrypted):
        (role,) = [id_ for id_ in of_type(encrypted, "AWS::IAM::Role") if id_.startswith("WorkersRole")]
        via_sqs = ("kms:ViaService", f"sqs.{REGION}.amazonaws.com")
        assert self.uses_of_the_key(encrypted, role) == {via_sqs: {"kms:Decrypt"}}

    def test_the_schedule_may_start_the_encrypted_workflow_and_leave_letters(self, encrypted):
        (schedule,) = of_type(encrypted, "AWS::Scheduler::Schedule").values()
        role = schedule["Target"]["RoleArn"]["Fn::GetAtt"][0]
        machine = written(schedule["Target"]["Arn"], encrypted)
        assert self.uses_of_the_key(encrypted, role) == {
            ("kms:ViaService", f"sqs.{REGION}.amazonaws.com"): {"kms:Decrypt", "kms:GenerateDataKey"},
            ("kms:EncryptionContext:aws:states:stateMachineArn", machine): {
                "kms:Decrypt",
                "kms:GenerateDataKey",
            },
        }

    @pytest.mark.parametrize(("retain", "policy"), [(True, "Retain"), (False, "Delete")])
    def test_queues_and_logs_are_kept_or_deleted_with_the_stack(self, retain, policy):
        _, template = synthesize({**CREATE, "retain": retain})
        kept = {
            one["DeletionPolicy"]
            for id_, one in template["Resources"].items()
            if one["Type"] in ("AWS::Logs::LogGroup", "AWS::SQS::Queue")
            and not id_.startswith(("Workers", "Schedule"))
        }
        assert kept == {policy}

    def test_a_stack_can_be_protected(self):
        stack, _ = synthesize({**LEAST, "terminationProtection": True})
        assert stack.termination_protection is True


def test_runtime_and_memory_are_settings(monkeypatch):
    built = []
    monkeypatch.setattr(  # another version's wheels would have to be fetched
        constructs, "dependency_layer", lambda *asked: built.append(asked) or dependency_layer("aws")
    )
    values = {**LEAST, "functions": {"memoryMb": 1024, "python": "3.12"}}
    template = assemble_anew(json.dumps({"mine": values}), "mine")
    four = functions(template["Resources"]).values()
    assert built == [("aws", "3.12")]
    assert {(one["MemorySize"], one["Runtime"]) for one in four} == {(1024, "python3.12")}


NAMES = {
    "AlarmName",
    "AutoScalingGroupName",
    "DashboardName",
    "FunctionName",
    "LogGroupName",
    "Name",
    "QueueName",
    "StateMachineName",
}


def names_in(template):
    """Every name of a resource, and what tells the metrics and the override apart."""
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        yield from (value for key, value in properties.items() if key in NAMES and isinstance(value, str))
        variables = properties.get("Environment", {}).get("Variables", {})
        yield from (
            variables[key] for key in ("METRICS_DIMENSIONS", "SCALING_OVERRIDE_PARAMETER") if key in variables
        )


def test_two_stages_that_create_everything_have_no_name_in_common():
    mine, other = (set(names_in(synthesize(CREATE, name=name)[1])) for name in ("mine", "other"))
    assert len(mine) == len(other) > 30
    assert mine & other == set()
