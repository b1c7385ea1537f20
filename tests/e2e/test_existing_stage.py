"""The stage ``existing`` beside a platform that it did not make, in an account with another stage; and its removal."""

import contextlib
import json
import os
from pathlib import Path

import pytest

from dev.local.watchdog import scratch_folder
from tests.e2e.beside import DIMENSIONS, PASSWORD, STACK_NAME, TOKEN, ExistingStage, Platform, exists

pytestmark = pytest.mark.xdist_group("deployed")


@pytest.fixture(scope="module")
def platform(one_deployed):
    with contextlib.closing(Platform(one_deployed)) as platform:
        yield platform


@pytest.fixture(scope="module")
def existing(platform):
    with scratch_folder() as scratch:
        deployment = ExistingStage(platform, scratch)
        deployment.up()
        yield deployment


def test_two_stages_work_side_by_side(deployed, platform, existing):
    own, others = [platform.academy.add(until=-5)], [deployed.academy.add(until=-5) for _ in range(3)]

    of_existing, of_local = existing.run(deployed), deployed.run()

    for execution, academy, queue, videos in (
        (of_existing, platform.academy, platform.queue, own),
        (of_local, deployed.academy, deployed.queue, others),
    ):
        assert execution["status"] == "SUCCEEDED", execution
        assert execution["record"]["stale"] == {"leaseExpired": len(videos)}
        assert execution["record"]["decision"]["inputs"]["visible"] == len(videos)
        assert queue.take_ids() == videos
        assert all(academy.state(video) == ("UPLOADED", "", False) for video in videos)
    assert (platform.desired(), deployed.desired()) == (1, 3)


def test_it_publishes_what_the_alarms_look_at(deployed, platform, existing):
    existing.run(deployed)
    wanted = [{"Name": name, "Value": value} for name, value in DIMENSIONS.items()]
    alarms = deployed.clients.cloudwatch.describe_alarms(AlarmNamePrefix="video-reclaim-existing-")[
        "MetricAlarms"
    ]
    assert alarms
    for alarm in alarms:
        assert alarm["AlarmActions"] == [platform.topic]
        if alarm["Namespace"] == "Academy/Workers" and alarm["Statistic"] != "Sum":  # sums of 0 are not put
            found = deployed.clients.cloudwatch.list_metrics(
                Namespace="Academy/Workers", MetricName=alarm["MetricName"]
            )["Metrics"]
            assert wanted in [metric["Dimensions"] for metric in found], alarm["MetricName"]


def test_deploying_again_changes_nothing(existing):
    assert "(no changes)" in existing.deploy_again()


def test_no_secret_is_anywhere(deployed, platform, existing):
    """After a good run, and one in which the database refuses the password."""
    executions = [existing.run(deployed)]
    platform.set_secret_password(f"wrong-{PASSWORD}")
    platform.disconnect()
    for function in existing.functions():  # a warm one keeps a password that was right
        settings = deployed.clients.functions.get_function_configuration(FunctionName=function)
        variables = settings["Environment"]["Variables"] | {"RESTARTED": "1"}
        deployed.clients.functions.update_function_configuration(
            FunctionName=function, Environment={"Variables": variables}
        )
    executions.append(existing.run(deployed))
    platform.set_secret_password(PASSWORD)

    assert [one["status"] for one in executions] == ["SUCCEEDED", "FAILED"]
    assert "authentication failed" in executions[1]["cause"]
    for place, texts in _places(deployed, existing, executions).items():
        text = "\n".join(texts)
        assert len(text) > 100, f"{place}: there must be something to look through"
        for secret in (PASSWORD, TOKEN, json.dumps(PASSWORD)[1:-1], PASSWORD.split("/")[0]):
            assert secret not in text, place


def _places(deployed, existing, executions):
    clients = deployed.clients
    stack = {"StackName": STACK_NAME}
    return {
        "environment": [
            str(clients.functions.get_function_configuration(FunctionName=name))
            for name in existing.functions()
        ],
        "log": [
            event["message"]
            for group in clients.logs.describe_log_groups()["logGroups"]
            for event in clients.logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
        ],
        "template": [
            str(clients.cloudformation.get_template(**stack)),
            str(clients.cloudformation.describe_stack_events(**stack)),
        ],
        "assembly": [
            (Path(folder) / file).read_text()
            for folder, _folders, files in os.walk(existing.assembly)
            for file in files
            if file.endswith((".json", ".py"))
        ],
        "command": [str(existing.outputs()), *(log.read_text() for log in existing.logs.glob("*.log"))],
        "executions": [
            *map(str, executions),
            *(
                str(clients.stepfunctions.get_execution_history(executionArn=one["executionArn"]))
                for one in executions
            ),
        ],
        "metrics": [str(clients.cloudwatch.list_metrics())],
    }


def test_removing_it_leaves_the_platform_as_it_was(deployed, platform, existing):
    video = platform.academy.add(until=-5)
    before, functions = platform.inventory(), existing.functions()
    machine = existing.outputs()["StateMachineArn"]
    find = deployed.clients.functions.get_function
    assert functions and all(exists(find, FunctionName=name) for name in functions)

    existing.destroy()

    assert platform.inventory() == before and video in before["videos"]
    assert not any(exists(find, FunctionName=name) for name in functions)
    assert not exists(deployed.clients.stepfunctions.describe_state_machine, stateMachineArn=machine)
    assert not deployed.clients.cloudwatch.describe_alarms(AlarmNamePrefix="video-reclaim-existing-")[
        "MetricAlarms"
    ]
    assert deployed.run()["status"] == "SUCCEEDED", "the other stage stays"
