"""Several deployments in one account and region: the example app, and two stages that create all they need."""

from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from dev.local import metadata
from dev.local.worker import Instance
from tests.e2e.shared_account import EXAMPLE, Account, add_what_fails

pytestmark = pytest.mark.xdist_group("shared-account")


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    with Account(tmp_path_factory.mktemp("shared")) as account:
        yield account


def test_the_example_puts_a_stuck_video_back_to_work(account):
    academy = account.academies[EXAMPLE]
    video = academy.add(until=-5)
    record = account.run(EXAMPLE)
    assert (record["stale"], record["enqueued"]) == ({"leaseExpired": 1}, 1)
    assert academy.state(video) == ("UPLOADED", "", False)
    assert account.queue(EXAMPLE, "Jobs").take_ids() == [video]


class TestTwoStages:
    @pytest.fixture(scope="class")
    @classmethod
    def records(cls, account):
        """One run of each stage, of which blue has three videos to put back, and green one."""
        for name, videos in (("blue", 3), ("green", 1)):
            for _ in range(videos):
                account.academies[name].add(until=-5)
        return {name: account.run(f"VideoReclaim-{name}") for name in ("blue", "green")}

    @pytest.mark.parametrize(("name", "videos"), [("blue", 3), ("green", 1)])
    def test_each_counts_its_own_backlog(self, account, records, name, videos):
        inputs = records[name]["decision"]["inputs"]
        assert (inputs["uploaded"], inputs["visible"]) == (videos, videos)
        assert len(account.queue(f"VideoReclaim-{name}", "QueuesVideoE").take_ids()) == videos

    @pytest.mark.parametrize(("name", "videos"), [("blue", 3), ("green", 1)])
    def test_each_sizes_its_own_workers(self, account, records, name, videos):
        group = f"video-workers-{name}"
        (shown,) = account.clients.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])[
            "AutoScalingGroups"
        ]
        assert shown["DesiredCapacity"] == records[name]["decision"]["desired"] == videos

    @pytest.mark.parametrize(("name", "videos"), [("blue", 3), ("green", 1)])
    @pytest.mark.parametrize("metric", ["BacklogCount", "VideosReclaimed", "DesiredWorkers"])
    def test_each_publishes_under_its_own_name(self, account, records, name, videos, metric):
        now = datetime.now(UTC)
        points = account.clients.cloudwatch.get_metric_statistics(
            Namespace="Academy/Workers",
            MetricName=metric,
            Dimensions=[{"Name": "Stage", "Value": name}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=2),
            Period=3600,
            Statistics=["Maximum"],
        )["Datapoints"]
        assert [point["Maximum"] for point in points] == [videos]


class TestFailures:
    """A deployment that fails and a removal, each with instances whose workers are busy."""

    @pytest.fixture(scope="class")
    @classmethod
    def draining(cls, account):
        """An instance of the stage green that is leaving and waits for its worker."""
        scaling, group = account.clients.autoscaling, "video-workers-green"
        scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=2)
        for one in cls.instances(account, group):
            instance = Instance(
                one["InstanceId"],
                group,
                "finish-encode",
                scaling,
                metadata.url(account.emulator.endpoint_url, one["InstanceId"]),
            )
            assert not instance.is_leaving()
        scaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
        (waiting,) = [
            one for one in cls.instances(account, group) if one["LifecycleState"] == "Terminating:Wait"
        ]
        return waiting["InstanceId"]

    @staticmethod
    def instances(account, group):
        shown = account.clients.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        return shown["AutoScalingGroups"][0]["Instances"]

    def test_a_first_deployment_that_fails_leaves_nothing(self, account):
        def red(app):
            add_what_fails(account.add_stage(app, "red"))

        assert account.create(red, "VideoReclaim-red") == "ROLLBACK_COMPLETE"
        created = account.created("VideoReclaim-red")
        assert {"AWS::AutoScaling::AutoScalingGroup", "AWS::SQS::Queue", "AWS::Lambda::Function"} <= created
        assert account.resources("VideoReclaim-red") == {}

    def test_an_update_that_fails_leaves_the_stage_as_it_was(self, account, draining):
        def changed(app):
            add_what_fails(account.add_stage(app, "green", functions={"memoryMb": 1024}))

        before = account.resources("VideoReclaim-green").keys()
        assert account.update(changed, "VideoReclaim-green") == "UPDATE_ROLLBACK_COMPLETE"
        assert account.resources("VideoReclaim-green").keys() == before
        for function in account.clients.functions.list_functions()["Functions"]:
            assert function["MemorySize"] != 1024
        states = {
            one["InstanceId"]: one["LifecycleState"] for one in self.instances(account, "video-workers-green")
        }
        assert states[draining] == "Terminating:Wait"
        video = account.academies["green"].add(until=-5)
        assert account.run("VideoReclaim-green")["reclaimed"] == 1
        assert account.queue("VideoReclaim-green", "QueuesVideoE").take_ids() == [video]

    def test_a_removal_does_not_wait_for_a_busy_worker(self, account, draining):
        account.destroy("green")
        with pytest.raises(ClientError, match="does not exist"):
            account.status("VideoReclaim-green")
        groups = account.clients.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        assert "video-workers-green" not in {group["AutoScalingGroupName"] for group in groups}
        assert account.status("VideoReclaim-blue") == "CREATE_COMPLETE"
