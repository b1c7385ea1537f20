"""The main job on the whole stack: deployed, its functions in processes of their own, on real servers."""

import json

import pytest

from tests.mixture import check_main_job

pytestmark = pytest.mark.xdist_group("deployed")


def test_exactly_the_stale_videos_of_any_mixture_go_back_to_work(deployed):
    def run():
        execution = deployed.run()
        assert execution["status"] == "SUCCEEDED", execution
        return execution["record"]

    check_main_job(deployed.academy, deployed.queue, run)


def everything(deployed):
    academy = deployed.academy
    listed = deployed.clients.cloudwatch.list_metrics(Namespace=deployed.stack.metric_namespace)["Metrics"]
    names = {metric["MetricName"] for metric in listed}
    return {
        "rows": academy.rows(),
        "redis": {
            key: (academy.redis.dump(key), academy.redis.pexpiretime(key))
            for key in academy.redis.scan_iter()
        },
        "messages": deployed.queue.count(),
        "metrics": {name: deployed.published(name, "SampleCount") for name in names},
        "desired": deployed.desired(),
    }


def test_a_dry_run_writes_nothing_anywhere(deployed):
    academy = deployed.academy
    expired, silent = academy.add(until=-5), academy.add()
    before = everything(deployed)

    execution = deployed.run({"dryRun": True})

    assert execution["status"] == "SUCCEEDED"
    assert {video["id"]: video["reason"] for video in execution["record"]["videos"]} == {
        expired: "leaseExpired",
        silent: "silentOnce",
    }
    assert everything(deployed) == before


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param({"dryRun": "yes"}, "dryRun", id="dry-run-is-a-string"),
        pytest.param({"limit": 0}, "limit", id="limit-is-zero"),
        pytest.param({"dryrun": True}, "dryrun", id="misspelt-field"),
    ],
)
def test_a_wrong_input_fails_before_any_write_and_names_the_field(deployed, given, field):
    deployed.academy.add(until=-5)
    before = everything(deployed)

    execution = deployed.run(given)

    assert (execution["status"], execution["error"]) == ("FAILED", "InvalidInput")
    assert json.loads(execution["cause"])["errorMessage"].startswith(f"{field}: ")
    assert everything(deployed) == before
