"""The stand-in is as strict as it says; or the tests that rely on it would prove nothing."""

from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ClientError

from dev.local.emulator import REGION
from dev.testing.strict_aws import strict_aws

NOW = datetime.now(UTC).replace(second=30, microsecond=0)
QUERY = {"MetricName": "Backlog", "Dimensions": [{"Name": "Kind", "Value": "Video"}], "Namespace": "Academy"}


@pytest.fixture(scope="module")
def mocked():
    with strict_aws() as aws:
        yield aws, boto3.client("cloudwatch")


@pytest.fixture
def aws(mocked):
    mocked[0].reset()
    return mocked[0]


@pytest.fixture
def cloudwatch(mocked, aws):
    return mocked[1]


def put(cloudwatch, *ages_s, namespace="Academy"):
    datum = {"MetricName": "Backlog", "Dimensions": QUERY["Dimensions"], "Unit": "Count"}
    cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {**datum, "Value": age_s, "Timestamp": NOW - timedelta(seconds=age_s)} for age_s in ages_s
        ],
    )


def get(cloudwatch, *, unit="Count", start_s=600, end_s=0, **metric):
    stat = {"Metric": QUERY | metric, "Period": 60, "Stat": "Maximum", "Unit": unit}
    return cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "q", "MetricStat": stat}],
        StartTime=NOW - timedelta(seconds=start_s),
        EndTime=NOW - timedelta(seconds=end_s),
    )


def points(answer):
    (series,) = answer["MetricDataResults"]
    found = zip(series["Timestamps"], series["Values"], strict=True)
    return [((NOW - at).total_seconds(), value) for at, value in found]


def test_points_are_read_late_at_the_start_of_their_minute_newest_first(aws, cloudwatch):
    put(cloudwatch, 65, 70, 130)
    assert points(get(cloudwatch)) == []

    aws.settle()

    assert points(get(cloudwatch)) == [(90, 70), (150, 130)]


def refusal(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


def test_a_group_is_not_sized_beyond_its_limits(aws):
    client = boto3.client("autoscaling")
    client.create_launch_configuration(
        LaunchConfigurationName="any", ImageId="ami-12c6146b", InstanceType="t3.micro"
    )
    client.create_auto_scaling_group(
        AutoScalingGroupName="workers",
        MinSize=1,
        MaxSize=3,
        LaunchConfigurationName="any",
        AvailabilityZones=[f"{REGION}a"],
    )

    for desired in (0, 4):
        sized = {"AutoScalingGroupName": "workers", "DesiredCapacity": desired}
        assert refusal(client.set_desired_capacity, **sized) == "ValidationError"
    client.set_desired_capacity(AutoScalingGroupName="workers", DesiredCapacity=3)
    assert aws.desired_set == [3]


def test_sqs_refuses_single_entries_and_takes_the_others(aws):
    client = boto3.client("sqs")
    url = client.create_queue(QueueName="any")["QueueUrl"]
    aws.refused["2"] = "InternalError"

    answer = client.send_message_batch(
        QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": "{}"} for n in (1, 2, 3)]
    )

    assert [entry["Id"] for entry in answer["Successful"]] == ["1", "3"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("2", "InternalError")]
