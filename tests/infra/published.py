"""What CloudWatch has of one minute: what the functions publish, by their own code, and what AWS does."""

from datetime import UTC, datetime
from types import SimpleNamespace

import publish_backlog
from tests.infra.conftest import functions, machine_of, of_type
from tests.infra.references import written
from video_reclaim import settings
from video_reclaim.adapters.postgres.store import Backlog
from video_reclaim.adapters.sqs import Depth
from video_reclaim.rules.counts import Counts, ItemResult
from video_reclaim.rules.run_record import PassResult, PublishEvent, RunRecord
from video_reclaim.scaling.records import Decision, Group, Inputs, Scaling

SCALING = Scaling("apply", 1, 1, 120, 1200, "/order")


class Series:
    """The series of a stage's deployment, by namespace, name and dimensions."""

    def __init__(self, resources):
        self.resources = resources
        given = functions(resources)["PublishBacklog"]["Environment"]["Variables"]
        variables = {name: written(value, resources) for name, value in given.items()}
        self.metrics = settings.read(settings.Metrics, variables)
        self.group = settings.read(settings.Workers, variables).group_name
        self.worker_types = settings.read(settings.Queues, variables).urls
        (id_,) = [id_ for id_, one in resources.items() if one["Properties"] is machine_of(resources)]
        self.machine = {"StateMachineArn": f"<{id_}>"}

    def own(
        self,
        *,
        listed=True,
        backlog=3,
        waited_s=5.0,
        trusted=True,
        unclear=False,
        failed=0,
        tenantless=0,
        held=False,
        idle=0,
        beyond=0,
        **did,
    ):
        """What PublishBacklog puts at the end of a run."""
        run = RunRecord(spared={"tenantUnknown": tenantless})
        if listed:
            run.heartbeats_trusted, run.longest_wait_s = trusted, waited_s
        known = Backlog(backlog, 0) if listed and backlog is not None else None
        measured = publish_backlog.measured(
            SimpleNamespace(dimensions=self.metrics.dimensions),
            publish_backlog.Measurement(
                known, dict.fromkeys(self.worker_types, Depth(1, 0, 0)), (None, None), (None, True)
            ),
            PublishEvent(
                run,
                PassResult([ItemResult(Counts(**did), "QueueUnavailable" if failed else "", failed)], False),
            ),
        )
        at = datetime(2026, 1, 1, tzinfo=UTC)
        problem = "it could not be read" if unclear else None
        group = Group(1, 20, 20 if beyond else 3, idle, "protected")
        inputs = Inputs(at, idle + beyond, 0, 1, (), group, SCALING, 60, override_problem=problem)
        decided = publish_backlog.decided(self.metrics, Decision("hold", 3, "", held, inputs))
        return {
            (self.metrics.namespace, one.name, one.dimensions): [float(value)]
            for one, value in {**measured, **decided}.items()
            if value is not None
        }

    def executions(self, **numbers):
        """AWS's own counts of the minute's executions: each one is a value of 1, those that didn't end so of 0."""
        dimensions = tuple(self.machine.items())
        return {
            ("AWS/States", f"Executions{how}", dimensions): [1.0] * numbers.get(how, 0) + [0.0]
            for how in ("Started", "Succeeded", "Failed", "TimedOut", "Aborted", "Redriven")
        }

    def queues(self, **visible):
        """The depths of all queues; an extra message for each that is named."""
        names = [one["QueueName"] for one in of_type(self.resources, "AWS::SQS::Queue").values()]
        return {
            ("AWS/SQS", "ApproximateNumberOfMessagesVisible", (("QueueName", name),)): [
                float(visible.get(name, 0))
            ]
            for name in {*names, *visible}
        }
