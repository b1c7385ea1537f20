"""Several deployments in one account and region: the example app, and two stages that create all they need."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.shared_account import EXAMPLE, Account

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
