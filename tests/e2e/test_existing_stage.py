"""The stage ``existing``: deployed beside a platform that it did not make, run, and removed."""

import contextlib
import json
import os
from pathlib import Path

import pytest

from cdk.stage import load, stages_in
from cdk.verify import verify
from tests.e2e.beside import DIMENSIONS, PASSWORD, STACK_NAME, TOKEN, Deployment, Platform, exists
from video_reclaim.rules.platform import HEARTBEAT_SEEN_KEY

pytestmark = pytest.mark.xdist_group("beside")


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with Platform(tmp_path_factory.mktemp("beside"), auth=True) as platform:
        yield platform


@pytest.fixture(scope="module")
def deployed(platform):
    deployment = Deployment(platform)
    deployment.up()
    return deployment


def test_it_puts_the_platforms_stuck_videos_back_to_work(platform, deployed):
    with contextlib.closing(platform.redis()) as redis:
        redis.set(
            HEARTBEAT_SEEN_KEY, "1", ex=86_400
        )  # as after the first heartbeat; without it Redis is not trusted
    video = platform.stuck_video()
    ended = deployed.run()
    assert ended["status"] == "SUCCEEDED", ended
    report = json.loads(ended["output"])
    assert report["stale"] == {"leaseExpired": 1}
    assert report["heartbeatsTrusted"] is True
    assert platform.state(video) == ("UPLOADED", "")
    assert [body["video_id"] for body in platform.messages()] == [video]


def test_it_publishes_what_the_alarms_look_at(platform, deployed):
    deployed.run()
    wanted = [{"Name": name, "Value": value} for name, value in DIMENSIONS.items()]
    alarms = platform.clients.cloudwatch.describe_alarms(AlarmNamePrefix="video-reclaim-existing-")[
        "MetricAlarms"
    ]
    assert alarms
    for alarm in alarms:
        assert alarm["AlarmActions"] == [platform.topic]
        if alarm["Namespace"] == "Academy/Workers" and alarm["Statistic"] != "Sum":  # sums of 0 are not put
            found = platform.clients.cloudwatch.list_metrics(
                Namespace="Academy/Workers", MetricName=alarm["MetricName"]
            )["Metrics"]
            assert wanted in [metric["Dimensions"] for metric in found], alarm["MetricName"]


def test_deploying_again_changes_nothing(platform, deployed):
    before = platform.clients.cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    assert "(no changes)" in deployed.deploy_again()
    after = platform.clients.cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    assert after.get("LastUpdatedTime") == before.get("LastUpdatedTime")


def test_a_verification_finds_what_is_wrong_and_nothing_else(platform, deployed):
    stage = load(stages_in(), "existing", json.dumps(platform.configuration()))
    before = platform.inventory()
    found = {}
    for finding in verify("existing", stage, platform.clients.of):
        found.setdefault(finding.check, []).append(finding.problem)
    assert platform.inventory() == before
    assert found.pop("topics") == [f"nobody is subscribed to {platform.topic}"]
    (unprotected,) = found.pop("worker group")
    assert unprotected.startswith("new instances are not protected")
    assert {check: problems for check, problems in found.items() if problems != [""]} == {}
    assert set(found) == {"stack", "roles", "dry run", "metrics", "alarms", "schedule"}


def test_a_verification_of_a_stage_that_is_not_deployed_says_so(platform, deployed):
    stage = load(stages_in(), "existing", json.dumps(platform.configuration()))
    (finding,) = verify("other", stage, platform.clients.of)
    assert "make deploy STAGE=other" in finding.problem


class TestSecrets:
    @pytest.fixture(scope="class")
    @classmethod
    def after_trouble(cls, platform, deployed):
        """A good run, one in which the database refuses the password, and one in which it is away."""
        executions = [deployed.run()]
        secret = json.dumps({"username": "video_reclaim", "password": f"wrong-{PASSWORD}"})
        try:
            platform.clients.secrets.put_secret_value(SecretId=platform.database_secret, SecretString=secret)
            platform.sql(
                "ALTER ROLE video_reclaim PASSWORD 'another';"
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'video_reclaim'"
            )
            executions.append(deployed.run())
            platform.postgres.stop()
            executions.append(deployed.run())
        finally:
            platform.postgres.start()
            platform.sql(f"ALTER ROLE video_reclaim PASSWORD '{PASSWORD}'")
            secret = json.dumps({"username": "video_reclaim", "password": PASSWORD})
            platform.clients.secrets.put_secret_value(SecretId=platform.database_secret, SecretString=secret)
        return executions

    def test_the_runs_failed_where_an_error_could_show_a_secret(self, after_trouble):
        assert [one["status"] for one in after_trouble] == ["SUCCEEDED", "FAILED", "FAILED"]
        assert "authentication failed" in after_trouble[1]["cause"]

    @pytest.mark.parametrize(
        "place", ["environment", "log", "template", "assembly", "outputs", "executions", "metrics"]
    )
    def test_no_secret_is_in(self, platform, deployed, after_trouble, place):
        text = "\n".join(PLACES[place](platform, deployed, after_trouble))
        assert len(text) > 100  # there was something to look through
        for secret in (PASSWORD, TOKEN, json.dumps(PASSWORD)[1:-1], PASSWORD.split("/")[0]):
            assert secret not in text


def _environment(platform, deployed, _):
    for name, function in deployed.outputs().items():
        if name.endswith("Function"):
            yield json.dumps(
                platform.clients.functions.get_function_configuration(FunctionName=function), default=str
            )


def _log(platform, _, __):
    for group in platform.clients.logs.describe_log_groups()["logGroups"]:
        for event in platform.clients.logs.filter_log_events(logGroupName=group["logGroupName"])["events"]:
            yield event["message"]
    yield (platform._logs / "emulator.log").read_text()


def _template(platform, _, __):
    yield json.dumps(
        platform.clients.cloudformation.get_template(StackName=STACK_NAME)["TemplateBody"], default=str
    )
    yield json.dumps(platform.clients.cloudformation.describe_stack_events(StackName=STACK_NAME), default=str)


def _assembly(platform, _, __):
    for folder, _folders, files in os.walk(platform.assembly):
        for file in files:
            if file.endswith((".json", ".py")):
                yield (Path(folder) / file).read_text()


def _outputs(platform, deployed, _):
    yield json.dumps(deployed.outputs())
    for log in platform._logs.glob("*.log"):
        if log.name in ("synth.log", "bootstrap.log", "deploy.log"):
            yield log.read_text()


def _executions(platform, _, executions):
    states = platform.clients.stepfunctions
    for one in executions:
        yield json.dumps(one, default=str)
        yield json.dumps(
            states.get_execution_history(executionArn=one["executionArn"], maxResults=1000), default=str
        )


def _metrics(platform, _, __):
    yield json.dumps(platform.clients.cloudwatch.list_metrics(), default=str)


PLACES = {
    "environment": _environment,
    "log": _log,
    "template": _template,
    "assembly": _assembly,
    "outputs": _outputs,
    "executions": _executions,
    "metrics": _metrics,
}


def test_removing_it_leaves_the_platform_as_it_was(platform, deployed):
    video = platform.stuck_video()
    before = platform.inventory()
    functions = {name: value for name, value in deployed.outputs().items() if name.endswith("Function")}
    machine = deployed.outputs()["StateMachineArn"]
    assert all(
        exists(platform.clients.functions.get_function, FunctionName=name) for name in functions.values()
    )
    deployed.destroy()
    assert platform.inventory() == before
    assert platform.state(video) == ("PROCESSING", "w-1")
    assert not any(
        exists(platform.clients.functions.get_function, FunctionName=name) for name in functions.values()
    )
    assert not exists(platform.clients.stepfunctions.describe_state_machine, stateMachineArn=machine)
    assert not platform.clients.cloudwatch.describe_alarms(AlarmNamePrefix="video-reclaim-")["MetricAlarms"]
    assert not [
        url for url in platform.clients.sqs.list_queues().get("QueueUrls", []) if "video-reclaim" in url
    ]
