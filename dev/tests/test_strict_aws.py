"""The stand-in is as strict as it says; or the tests that rely on it would prove nothing."""

from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ClientError

from dev.testing.sections import GROUP
from dev.testing.strict_aws import make_workers, strict_aws

NOW = datetime.now(UTC).replace(second=30, microsecond=0)
METRIC = {"MetricName": "Backlog", "Dimensions": [{"Name": "Kind", "Value": "Video"}]}


@pytest.fixture
def aws():
    with strict_aws() as aws:
        yield aws


def test_points_are_read_late_at_the_start_of_their_minute_newest_first(aws):
    cloudwatch = boto3.client("cloudwatch")
    put = [{**METRIC, "Value": age, "Timestamp": NOW - timedelta(seconds=age)} for age in (65, 70, 130)]
    cloudwatch.put_metric_data(Namespace="Academy", MetricData=put)
    stat = {"Metric": {**METRIC, "Namespace": "Academy"}, "Period": 60, "Stat": "Maximum"}

    def points():
        (series,) = cloudwatch.get_metric_data(
            MetricDataQueries=[{"Id": "q", "MetricStat": stat}],
            StartTime=NOW - timedelta(seconds=600),
            EndTime=NOW,
        )["MetricDataResults"]
        found = zip(series["Timestamps"], series["Values"], strict=True)
        return [((NOW - at).total_seconds(), value) for at, value in found]

    assert points() == []
    aws.settle()
    assert points() == [(90, 70), (150, 130)]


def test_a_group_is_not_sized_beyond_its_limits(aws):
    client = boto3.client("autoscaling")
    make_workers(client, GROUP)

    for desired in (0, 21):
        with pytest.raises(ClientError, match="ValidationError"):
            client.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=desired)
    client.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=20)
    assert aws.desired_set == [20]


def test_sqs_refuses_single_entries_and_takes_the_others(aws):
    client = boto3.client("sqs")
    url = client.create_queue(QueueName="any")["QueueUrl"]
    aws.refused["2"] = "InternalError"

    answer = client.send_message_batch(
        QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": "{}"} for n in (1, 2, 3)]
    )

    assert [entry["Id"] for entry in answer["Successful"]] == ["1", "3"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("2", "InternalError")]
