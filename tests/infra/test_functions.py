"""What the functions of a stage are: told what the stage says, placed where it says, and made of one code."""

import importlib
import json
import shutil

import msgspec
import pytest

from cdk import functions as constructs
from cdk import workflow
from cdk.bundle import dependency_layer
from cdk.stage import StageFile, load, stages_in
from dev.testing.sections import SECTIONS as SECTIONS_OF
from tests.infra.conftest import (
    DEFINITION,
    ROOT,
    STAGES,
    assemble_anew,
    functions,
    machine_of,
    of_type,
    synthesized,
)
from tests.infra.references import ACCOUNT, written
from tests.infra.test_stages import LEAST
from video_reclaim import settings

SECTIONS = {name: getattr(settings, name) for of in SECTIONS_OF.values() for name in of}
# Not settings of a stage: the function's timeout, the queues and the name of the stage say what they are.
DERIVED = {("Database", "statement_seconds"), ("Queues", "urls"), ("Stage", "name")}
# Pairwise different, so that no value can be taken for another.
CHANGED = {
    "database": {"port": 6543, "sslMode": "verify-ca"},
    "reclaiming": {
        **{"silentAfterSeconds": 75, "handoffSeconds": 601, "maxReclaims": 3, "massSilenceSeconds": 320},
        **{"lostAfterSeconds": 1210, "expiredButBeating": "spare", "maxConcurrency": 4},
    },
    "schedule": {"rateMinutes": 2},
    "metrics": {"namespace": "Other", "dimensions": {"Site": "a"}},
    "scaling": {
        **{"mode": "apply", "videosPerWorker": 5, "spareWorkers": 0, "peakWindowSeconds": 300},
        **{"scaleInWindowSeconds": 660, "maxStepOut": 7, "overrideParameter": "/other"},
    },
}
CASES = [pytest.param(name, "{}", id=name) for name in STAGES]
CASES.append(pytest.param("existing", json.dumps(CHANGED), id="every-setting-changed"))


@pytest.mark.parametrize(("name", "overrides"), CASES)
def test_a_function_reads_what_the_stage_says(name, overrides):
    resources, stage = synthesized(name, overrides).template["Resources"], load(stages_in(), name, overrides)
    bound = machine_of(resources)["DefinitionSubstitutions"]
    assert bound["MaxConcurrency"] == str(stage.reclaiming.max_concurrency)
    for step, function in functions(resources).items():
        variables = {
            key: written(value, resources) for key, value in function["Environment"]["Variables"].items()
        }
        told = {
            section for section in SECTIONS if any(key.startswith(f"{section.upper()}_") for key in variables)
        }
        assert told == SECTIONS_OF[step], "neither less than it reads nor more"
        for section in told:
            found = settings.read(SECTIONS[section], variables)
            for field in msgspec.structs.fields(found):
                if (section, field.name) not in DERIVED:
                    said = getattr(getattr(stage, section.lower()), field.name)
                    assert getattr(found, field.name) == said, f"{section}.{field.name}"
            if section == "Queues":
                queues = {kind: [url.rpartition("/")[2] for url in urls] for kind, urls in found.urls.items()}
                assert queues == {"Video": [stage.queues.video], **stage.queues.others}
                places = {url.split("/")[-2] for urls in found.urls.values() for url in urls}
                assert places <= {ACCOUNT, stage.account}
            if section == "Stage":
                assert found.name == name
        statement_s = settings.read(settings.Database, variables).statement_seconds
        # 10,000 rows take seconds. A statement on a dead connection, and again on a new one, end in time.
        assert statement_s >= 10 and 2 * statement_s < function["Timeout"]


def test_a_section_of_the_settings_has_the_keys_of_the_stage():
    for name, section in SECTIONS.items():
        read = {field.name for field in msgspec.structs.fields(section)}
        if name not in ("Stage", "Queues"):
            keys = StageFile.model_fields[name.lower()].annotation.model_fields
            told = {key for key, field in keys.items() if not field.exclude}
            assert {field for field in read if (name, field) not in DERIVED} == told


def test_each_is_the_handler_of_its_state_with_a_role_and_a_log_group_of_its_own(stage, template):
    four, said = functions(template), load(stages_in(), stage)
    assert len(four) == 4
    layers = of_type(template, "AWS::Lambda::LayerVersion")
    for step, function in four.items():
        module, _, name = function["Handler"].partition(".")
        assert callable(getattr(importlib.import_module(module), name))
        assert module.replace("_", "") == step.lower()
        group = template[function["LoggingConfig"]["LogGroup"]["Ref"]]["Properties"]
        assert group["LogGroupName"].endswith(f"/{step}")
        assert sorted(layer["Ref"] for layer in function["Layers"]) == sorted(layers)
        assert (function["MemorySize"], function["Runtime"]) == (said.functions.memory_mb, "python3.13")
        assert (function["Architectures"], function["TracingConfig"]) == (["arm64"], {"Mode": "Active"})
        # NoSuccessfulRun has five minutes' patience: no single function may use up a third of it.
        assert 10 < function["Timeout"] <= 100
        network = said.network and {
            "SubnetIds": said.network.subnet_ids,
            "SecurityGroupIds": said.network.security_group_ids,
        }
        assert function.get("VpcConfig") == network
        for layer in layers.values():
            assert layer.get("CompatibleRuntimes", ["python3.13"]) == ["python3.13"]
    for what in ("Role", "Code"):
        assert len({json.dumps(one[what]) for one in four.values()}) == (4 if what == "Role" else 1)


@pytest.mark.parametrize(("retention", "days"), {"ONE_WEEK": 7, "ONE_MONTH": 30, "ONE_YEAR": 365}.items())
def test_logs_are_kept_as_long_as_the_stage_says(retention, days):
    given = json.dumps({"observability": {"logRetention": retention}})
    groups = of_type(synthesized("existing", given).template["Resources"], "AWS::Logs::LogGroup").values()
    assert {group["RetentionInDays"] for group in groups} == {days}


def test_runtime_and_memory_are_settings(monkeypatch):
    built = []
    monkeypatch.setattr(  # another version's wheels would have to be fetched
        constructs, "dependency_layer", lambda *asked: built.append(asked) or dependency_layer("aws")
    )
    values = {**LEAST, "functions": {"memoryMb": 1024, "python": "3.12"}}
    four = functions(assemble_anew(json.dumps({"mine": values}), "mine")["Resources"]).values()
    assert built == [("aws", "3.12")]
    assert {(one["MemorySize"], one["Runtime"]) for one in four} == {(1024, "python3.12")}


class TestRoots:
    def roots(self, **database):
        """The files of the layer with the roots, and the names that the functions are told."""
        stage = {**LEAST, "database": {**LEAST["database"], **database}}
        made = synthesized("mine", stages={"mine": stage})
        resources = made.template["Resources"]
        (layer,) = [
            one
            for one in of_type(resources, "AWS::Lambda::LayerVersion").values()
            if one["Description"].startswith("Roots")
        ]
        asset = layer["Content"]["S3Key"].partition(".")[0]
        told = {
            one["Environment"]["Variables"]["DATABASE_SSL_ROOT_CERT"] for one in functions(resources).values()
        }
        return {file.name: file.read_text() for file in (made.folder / f"asset.{asset}").iterdir()}, told

    def test_those_that_are_shipped(self):
        files, told = self.roots()
        assert told == {"rds.pem"}
        assert files["rds.pem"].count("BEGIN CERTIFICATE") > 80

    def test_those_of_a_path_of_the_user_s_own(self, tmp_path):
        (tmp_path / "china.pem").write_text("roots of China")
        files, told = self.roots(sslRootCert=str(tmp_path / "china.pem"))
        assert (files, told) == ({"china.pem": "roots of China"}, {"china.pem"})


class TestChange:
    def test_the_same_sources_give_the_same_template(self, stage):
        again = assemble_anew(json.dumps(stages_in()), stage)
        assert json.dumps(again, sort_keys=True) == json.dumps(synthesized(stage).template, sort_keys=True)

    def changed(self):
        """What a change of the sources changes in a stage, as types and properties."""
        before = synthesized("existing").template["Resources"]
        after = assemble_anew(json.dumps(stages_in()), "existing")["Resources"]
        assert before.keys() == after.keys()
        return {
            (one["Type"], key)
            for id_, one in before.items()
            for key, value in one.get("Properties", {}).items()
            if after[id_]["Properties"][key] != value
        }

    def test_another_definition_changes_the_state_machine_alone(self, monkeypatch, tmp_path):
        other = tmp_path / "changed.asl.json"
        other.write_text(DEFINITION.read_text().replace('"MaxAttempts": 10', '"MaxAttempts": 9', 1))
        monkeypatch.setattr(workflow, "DEFINITION", other)
        assert {kind for kind, _ in self.changed()} == {"AWS::StepFunctions::StateMachine"}

    def test_other_code_changes_the_functions_alone(self, monkeypatch, tmp_path):
        shutil.copytree(ROOT / "functions", tmp_path / "functions")
        handler = tmp_path / "functions" / "enqueue.py"
        handler.write_text(handler.read_text() + "\n# changed\n")
        monkeypatch.setattr(constructs, "ROOT", tmp_path)
        assert self.changed() == {("AWS::Lambda::Function", "Code")}
