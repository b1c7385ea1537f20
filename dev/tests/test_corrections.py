"""Each correction of the emulator, through the AWS API; without the correction its test fails."""

import json
import types
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from dev.local import corrections
from dev.local.emulator import REGION


def test_a_correction_refuses_a_ministack_that_it_was_not_written_against():
    owner = types.SimpleNamespace(__name__="service", handle=lambda: None)

    with pytest.raises(corrections.EmulatorChanged, match=r"service\.handle"):
        corrections.reviewed(owner, "handle", "0" * 12)
    with pytest.raises(corrections.EmulatorChanged, match=r"service\.gone"):
        corrections.reviewed(owner, "gone", "0" * 12)


RAISES = """
calls = 0

class TooBad(Exception): pass

def handler(event, context):
    global calls
    calls += 1
    if event.get("fine"):
        return calls
    raise TooBad("call %d" % calls)
"""


def test_an_exception_has_its_class_name_and_its_stack_trace(bench):
    error, answer = bench.call(bench.function(RAISES))

    assert error == "Unhandled"
    assert (answer["errorType"], answer["errorMessage"]) == ("TooBad", "call 1")
    assert answer["requestId"]
    assert 'raise TooBad("call %d" % calls)' in answer["stackTrace"][-1]


def test_an_exception_keeps_the_execution_environment_warm(bench):
    function = bench.function(RAISES)

    bench.call(function)

    assert bench.call(function, {"fine": True}) == (None, 2)


def test_retry_and_catch_match_the_class_name_of_an_exception(bench):
    caught = [{"ErrorEquals": ["TooBad"], "Next": "Caught", "Output": "{% $states.errorOutput %}"}]
    machine = bench.machine(
        {
            "Work": bench.task(
                bench.function(RAISES),
                None,
                Retry=[{"ErrorEquals": ["TooBad"], "IntervalSeconds": 1, "MaxAttempts": 1}],
                Catch=caught,
            ),
            "Caught": {"Type": "Succeed"},
        }
    )

    shown = json.loads(bench.run(machine)["output"])

    assert shown["Error"] == "TooBad"
    cause = json.loads(shown["Cause"])
    assert (cause["errorType"], cause["errorMessage"]) == ("TooBad", "call 2")
    assert cause["stackTrace"]


PRINTS = """


def handler(event, context):
    print("first line of " + event["name"], flush=True)
    if event.get("fails"):
        raise RuntimeError("at the end of " + event["name"])
"""


def test_the_log_of_an_invocation_has_all_its_lines(bench):
    function = bench.function(PRINTS)
    for index in range(20):
        bench.call(function, {"name": f"call {index}", "fails": index % 2})

    name = function.rpartition(":")[2]
    events = bench.clients.logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
    texts = [event["message"] for event in events]
    for index in range(20):
        assert any(f"first line of call {index}\n" in text + "\n" for text in texts)
    assert sum("RuntimeError: at the end of" in text for text in texts) == 10
    assert not any("end of the invocation's log" in text for text in texts)


def test_a_function_that_exceeds_its_timeout_fails_with_timedout(bench):
    function = bench.function("import time\ndef handler(event, context):\n    time.sleep(20)\n", Timeout=1)
    machine = bench.machine({"Work": bench.task(function)})

    failed = bench.run(machine)

    assert failed["error"] == "Sandbox.Timedout"
    assert "Task timed out after 1.00 seconds" in json.loads(failed["cause"])["errorMessage"]


def test_a_function_has_only_its_own_and_lambda_s_environment(bench):
    function = bench.function(
        "import os\ndef handler(event, context):\n    return dict(os.environ)\n",
        Environment={"Variables": {"MINE": "yes", "LOG_LEVEL": "INFO"}},
    )

    seen = bench.call(function)[1]

    assert seen["AWS_ENDPOINT_URL"] == bench.emulator.endpoint_url
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] and seen["AWS_REGION"] == REGION
    lambdas_own = {name for name in seen if name.startswith(("AWS_", "_LAMBDA_", "LAMBDA_", "_MINISTACK_"))}
    machine = {"PATH", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
    python = {"LC_CTYPE"}  # Python itself sets it, in a C locale
    assert set(seen) - lambdas_own - machine - python == {"MINE", "LOG_LEVEL"}


def test_an_input_that_is_not_json_starts_no_execution(bench):
    machine = bench.machine({"Done": {"Type": "Succeed"}})
    stepfunctions = bench.clients.stepfunctions

    for given in ("", "'single quotes'", '{"limit": NaN}'):
        with pytest.raises(stepfunctions.exceptions.InvalidExecutionInput):
            stepfunctions.start_execution(stateMachineArn=machine, input=given)

    assert stepfunctions.list_executions(stateMachineArn=machine)["executions"] == []


def test_a_task_that_takes_longer_than_its_timeout_ends_with_states_timeout(bench):
    function = bench.function("import time\ndef handler(event, context):\n    time.sleep(4)\n")
    machine = bench.machine({"Work": bench.task(function, TimeoutSeconds=1)})

    assert bench.run(machine)["error"] == "States.Timeout"


@pytest.fixture
def group(bench):
    """The name of a group of 1 to 3 instances, with 1 desired."""
    name = bench.name()
    bench.clients.autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        MinSize=1,
        MaxSize=3,
        DesiredCapacity=1,
        LaunchConfigurationName="any",
        AvailabilityZones=[f"{REGION}a"],
    )
    return name


def desired(bench, group):
    shown = bench.clients.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])
    return shown["AutoScalingGroups"][0]["DesiredCapacity"]


def sdk_task(action, arguments, **settings):
    resource = f"arn:aws:states:::aws-sdk:{action}"
    return {"Type": "Task", "Resource": resource, "Arguments": arguments, "End": True, **settings}


def set_desired(group, capacity):
    arguments = {"AutoScalingGroupName": group, "DesiredCapacity": capacity}
    return sdk_task("autoscaling:setDesiredCapacity", arguments)


def test_a_task_sets_a_groups_desired_capacity(bench, group):
    ended = bench.run(bench.machine({"Scale": set_desired(group, "{% 1 + 1 %}")}))

    assert (ended["status"], desired(bench, group)) == ("SUCCEEDED", 2)


def test_a_desired_capacity_outside_the_bounds_is_refused(bench, group):
    for capacity, words in ((4, "above max value 3"), (0, "below min value 1")):
        sized = {"AutoScalingGroupName": group, "DesiredCapacity": capacity}
        with pytest.raises(ClientError, match=words) as refused:
            bench.clients.autoscaling.set_desired_capacity(**sized)
        assert refused.value.response["Error"]["Code"] == "ValidationError"
    assert desired(bench, group) == 1


def test_an_error_outside_the_service_s_model_has_the_name_of_the_service(bench, group):
    failed = bench.run(bench.machine({"Scale": set_desired(group, 4)}))

    assert failed["error"] == "AutoScaling.AutoScalingException"
    assert "above max value 3" in failed["cause"] and "ValidationError" in failed["cause"]


def test_an_error_of_the_service_s_model_has_the_name_of_its_exception(bench):
    machine = bench.machine({"Read": sdk_task("ssm:getParameter", {"Name": "/no/such/parameter"})})

    assert bench.run(machine)["error"] == "Ssm.ParameterNotFoundException"


@pytest.fixture
def alarm(bench):
    """Makes alarms on a metric of its own, and reads their states."""

    class Alarm:
        namespace = bench.name()

        def on(self, missing, dimensions=(), **settings):
            name = bench.name()
            bench.clients.cloudwatch.put_metric_alarm(
                AlarmName=name,
                Namespace=self.namespace,
                MetricName="Failures",
                Dimensions=[{"Name": n, "Value": v} for n, v in dimensions],
                Statistic="Maximum",
                Period=60,
                Threshold=1,
                ComparisonOperator="GreaterThanOrEqualToThreshold",
                TreatMissingData=missing,
                **{"EvaluationPeriods": 2, "DatapointsToAlarm": 1, **settings},
            )
            return name

        def put(self, value, dimensions=(), at=None):
            point = {"MetricName": "Failures", "Value": value, "Timestamp": at or datetime.now(UTC)}
            point["Dimensions"] = [{"Name": n, "Value": v} for n, v in dimensions]
            bench.clients.cloudwatch.put_metric_data(Namespace=self.namespace, MetricData=[point])

        @staticmethod
        def state(name):
            shown = bench.clients.cloudwatch.describe_alarms(AlarmNames=[name])
            return shown["MetricAlarms"][0]["StateValue"]

    return Alarm()


def test_missing_data_is_treated_as_the_alarm_says(bench, alarm):
    states = {"breaching": "ALARM", "notBreaching": "OK", "missing": "INSUFFICIENT_DATA"}
    assert {missing: alarm.state(alarm.on(missing)) for missing in states} == states


def policy(statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def may(strict_bench):
    """Calls the SDK in a function whose role has one statement; returns the error message or None."""

    def call(statement, service, method, arguments):
        iam = strict_bench.clients.of("iam")
        name = strict_bench.name()
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="only", PolicyDocument=policy(statement))
        function = strict_bench.function(
            f"import boto3\ndef handler(event, context):\n    boto3.client('{service}').{method}(**event)\n",
            Role=role,
        )
        error, answer = strict_bench.call(function, arguments)
        return answer["errorMessage"] if error else None

    return call


@pytest.fixture
def queue(strict_bench):
    return strict_bench.clients.sqs.create_queue(QueueName=strict_bench.name())["QueueUrl"]


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        pytest.param("sqs:SendMessage", True, id="permission-of-the-single-call"),
        pytest.param("sqs:ReceiveMessage", False, id="other"),
    ],
)
def test_a_batch_call_requires_the_permission_of_the_single_call(may, queue, granted, allowed):
    entries = [{"Id": "1", "MessageBody": "x"}]
    statement = {"Effect": "Allow", "Action": granted, "Resource": "*"}
    refused = may(statement, "sqs", "send_message_batch", {"QueueUrl": queue, "Entries": entries})

    assert (refused is None) == allowed, refused


def test_a_queue_that_denies_unencrypted_requests_accepts_messages(strict_bench, may, queue):
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    strict_bench.clients.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy(deny)})
    statement = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}

    assert may(statement, "sqs", "send_message", {"QueueUrl": queue, "MessageBody": "x"}) is None


@pytest.mark.parametrize(
    ("namespace", "allowed"),
    [pytest.param("Academy/Workers", True, id="granted"), pytest.param("Other", False, id="other")],
)
def test_put_metric_data_can_be_limited_to_a_namespace(may, namespace, allowed):
    statement = {
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": "Academy/Workers"}},
    }
    metrics = {"Namespace": namespace, "MetricData": [{"MetricName": "Any", "Value": 1}]}

    refused = may(statement, "cloudwatch", "put_metric_data", metrics)

    assert (refused is None) == allowed, refused


@pytest.fixture(scope="module")
def log_group(bench):
    """Make a log group with four lines; return a function that gives those that a pattern matches."""
    logs, name = bench.clients.logs, f"/{bench.name()}"
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="one")
    lines = ['{"video": 1, "message": "a"}', '{"video": 12, "message": "b"}', "video 1", '["a", 1]']
    at_ms = int(datetime.now(UTC).timestamp() * 1000)
    events = [{"timestamp": at_ms + number, "message": line} for number, line in enumerate(lines)]
    logs.put_log_events(logGroupName=name, logStreamName="one", logEvents=events)

    def matched(pattern):
        found = logs.filter_log_events(logGroupName=name, filterPattern=pattern)["events"]
        return [lines.index(event["message"]) for event in found]

    return matched


def test_a_filter_pattern_for_json_compares_fields(log_group):
    assert log_group("{ $.video = 1 }") == [0], "a number is not a prefix"
    assert log_group('{ $.message = "b" || $.video = 1 }') == [0, 1]
    assert log_group('{ $.message = "b" && $.video = 1 }') == []
    assert log_group("") == [0, 1, 2, 3]
