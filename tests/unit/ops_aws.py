"""AWS as far as the operator's commands call it, of a stage ``mine`` with which nothing is wrong."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

from botocore.exceptions import ClientError

from video_reclaim.conversion import to_builtins
from video_reclaim.settings import Scaling, read

AT = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=2)
ACCOUNT, PREFIX = "123456789012", "video-reclaim-mine"
ZONE = timezone(timedelta(hours=9))  # of this machine, in which boto3 gives all times
TOPIC = f"arn:aws:sns:eu-west-1:{ACCOUNT}:operators"
VARIABLES = {
    **{"SCALING_MODE": "apply", "SCALING_VIDEOS_PER_WORKER": "1", "SCALING_SPARE_WORKERS": "2"},
    **{"SCALING_PEAK_WINDOW_SECONDS": "120", "SCALING_SCALE_IN_WINDOW_SECONDS": "1200"},
    **{"SCALING_OVERRIDE_PARAMETER": "/order", "WORKERS_GROUP_NAME": "workers"},
    **{"QUEUES_URLS": f'{{"Video": ["https://sqs/{ACCOUNT}/jobs"]}}'},
    **{"METRICS_NAMESPACE": "Academy/Workers", "METRICS_DIMENSIONS": "{}"},
}
INPUTS = {
    **{"at": AT.isoformat(), "uploaded": 1, "processing": 2, "visible": 1},
    **{"window": [], "measuredEveryS": 60},
    "group": {"min": 1, "max": 20, "desired": 4, "inService": 4, "safety": "hooked"},
    "settings": to_builtins(read(Scaling, VARIABLES)),
}
DECISION = {"action": "hold", "desired": 4, "reason": "enough", "held": False, "inputs": INPUTS}
RECORD = {"dryRun": False, "heartbeatsTrusted": True, "longestWaitS": 30, "decision": DECISION}
ALARM = {
    **{"MetricName": "OldestBacklogAge", "Namespace": "Academy/Workers", "Statistic": "Maximum"},
    **{
        "Period": 60,
        "EvaluationPeriods": 5,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "Threshold": 1800,
    },
    **{"TreatMissingData": "ignore", "AlarmActions": [TOPIC], "AlarmName": f"{PREFIX}-OldestWait"},
    "AlarmDescription": "A video has waited for too long. Severity: page. Runbook: https://wiki#oldestwait",
}


def logged(message, step="ListStaleVideos", *, at=AT, execution="run-1", look="look-1", **fields):
    """A log line, with the function whose log has it."""
    line = {"timestamp": at.isoformat(), "message": message, "execution": execution, **fields}
    return step, json.dumps({**line, "function_request_id": look, "function_name": step})


def decided(**fields):
    known = {"uploaded": 1, "processing": 2, "visible": 1, "before": 4, "desired": 4, "failed": 0}
    given = {"action": "hold", "held": False, "reason": "enough", "applied": False}
    return logged("decided", "PublishBacklog", **{**known, **given, **fields})


def execution(name, status="SUCCEEDED", *, at=AT, error="", cause="", **record):
    output = {
        "output": json.dumps({**RECORD, **record} if status == "SUCCEEDED" else {})
    }  # the emulator's has one
    arn = f"arn:aws:states:eu-west-1:{ACCOUNT}:execution:{PREFIX}-reclaim-videos:{name}"
    times = {"startDate": at.astimezone(ZONE), "stopDate": (at + timedelta(seconds=3)).astimezone(ZONE)}
    return {"executionArn": arn, "status": status, "error": error, "cause": cause, **times, **output}


def refusal(code, operation="Operation"):
    def refuse(**_given):
        raise ClientError({"Error": {"Code": code, "Message": "not\nnow"}}, operation)

    return refuse


class Aws:
    """An answer, or a function of the request, by name of boto3's method; and every call."""

    def __init__(self):
        self.calls, self.runs, self.logs, self.alarms = [], [execution("run-1")], [decided()], [ALARM]
        self.outcome = {}  # of the execution that is started
        self.override = None  # the parameter's text
        self.entered = {}  # by execution, the state that it entered last
        in_service = [{"LifecycleState": "InService"}] * 4
        self.group = {"DesiredCapacity": 4, "MinSize": 1, "MaxSize": 20, "Instances": in_service}
        self.schedule = {"Name": "s", "State": "ENABLED", "ScheduleExpression": "rate(1 minute)"}
        name = f"{PREFIX}-PublishBacklog"
        arn = f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:{name}"
        function = {"FunctionArn": arn, "FunctionName": name, "Environment": {"Variables": VARIABLES}}
        stack = {"StackName": "VideoReclaim-mine", "StackStatus": "UPDATE_COMPLETE"}
        failed = {"StatusCode": "Failed", "StatusMessage": "no capacity", "Cause": "too few"}
        activities = [
            {"StartTime": AT.astimezone(ZONE), **failed},
            {"StartTime": (AT - timedelta(hours=1)).astimezone(ZONE), "StatusCode": "Successful"},
        ]
        self.template = {
            "Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": ALARM},
            "Other": {
                "Type": "AWS::CloudWatch::Alarm",
                "Properties": {**ALARM, "AlarmName": "video-reclaim-other-OldestWait"},
            },
            "Schedule": {
                "Type": "AWS::Scheduler::Schedule",
                "Properties": {**self.schedule, "Name": f"{PREFIX}-s"},
            },
        }
        self.answers = {
            "get_function_configuration": lambda FunctionName: function | {"Role": f"role of {FunctionName}"},
            "list_executions": lambda statusFilter=None, **_: {
                "executions": [one for one in self.runs if statusFilter in (None, one["status"])]
            },
            "describe_execution": lambda executionArn: self.named(executionArn),
            "get_execution_history": self.history,
            "start_execution": self.start,
            "filter_log_events": self.filtered,
            "describe_alarms": lambda **_: {
                "MetricAlarms": [{"StateValue": "OK", **one} for one in self.alarms]
            },
            "describe_auto_scaling_groups": lambda **_: {
                "AutoScalingGroups": [self.group] if self.group else []
            },
            "describe_scaling_activities": lambda MaxRecords, **_: {"Activities": activities[:MaxRecords]},
            "get_parameter": lambda **_: (
                {"Parameter": {"Value": self.override}} if self.override else refusal("ParameterNotFound")()
            ),
            "put_parameter": lambda Value, **_: setattr(self, "override", Value),
            "delete_parameter": lambda **_: setattr(self, "override", None),
            "get_schedule": lambda **_: self.schedule,
            "get_queue_url": lambda QueueName: {"QueueUrl": f"https://sqs/{ACCOUNT}/{QueueName}"},
            "get_queue_attributes": lambda AttributeNames, **_: {
                "Attributes": {"RedrivePolicy": '{"deadLetterTargetArn": "arn:x:dead"}'}
                if "RedrivePolicy" in AttributeNames
                else {"ApproximateNumberOfMessages": "0"}
            },
            "describe_stacks": {"Stacks": [stack]},
            "describe_stack_resources": {"StackResources": [stack]},
            "get_template": lambda **_: {"TemplateBody": {"Resources": self.template}},
            "describe_state_machine": {"roleArn": "role of the workflow"},
            "simulate_principal_policy": {"EvaluationResults": [{"EvalDecision": "allowed"}]},
            "get_metric_data": {"MetricDataResults": [{"Values": [1]}]},
            "get_topic_attributes": {"Attributes": {"SubscriptionsConfirmed": "1"}},
        }

    def start(self, input, **_):
        self.runs.insert(0, execution("started", **{"dryRun": "dryRun" in input, **self.outcome}))
        return {"executionArn": self.runs[0]["executionArn"]}

    def named(self, arn):
        return next(one for one in self.runs if one["executionArn"] == arn)

    def history(self, executionArn, maxResults, reverseOrder=False):
        last = self.entered.get(executionArn.rpartition(":")[2], "RetryFailedVideos")
        first, last = ({"stateEnteredEventDetails": {"name": name}} for name in ("ListStaleVideos", last))
        events = [first, *[{"type": "TaskScheduled"}] * maxResults, last, {"type": "ExecutionFailed"}]
        return {"events": (events[::-1] if reverseOrder else events)[:maxResults]}

    def filtered(self, logGroupName, filterPattern, startTime):
        wanted = re.findall(r'\$\.(\w+) = ("[^"]*"|\d+)', filterPattern)
        combine = any if "||" in filterPattern else all
        lines = [json.loads(line) for step, line in self.logs if logGroupName == f"/{PREFIX}/{step}"]
        matching = (
            line
            for line in lines
            if datetime.fromisoformat(line["timestamp"]).timestamp() * 1000 >= startTime
            and combine(line.get(name) == json.loads(value) for name, value in wanted)
        )
        return {"events": [{"message": json.dumps(line)} for line in matching]}

    def client(self, service, **_given):
        return Client(self, {"stepfunctions": "states"}.get(service, service))

    def call(self, service, name, given):
        self.calls.append((f"{service}:{''.join(part.capitalize() for part in name.split('_'))}", given))
        answer = self.answers.get(name, {})
        return answer(**given) if callable(answer) else answer

    def called(self, name):
        return [given for called, given in self.calls if called.endswith(f":{name}")]


PAGED = {"list_executions": "executions", "filter_log_events": "events", "describe_alarms": "MetricAlarms"}


class Client:
    def __init__(self, aws, service):
        self._aws, self._service = aws, service

    def __getattr__(self, name):
        return lambda **given: self._pages(name, given)[0]

    def get_paginator(self, name):
        return SimpleNamespace(paginate=lambda **given: self._pages(name, given))

    def _pages(self, name, given):
        """An empty page first, which FilterLogEvents may answer with, and then pages of one element."""
        answer = self._aws.call(self._service, name, given)
        if name not in PAGED:
            return [answer]
        return [{PAGED[name]: some} for some in ([], *([one] for one in answer[PAGED[name]]))]
