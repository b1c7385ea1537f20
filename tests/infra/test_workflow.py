"""The definition, bound to a stage: every placeholder, every time limit, and what is logged."""

import json
import re

import jsonata
import pytest

from cdk.stage import load, stages_in
from tests.infra.conftest import DEFINITION, STAGES, functions, machine_of, states, synthesized
from video_reclaim.adapters.postgres import session
from video_reclaim.adapters.redis import session as redis_session


def bound(name):
    """The definition of a stage as Step Functions reads it: with its placeholders filled in."""
    values = machine_of(synthesized(name).template["Resources"])["DefinitionSubstitutions"]
    known = {name: value if isinstance(value, str) else "token" for name, value in values.items()}
    text = re.sub(r"\$\{(\w+)\}", lambda found: known[found[1]], DEFINITION.read_text())
    return json.loads(text)


def called(task):
    """The step that a Task calls; None if it calls no function."""
    found = re.fullmatch(r"\$\{(\w+)Arn\}", task["Arguments"].get("FunctionName", ""))
    return found and found[1]


def tasks():
    found = {
        name: state for name, state in states(json.loads(DEFINITION.read_text())) if state["Type"] == "Task"
    }
    assert len(found) == 7
    return found


def evaluate(expression):
    return jsonata.Jsonata(expression.removeprefix("{%").removesuffix("%}")).evaluate(None)


def test_every_placeholder_of_the_definition_is_filled_and_no_other(template):
    used = set(re.findall(r"\$\{(\w+)\}", DEFINITION.read_text()))
    assert used == set(machine_of(template)["DefinitionSubstitutions"])


@pytest.mark.parametrize("name", STAGES)
def test_both_maps_run_as_many_items_at_once_as_the_stage_allows(name):
    allowed = load(stages_in(), name).reclaiming.max_concurrency
    maps = [state for _, state in states(bound(name)) if state["Type"] == "Map"]
    assert [evaluate(one["MaxConcurrency"]) for one in maps] == [allowed, allowed]


@pytest.mark.parametrize("name", STAGES)
def test_what_the_workflow_calls_is_of_its_own_stage(name):
    template = synthesized(name).template["Resources"]
    values = machine_of(template)["DefinitionSubstitutions"]
    for step, function in functions(template).items():
        id_, attribute = values[f"{step}Arn"]["Fn::GetAtt"]
        assert (template[id_]["Properties"], attribute) == (function, "Arn")
    assert values["AutoScalingGroupName"] == load(stages_in(), name).workers.group_name
    assert values["Partition"] in ("aws", {"Ref": "AWS::Partition"})


def test_each_task_calls_the_function_of_its_name():
    steps = {name: called(task) for name, task in tasks().items() if called(task)}
    assert {name.removesuffix("Again") for name in steps} == set(steps.values())
    assert all(name.removesuffix("Again") == step for name, step in steps.items())


def test_a_task_outlasts_its_function_but_not_by_much(template):
    """A Task that ends first would be retried beside its own function; one that hangs holds up the execution."""
    by_step = functions(template)
    for name, task in tasks().items():
        timeout_s = (
            by_step[called(task)]["Timeout"] if called(task) else 10
        )  # Auto Scaling answers in seconds
        assert timeout_s < task["TimeoutSeconds"] <= timeout_s + 15, name


def test_a_function_outlasts_what_it_waits_for(template):
    for step, function in functions(template).items():
        statement_s = int(function["Environment"]["Variables"]["DATABASE_STATEMENT_SECONDS"])
        afterwards_s = 28 if step == "PublishBacklog" else 0  # two calls of CloudWatch, each twice for 7 s
        # a statement on a dead connection, a new connection, and the statement again
        database_s = statement_s + session._CONNECT_TIMEOUT_S + statement_s
        assert function["Timeout"] > database_s + afterwards_s
        assert function["Timeout"] > 3 * redis_session._TIMEOUT_S


def test_half_a_handoff_outlasts_the_function_that_sends(template):
    enqueue = functions(template)["Enqueue"]
    assert int(enqueue["Environment"]["Variables"]["RECLAIMING_HANDOFF_SECONDS"]) / 2 >= enqueue["Timeout"]


def test_logs_everything_but_execution_data_unless_asked(stage, template):
    machine = machine_of(template)
    logging = machine["LoggingConfiguration"]
    asked = stages_in()[stage].get("observability", {}).get("logExecutionData", False)
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", asked)
    assert machine["TracingConfiguration"] == {"Enabled": True}
    ((id_, _),) = [
        one["CloudWatchLogsLogGroup"]["LogGroupArn"]["Fn::GetAtt"] for one in logging["Destinations"]
    ]
    assert template[id_]["Type"] == "AWS::Logs::LogGroup"


def test_real_stages_keep_execution_data_out_of_logs():
    for name in ("greenfield", "existing"):
        logging = machine_of(synthesized(name).template["Resources"])["LoggingConfiguration"]
        assert logging["IncludeExecutionData"] is False
