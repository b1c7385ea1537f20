"""The operator's command from its command line on, with AWS in its place answering as the test says."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import botocore.session
import pytest

from ops import runs, stages, status, verify
from ops.__main__ import COMMANDS, main
from ops.errors import Exit
from tests.unit.ops_aws import (
    ALARM,
    AT,
    DECISION,
    INPUTS,
    PREFIX,
    TOPIC,
    ZONE,
    Aws,
    decided,
    execution,
    logged,
    refusal,
)
from video_reclaim.scaling.override import parse_override

ROOT = Path(__file__).parents[2]
LATER = AT + timedelta(minutes=1)
WHY = ["--for", "2h", "--reason", "why"]
PLAIN = "status stuck quarantined decisions activities dead-letters run redrive resume stop start verify"
EVERY = {name: [] for name in PLAIN.split()} | {
    "why": ["7"],
    "history": ["7"],
    "pause": ["all", *WHY],
    "fix": ["3", *WHY],
}
RINGS = {**ALARM, "StateValue": "ALARM", "StateUpdatedTimestamp": AT.astimezone(ZONE)}


@pytest.fixture
def aws(monkeypatch):
    answering = Aws()
    monkeypatch.setattr(
        stages.boto3, "Session", lambda *_args, **given: vars(answering).update(given) or answering
    )
    monkeypatch.setattr(runs, "POLL_S", 0)
    monkeypatch.setattr(runs, "_LOG_DELAY_S", 0)
    return answering


@pytest.fixture
def ops(aws, capsys):
    """Run a command on the stage ``mine``; return what it printed, or the JSON that it printed."""

    def run(*arguments, status=Exit.DONE):
        ended = main([*map(str, arguments), "--stage", "mine"])
        printed = capsys.readouterr()
        assert ended == status, printed
        return (
            json.loads(printed.out)
            if "--json" in arguments
            else " ".join((printed.out + printed.err).split())
        )

    return run


def granted(policy):
    statements = json.loads((ROOT / "docs" / policy).read_text())["Statement"]
    actions = [one["Action"] for one in statements]
    return {action for one in actions for action in ([one] if isinstance(one, str) else one)}


class TestEveryCommand:
    def test_there_is_none_besides(self):
        assert set(EVERY) == {one.__name__.replace("_", "-") for one in COMMANDS}

    @pytest.mark.parametrize("command", EVERY)
    def test_its_json_has_the_keys_that_the_runbook_lists(self, aws, ops, command):
        aws.logs.append(logged("reclaimed", "Reclaim", video=7, reason="leaseExpired"))
        rows = re.findall(r"^\| `([a-z-]+)` \| (`.+`) \|$", (ROOT / "docs" / "runbook.md").read_text(), re.M)
        assert set(ops(command, *EVERY[command], "--json")) == set(
            re.findall(r"`(\w+)`", dict(rows)[command])
        )

    @pytest.mark.parametrize("command", EVERY)
    def test_a_stage_that_is_not_there_is_one_line(self, aws, capsys, command):
        aws.answers["get_function_configuration"] = refusal("ResourceNotFoundException")
        assert main([command, *EVERY[command], "--stage", "mine"]) == Exit.NO_AWS
        (line,) = capsys.readouterr().err.splitlines()
        assert "no stage 'mine'" in line
        assert {name for name, _ in aws.calls} == {"lambda:GetFunctionConfiguration"}

    def test_the_documented_policies_grant_exactly_what_they_call(self, aws, ops):
        def called(*commands):
            aws.calls.clear()
            for command in commands:
                main([command, *EVERY[command], "--stage", "mine"])
            return {name for name, _ in aws.calls}

        aws.runs.append(execution("two", "FAILED", error="QueueUnavailable"))
        verified, others = called("verify"), called(*EVERY.keys() - {"verify"}, "resume")
        aws.answers["get_parameter"] = {"Parameter": {"Value": ""}}
        assert granted("ops-policy.json") == others | called("resume") | {"iam:PassRole"}
        of_app = aws.answers["describe_stacks"]
        stacks = {"VideoReclaim-mine": refusal("ValidationError")}
        aws.answers["describe_stacks"] = lambda StackName: stacks.pop(StackName, lambda: of_app)()
        assert granted("deploy-policy.json") == verified | called("verify") | {"sts:AssumeRole"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("sleep", "sleep"),
        ("status", "--stage"),
        ("why seven --stage mine", "video"),
        ("why 0 --stage mine", "video"),
        ("redrive --since 2x --stage mine", "--since"),
        ("run --limit 10001 --stage mine", "limit"),
        ("run --release x --stage mine", "release"),
        ("pause sideways --for 2h --reason a --stage mine", "sideways"),
        ("fix 3 --for 31d --reason a --stage mine", "30 days"),
        ("pause all --for 2h --reason= --stage mine", "reason"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_nothing_is_asked(aws, capsys, arguments, named):
    assert main(arguments.split()) == Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert not aws.calls


def test_a_refusal_of_aws_is_one_line(aws, ops):
    aws.answers["list_executions"] = refusal("AccessDenied", "ListExecutions")
    assert "AWS refused ListExecutions: AccessDenied: not now" in ops("status", status=Exit.NO_AWS)


@pytest.mark.parametrize(
    ("file", "region"), [('{"region": "eu-north-1"}', "eu-north-1"), ("{}", "sa-east-1")]
)
def test_the_region_is_that_of_the_stage_s_file_or_of_the_environment(
    aws, ops, monkeypatch, tmp_path, file, region
):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "mine.json").write_text(file)
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setenv("AWS_REGION", "sa-east-1")
    ops("activities")
    assert aws.region_name == region


class TestStatus:
    def unwell(self, ops):
        return {one["what"]: one["text"] for one in ops("status", "--json")["unwell"]}

    def test_of_a_healthy_stage_nothing_is_unwell(self, ops):
        assert self.unwell(ops) == {}
        assert "nothing is known to be unwell" in ops("status")

    def test_only_the_stage_s_own_alarms_that_ring_are_shown_each_with_its_time(self, aws, ops):
        others = [
            {**RINGS, "AlarmName": f"{PREFIX}-eu-OldestWait"},
            {**ALARM, "AlarmName": f"{PREFIX}-Quiet"},
            {**RINGS, "AlarmName": f"{PREFIX}-Unsure", "StateValue": "INSUFFICIENT_DATA"},
        ]
        aws.alarms = [RINGS, *others]
        text = "OldestWait rings: A video has waited for too long."
        assert ops("status", "--json")["unwell"] == [{"what": "alarm", "at": AT.isoformat(), "text": text}]

    def test_the_decision_of_a_failed_execution_is_seen(self, aws, ops):
        """It has no output, and how many videos failed stands in no error: that is of one item alone."""
        failed = execution("run-2", "FAILED", error="QueueUnavailable", cause="75 videos: gone")
        aws.runs = [execution("run-3", "RUNNING"), {**failed, "redriveCount": 2}, *aws.runs]
        out = {"action": "scale-out", "before": 3, "desired": 6, "applied": True, "uploaded": 9}
        aws.logs.append(decided(execution="run-2", at=LATER, failed=3000, **out))
        assert ops("status", "--json")["decision"].items() >= {**out, "at": LATER.isoformat()}.items()
        said = ops("status")
        assert "scale-out 3 → 6" in said and "3,000 videos failed at first" in said
        assert "the last run FAILED" in said and "2 redrives" in said
        aws.logs.append(decided(at=AT - timedelta(hours=3), desired=2))
        assert [one["desired"] for one in ops("decisions", "--json")["decisions"]] == [4, 6]
        assert ops("decisions", "--since", "4h", "--json")["decisions"][0]["desired"] == 2

    @pytest.mark.parametrize(
        ("record", "text"),
        [
            ({"heartbeatsTrusted": False, "distrust": "redisAway"}, "Redis did not answer"),
            ({"heartbeatsTrusted": False, "distrust": "neverHeard"}, "no heartbeat has ever moved"),
            ({"heartbeatsTrusted": False, "distrust": "neverExpires"}, "no time to live"),
            ({"heartbeatsTrusted": False, "distrust": "massSilence"}, "most workers are silent"),
            ({"overLimit": 2}, "2 videos put back although they ask for quarantine"),
            ({"listingFull": True}, "more than 50,000"),
            ({"refused": 3}, "PostgreSQL refused: 3"),
            (
                {"spared": {"tenantUnknown": 2, "beating": 7, "suspect": 1}},
                "2 videos left alone (2 tenantUnknown)",
            ),
            ({"scalingError": "AutoScaling.X"}, "new size: AutoScaling.X"),
            ({"metricsError": "away"}, "not published: away"),
        ],
    )
    def test_what_the_last_record_but_that_of_a_dry_run_tells_is_unwell(self, aws, ops, record, text):
        aws.runs = [execution("dry", dryRun=True), execution("run-1", **record)]
        assert text in self.unwell(ops)["record"]

    @pytest.mark.parametrize(
        ("group", "waited_s", "text"),
        [
            pytest.param(
                {"DesiredCapacity": 20}, 30, "at its maximum of 20, and 9 videos wait", id="maximum"
            ),
            pytest.param({}, 301, "2 of 4 instances in service take none of 9 videos", id="no-worker"),
            pytest.param({}, 299, "", id="no-worker-yet"),
            pytest.param(None, 30, "no Auto Scaling group", id="no-group"),
        ],
    )
    def test_what_limits_the_fleet_is_unwell(self, aws, ops, group, waited_s, text):
        aws.group = None if group is None else {**aws.group, **group}
        aws.logs, aws.runs = [decided(uploaded=9)], [execution("run-1", longestWaitS=waited_s)]
        found = self.unwell(ops).get("fleet", "")
        assert text in found if text else not found

    def test_dead_letters_an_unclear_override_and_a_schedule_that_is_off_are_unwell(self, aws, ops):
        aws.answers["get_parameter"] = {"Parameter": {"Value": "hold on"}}
        aws.answers["get_queue_attributes"] = {"Attributes": {"ApproximateNumberOfMessages": "3"}}
        aws.schedule = {**aws.schedule, "State": "DISABLED"}
        told = self.unwell(ops)
        assert "dead letters of starts: 3" in told["dead letters"] and {"override", "schedule"} < set(told)

    def test_a_video_queue_that_is_gone_hides_nothing_else(self, aws, ops):
        aws.answers["get_queue_attributes"] = refusal("NonExistentQueue", "GetQueueAttributes")
        assert "NonExistentQueue" in self.unwell(ops)["queues"] and "4 in service" in ops("status")

    def test_what_is_not_known_is_not_shown_as_0(self, aws, ops):
        aws.runs, aws.logs = [execution("run-1", "FAILED")], [decided(uploaded=None, processing=None)]
        said = ops("status")
        assert "unknown waiting, unknown PROCESSING" in said and "longest unknown" in said

    def test_it_fits_a_small_terminal_whatever_happens(self, aws, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        long, name = "what happened takes many words, " * 20, "x" * 36
        aws.alarms = [
            {**RINGS, "AlarmName": f"{PREFIX}-Number{n}", "AlarmDescription": long} for n in range(12)
        ]
        aws.runs = [execution(f"{n}{name}", "FAILED", error="E", cause=long) for n in range(5)]
        aws.logs = [decided(reason=long)]
        order = {"mode": "fixed", "desired": 4, "until": (AT + timedelta(days=1)).isoformat(), "reason": long}
        aws.answers["get_parameter"] = {"Parameter": {"Value": json.dumps(order)}}
        assert main(["status", "--stage", "mine"]) == Exit.DONE
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) <= 24 and max(map(len, lines)) <= 80
        assert any(line.endswith(f"0{name}") for line in lines), "a name can't be copied"

    def test_watch_shows_it_again_until_it_is_stopped(self, aws, capsys, monkeypatch):
        pauses = [None]

        def sleep(_seconds):
            if not pauses:
                raise KeyboardInterrupt
            pauses.pop()

        monkeypatch.setattr(status, "time", SimpleNamespace(sleep=sleep))
        main(["status", "--watch", "--stage", "mine"])
        assert capsys.readouterr().out.count("stage mine") == 2


class TestStuck:
    def alone(self, video, reason, **fields):
        return logged("left alone", video=video, reason=reason, **fields)

    def test_it_is_the_last_look_of_the_last_run_with_what_to_do(self, aws, ops):
        since = (AT - timedelta(minutes=9)).isoformat()
        aws.runs = [execution("run-1", spared={"tenantUnknown": 1, "heartbeatUnknown": 1, "suspect": 1})]
        second = {"look": "look-2", "at": LATER}
        aws.logs = [
            *(self.alone(1, "suspect"), self.alone(2, "suspect"), self.alone(3, "tenantUnknown")),
            logged("stale", video=1, reason="silent", **second),
            *(self.alone(3, "tenantUnknown", **second), self.alone(8, "suspect", **second)),
            self.alone(4, "heartbeatUnknown", silent_since=since, **second),
            logged("reclaimed", "Reclaim", at=LATER, video=1, reason="silent"),
            logged("refused", "Reclaim", at=LATER, video=5, reason="silent", error="no"),
            logged("skipped", "Reclaim", at=LATER, video=6, reason="movedOn"),
            self.alone(7, "tenantUnknown", execution="run-0"),
        ]
        shown = ops("stuck", "--json")
        kinds = [(one["video"], one["kind"]) for one in shown["videos"]]
        assert kinds == [(4, "heartbeatUnknown"), (5, "refused"), (8, "suspect"), (3, "tenantUnknown")]
        assert shown["videos"][0]["since"] == since and all(one["todo"] for one in shown["videos"])
        assert "Redis" in shown["videos"][0]["todo"] and "tenant" in shown["videos"][3]["todo"]
        assert shown["more"] == 0

    def test_suspects_that_a_second_look_found_well_are_not_stuck(self, aws, ops):
        aws.runs = [execution("run-1", spared={"beating": 1})]
        aws.logs = [self.alone(1, "suspect")]
        assert "left no video alone" in ops("stuck")

    def test_videos_beyond_those_that_are_logged_are_counted(self, aws, ops):
        aws.runs = [execution("run-1", spared={"tenantUnknown": 1001})]
        aws.logs = [self.alone(n, "tenantUnknown") for n in range(1, 1001)]
        said = ops("stuck")
        assert "tenantUnknown: 1,000 videos" in said and "1 video more" in said

    def test_a_failed_run_has_its_log_and_one_that_could_not_list_is_passed_over(self, aws, ops):
        aws.runs = [execution("run-2", "FAILED", error="StoreUnavailable"), execution("run-1", "FAILED")]
        aws.entered = {"run-2": "NotListed"}
        retries = [logged("not enqueued", "Enqueue", video=4, error="gone") for _ in range(3)]
        aws.logs = [self.alone(3, "tenantUnknown"), *retries]
        shown = ops("stuck", "--json")
        assert [one["kind"] for one in shown["videos"]] == ["not enqueued", "tenantUnknown"]
        assert [one["name"] for one in shown["notListed"]] == ["run-2"]
        assert f"Run run-1 at {AT:%Y-%m-%d %H:%M:%S}" in ops("stuck")


class TestVideos:
    def test_why_gives_the_last_run_s_word_on_a_video_that_was_left_alone(self, aws, ops):
        aws.logs = [
            logged(
                "left alone",
                video=7,
                reason="tenantUnknown",
                execution=f"run-{n}",
                at=AT - timedelta(days=3 * (2 - n)),
            )
            for n in range(3)
        ]
        (line,) = ops("why", 7, "--json")["lines"]
        first = (AT - timedelta(days=6)).isoformat()
        assert (line["times"], line["first"], line["execution"]) == (3, first, "run-2")
        assert "no tenant" in ops("why", 7, "--since", "1h")

    def test_history_has_what_every_function_did_and_each_attempt(self, aws, ops):
        aws.logs = [
            *(logged("stale", video=7, reason="silent"), logged("reclaimed", "Reclaim", video=7)),
            *(logged("enqueued", "Enqueue", video=7, attempt=n, at=LATER) for n in (1, 2)),
        ]
        shown = ops("history", 7, "--json")
        assert [line["message"] for line in shown["lines"]] == ["stale", "reclaimed", "enqueued", "enqueued"]
        assert shown["link"].startswith("https://eu-west-1.console.")

    def test_lines_of_other_videos_are_left_out_and_no_trace_is_no_answer(self, aws, ops):
        aws.answers["filter_log_events"] = {"events": [{"message": logged("reclaimed", video=2**53)[1]}]}
        assert f"No trace of video {2**53 + 1}" in ops("why", 2**53 + 1, status=Exit.NOT_DONE)

    def test_quarantined_videos_are_listed_with_commands_that_release_100_each(self, aws, ops):
        at = AT - timedelta(days=29)
        aws.logs = [logged("quarantined", "Reclaim", at=at, video=n, reason="silent") for n in range(1, 202)]
        named = [
            list(map(int, ids.split(",")))
            for ids in re.findall(r"mine --release ([\d,]+)", ops("quarantined"))
        ]
        assert [len(ids) for ids in named] == [100, 100, 1]
        assert [video for ids in named for video in ids] == list(range(1, 202))


class TestRun:
    @pytest.mark.parametrize(("state", "helps"), [("NotListed", False), ("RetryFailedVideos", True)])
    def test_a_redrive_is_advised_where_it_helps(self, aws, ops, state, helps):
        aws.outcome = {"status": "FAILED", "error": "StoreUnavailable", "cause": "away"}
        aws.entered = {"started": state}
        aws.logs.append(decided(execution="started", failed=3000))
        said = ops("run", status=Exit.NOT_DONE)
        assert (
            "3,000 videos failed at first, for example StoreUnavailable: away" in said
            and ("redrive --stage mine \\ started" in said) is helps
        )

    def test_a_dry_run_says_what_would_be_done(self, aws, ops):
        aws.outcome = {"stale": {"silent": 2}, "spared": {"beating": 7}, "skipped": {"movedOn": 3}}
        said = ops("run", "--dry-run", "--limit", 5)
        assert json.loads(aws.called("StartExecution")[0]["input"]) == {"dryRun": True, "limit": 5}
        assert "2 videos would be reclaimed" in said and "left alone: 7 beating" in said

    def test_a_release_says_which_videos_were_not_quarantined(self, aws, ops):
        aws.outcome = {"stale": {"released": 2}, "spared": {"movedOn": 1}, "skipped": {"movedOn": 1}}
        own = {"execution": "started"}
        aws.logs = [
            *(logged("stale", video=video, reason="released", **own) for video in (1, 2)),
            logged("left alone", video=3, reason="movedOn", **own),
            logged("released", "Reclaim", video=1, reason="released", at=LATER, **own),
            logged("skipped", "Reclaim", video=2, reason="movedOn", at=LATER, **own),
        ]
        assert ops("run", "--release", "1,2,3,4", "--json", status=Exit.NOT_DONE)["notReleased"] == [2, 3, 4]
        aws.outcome = {"stale": {"released": 1}, "refused": 1}
        aws.logs = [logged("refused", "Reclaim", video=5, reason="released", error="a trigger", **own)]
        assert ops("run", "--release", "5", "--json", status=Exit.NOT_DONE)["notReleased"] == [5]
        aws.outcome = {"stale": {"released": 2}}
        assert ops("run", "--release", "1,2", "--json")["notReleased"] == []
        assert aws.called("StartExecution")[-1]["input"] == '{"release": [1, 2]}'


class TestRedrive:
    @pytest.fixture
    def failed(self, aws):
        refused = {"two": "ThrottlingException", "three": "ExecutionNotRedrivable"}
        names = {"one": "FAILED", "two": "FAILED", "three": "FAILED", "four": "ABORTED", "five": "TIMED_OUT"}
        aws.runs = [
            execution(name, status, at=AT - timedelta(minutes=n), error="QueueUnavailable")
            for n, (name, status) in enumerate(names.items())
        ]
        aws.runs[3]["redriveStatusReason"] = "it is too old"
        aws.runs.append(execution("six", "FAILED", at=AT - timedelta(hours=1), error="InvalidInput"))
        aws.runs += [execution("seven"), execution("eight", "FAILED", at=AT - timedelta(hours=2))]

        def redrive(executionArn):
            name = executionArn.rpartition(":")[2]
            if name in refused:
                refusal(refused[name], "RedriveExecution")()
            aws.named(executionArn).update(execution(name, {"five": "TIMED_OUT"}.get(name, "SUCCEEDED")))

        aws.answers["redrive_execution"] = redrive
        return aws

    def test_a_refusal_of_aws_does_not_end_the_others(self, failed, ops):
        said = ops("redrive", status=Exit.NOT_DONE)
        assert "1 succeeded, 3 failed, 2 left alone" in said
        assert "ThrottlingException" in said and "its input is wrong" in said and "too old" in said

    def test_a_dry_run_redrives_nothing(self, failed, ops):
        assert "0 succeeded, 0 failed, 6 left alone" in ops("redrive", "--dry-run")
        oldest_first = [one["name"] for one in ops("redrive", "--dry-run", "--json")["executions"]]
        assert oldest_first == ["six", "five", "four", "three", "two", "one"]
        for given in ("two", failed.runs[1]["executionArn"]):
            shown = ops("redrive", given, "--dry-run", "--json")["executions"]
            assert [one["name"] for one in shown] == ["two"]
        assert not failed.called("RedriveExecution")


class TestSteering:
    @pytest.mark.parametrize("what", ["scale-in", "scale-out", "all"])
    def test_pause_writes_an_order_that_the_functions_understand_and_that_lasts_as_asked(
        self, aws, ops, what
    ):
        assert "The next run obeys it" in ops("pause", what, *WHY)
        (put,) = aws.called("PutParameter")
        order, problem = parse_override(put["Value"], datetime.now(UTC))
        assert (put["Name"], problem, order.reason) == ("/order", None, "why")
        assert order.mode == {"all": "hold"}.get(what, f"no-{what}")
        assert (
            timedelta(hours=1, minutes=59) < order.until - datetime.now(UTC) <= timedelta(hours=2, seconds=1)
        )

    @pytest.mark.parametrize(
        ("workers", "done"), [(0, False), (1, True), (20, True), (21, False), (800, False)]
    )
    def test_fix_refuses_what_the_group_can_t_have(self, aws, ops, workers, done):
        said = ops("fix", workers, *WHY, status=Exit.DONE if done else Exit.USAGE)
        assert ("The group has 1 to 20 workers" in said) is not done
        assert len(aws.called("PutParameter")) == done

    def test_resume_deletes_the_order_and_says_what_it_was(self, aws, ops):
        assert ops("resume") == "There is no override."
        ops("pause", "scale-in", *WHY)
        assert ops("pause", "all", *WHY, "--json")["replaced"]["mode"] == "no-scale-in"
        assert "Deleted the override: hold until" in ops("resume") and aws.called("DeleteParameter")
        aws.override = json.dumps({"mode": "hold", "until": AT.isoformat()})
        assert "hold ended at" in ops("resume")

    def test_stop_and_start_change_the_schedule_s_state_alone(self, aws, ops):
        model = botocore.session.get_session().get_service_model("scheduler")
        fields = model.operation_model("UpdateSchedule").input_shape.members.keys() - {"State", "ClientToken"}
        kept = {name: f"its {name}" for name in fields}
        aws.schedule = {**kept, "State": "ENABLED", "Arn": "arn", "ResponseMetadata": {}}
        aws.runs.append(execution("run-9", "RUNNING"))
        assert ops("stop", "--json")["running"] == ["run-9"]
        ops("start")
        assert aws.called("UpdateSchedule") == [{**kept, "State": state} for state in ("DISABLED", "ENABLED")]


def test_dead_letters_and_activities_are_shown_with_their_errors(aws, ops):
    aws.answers["get_queue_attributes"] = {"Attributes": {"ApproximateNumberOfMessages": "2"}}
    attributes = {"ERROR_CODE": {"StringValue": "AccessDenied"}, "ERROR_MESSAGE": {"StringValue": "no role"}}
    message = {"Body": '{"video_id": 7}', "MessageAttributes": attributes}
    aws.answers["receive_message"] = {"Messages": [message]}
    said = ops("dead-letters")
    assert "AccessDenied: no role video 7" in said and "no dead-letter queue" in said
    assert "starts: 2 in" in said and "purge the queue" in said
    first, last = ops("activities", "--json")["activities"]
    assert (first["status"], last["error"], last["cause"]) == ("Successful", "no capacity", "too few")
    assert ops("activities", "--limit", 1, "--json")["activities"] == [last]
    assert "no capacity" in ops("activities")


def answers(call, **answer):
    return lambda aws: aws.answers.__setitem__(call, answer)


def dry(**outcome):
    return lambda aws: setattr(aws, "outcome", outcome)


def inputs(**changed):
    return dry(decision={**DECISION, "inputs": {**INPUTS, **changed}})


def alarm(**changed):
    return lambda aws: setattr(aws, "alarms", [{**ALARM, **changed}])


def schedule(**changed):
    return lambda aws: aws.schedule.update(changed)


STACK = {"StackName": "VideoReclaim-mine"}


class TestVerify:
    def found(self, ops, status):
        found = {}
        for one in ops("verify", "--json", status=status)["findings"]:
            found[one["check"]] = found.get(one["check"], "") + one["text"]
        return {check: text for check, text in found.items() if text}

    def test_nothing_is_wrong_with_a_sound_stage(self, aws, ops):
        assert self.found(ops, Exit.DONE) == {}
        asked = {one["ActionNames"][0]: one for one in aws.called("SimulatePrincipalPolicy")}
        assert {action: one["PolicySourceArn"] for action, one in asked.items()} == {
            "sqs:SendMessage": f"role of {PREFIX}-Enqueue",
            "cloudwatch:PutMetricData": f"role of {PREFIX}-PublishBacklog",
            "autoscaling:SetDesiredCapacity": "role of the workflow",
        }
        (namespace,) = asked["cloudwatch:PutMetricData"]["ContextEntries"]
        assert namespace["ContextKeyValues"] == ["Academy/Workers"]

    @pytest.mark.parametrize(
        ("change", "check", "words"),
        [
            (
                answers("simulate_principal_policy", EvaluationResults=[{"EvalDecision": "implicitDeny"}]),
                *("roles", "sqs:SendMessage on arn:aws:sqs:eu-west-1:123456789012:jobs (implicitDeny)"),
            ),
            (answers("simulate_principal_policy"), "roles", "can't be checked"),
            (
                answers("describe_stacks", Stacks=[{"StackStatus": "ROLLBACK_COMPLETE", **STACK}]),
                "stack",
                "ROLLBACK",
            ),
            (dry(status="FAILED", error="StoreRefused"), "dry run", "StoreRefused"),
            (dry(status="RUNNING"), "dry run", "still runs"),
            (dry(dryRun=False), "dry run", "not that of a dry run"),
            (dry(heartbeatsTrusted=False), "dry run", "heartbeats are not trusted"),
            (dry(spared={"tenantUnknown": 1}), "dry run", "1 tenantUnknown"),
            (inputs(uploaded=None), "dry run", "database is unknown"),
            (inputs(visible=None), "dry run", "video queue is unknown"),
            (inputs(group=None), "dry run", "worker group is unknown"),
            (inputs(overrideProblem="not JSON"), "dry run", "nothing is scaled in: not JSON"),
            (inputs(group={**INPUTS["group"], "safety": "unprotected"}), "dry run", "not safe from a scale"),
            (answers("get_metric_data", MetricDataResults=[{"Values": []}]), "metrics", "can't be read"),
            (alarm(Threshold=7), "alarms", "Threshold 7, as deployed 1800"),
            *(
                (alarm(**{field: "another"}), "alarms", f"{field} another")
                for field in sorted(ALARM.keys() - {"AlarmName", "AlarmActions", "AlarmDescription"})
            ),
            (alarm(AlarmName=f"{PREFIX}-Other"), "alarms", "OldestWait is missing"),
            (alarm(AlarmActions=[f"{TOPIC}-2"]), "alarms", "operators-2"),
            (alarm(ActionsEnabled=False), "alarms", "disabled"),
            (answers("get_topic_attributes", Attributes={"SubscriptionsConfirmed": "0"}), "topics", "nobody"),
            (schedule(State="DISABLED"), "schedule", "is DISABLED, as deployed ENABLED"),
            (schedule(ScheduleExpression="rate(2 minutes)"), "schedule", "is rate(2 minutes)"),
        ],
    )
    def test_what_is_wrong_is_said_by_its_check(self, aws, ops, monkeypatch, change, check, words):
        monkeypatch.setattr(verify, "_METRICS_READABLE_S", 0.01)
        monkeypatch.setattr(verify, "_DRY_RUN_S", -1)
        change(aws)
        assert words in self.found(ops, Exit.NOT_DONE)[check]

    def test_a_stage_that_notifies_nobody_is_worth_a_note(self, aws, ops):
        silent = {**ALARM, "AlarmActions": []}
        aws.alarms, aws.template["Alarm"]["Properties"] = [silent], silent
        assert "notify nobody" in self.found(ops, Exit.DONE)["topics"]
