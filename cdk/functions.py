"""The four functions: the environment and the permissions of each."""

import json
import re
from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from . import permissions
from .bundle import certificates, dependency_layer
from .placement import Placement
from .queues import PlatformQueues
from .sections import LISTING_CONNECTIONS
from .sources import ROOT
from .stage import Stage


class ReclaimFunctions(Construct):
    """One code asset and one dependency layer behind four functions, each with a role and a log group of its own.

    A function is named like its state; its module is the same name in snake case. All four read the database, so all
    four sit in its VPC.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        prefix: str,
        stage: Stage,
        queues: PlatformQueues,
        placement: Placement,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, id_)
        self._prefix, self._stage, self._placement = prefix, stage, placement
        self._removal_policy = removal_policy
        self._code = lambda_.Code.from_asset(str(ROOT / "functions"), exclude=["**/__pycache__", "**/*.pyc"])
        self._runtime = lambda_.Runtime(f"python{stage.functions.python}", lambda_.RuntimeFamily.PYTHON)
        self._layers = self._make_layers()
        self.by_name: dict[str, lambda_.Function] = {}
        """The functions by the name of their state."""
        self.log_groups: dict[str, logs.ILogGroup] = {}
        redis_sign_in = permissions.redis_sign_in(self, stage)
        watch = [*redis_sign_in, *permissions.watch(queues)]
        send, observe = permissions.send_jobs(self, queues), permissions.observe(self, stage, queues)
        # By function: timeout and how much of it is the database's, in seconds; sections of the settings besides
        # the database; permissions besides those to sign in there.
        plans: Mapping[str, tuple[int, int, list[str], list[iam.PolicyStatement]]] = {
            "ListStaleVideos": (60, 60, ["redis", "stage", "reclaiming", "schedule", "queues"], watch),
            "Reclaim": (30, 30, ["redis", "stage", "reclaiming"], redis_sign_in),
            "Enqueue": (60, 60, ["redis", "stage", "reclaiming", "queues"], [*redis_sign_in, *send]),
            "PublishBacklog": (90, 30, ["queues", "metrics", "scaling", "workers", "schedule"], observe),
        }
        sign_in = permissions.sign_in(self, stage)
        urls = Stack.of(self).to_json_string(
            {kind: [queue.queue_url for queue in members] for kind, members in queues.by_worker_type.items()}
        )
        given = {"queues": {"QUEUES_URLS": urls}, "stage": {"STAGE_NAME": name}}
        for state, (timeout_s, database_s, sections, statements) in plans.items():
            variables = _variables(stage, "database")
            # A statement on a connection that died unnoticed, and again on a new one, end within this time.
            variables["DATABASE_STATEMENT_SECONDS"] = str(database_s // 3)
            for section in sections:
                variables |= given.get(section) or _variables(stage, section)
            self._make_function(state, variables, [*sign_in, *statements], timeout_s)

    def _make_function(
        self,
        name: str,
        variables: Mapping[str, str],
        statements: Sequence[iam.PolicyStatement],
        timeout_s: int,
    ) -> None:
        scope, function_name = Construct(self, name), f"{self._prefix}-{name}"
        log_group = logs.LogGroup(
            scope,
            "Logs",
            log_group_name=f"/{self._prefix}/{name}",
            retention=logs.RetentionDays[self._stage.observability.log_retention],
            removal_policy=self._removal_policy,
        )
        role = iam.Role(
            scope,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"Role of {name} of {self._prefix}",
        )
        placement = self._placement
        function = lambda_.Function(
            scope,
            "Function",
            function_name=function_name,
            description=f"State {name} of {self._prefix}",
            runtime=self._runtime,
            architecture=lambda_.Architecture.ARM_64,
            code=self._code,
            handler=f"{re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()}.handler",
            layers=self._layers,
            environment=dict(variables),
            memory_size=self._stage.functions.memory_mb,
            timeout=Duration.seconds(timeout_s),
            reserved_concurrent_executions=_share(self._stage.database.max_connections, name),
            role=role,
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            vpc=placement.vpc,
            vpc_subnets=placement.subnets,
            security_groups=list(placement.security_groups) if placement.vpc else None,
        )
        placement.place_by_ids(function)
        log_group.grant_write(role)
        for statement in [*statements, *placement.statements(self, function_name)]:
            role.add_to_principal_policy(statement)
        self.by_name[name], self.log_groups[name] = function, log_group

    def _make_layers(self) -> list[lambda_.ILayerVersion]:
        """Make a layer of the dependencies, and one of the roots of trust where any are needed."""
        stage = self._stage
        dependencies = lambda_.LayerVersion(
            self,
            "Dependencies",
            description="msgspec, psycopg2 and redis",
            code=lambda_.Code.from_asset(str(dependency_layer(stage.bundle, stage.functions.python))),
            compatible_runtimes=[self._runtime],
            compatible_architectures=[lambda_.Architecture.ARM_64],
        )
        used = [stage.database.ssl_root_cert] if stage.database.ssl_mode.startswith("verify") else []
        used += [stage.redis.ssl_root_cert] if stage.redis.ssl_root_cert else []
        if not used:
            return [dependencies]
        roots = lambda_.LayerVersion(
            self,
            "Certificates",
            description="Roots that the database and Redis are verified against",
            code=lambda_.Code.from_asset(str(certificates(used))),
        )
        return [dependencies, roots]


def _variables(stage: Stage, section: str) -> dict[str, str]:
    """Return the settings of one section as variables.

    The name of a variable follows from the setting: ``reclaiming.handoffSeconds`` of a stage is
    ``RECLAIMING_HANDOFF_SECONDS``, which ``functions/video_reclaim/settings.py`` reads as ``handoff_seconds`` of its
    class ``Reclaiming``. Numbers, booleans, lists and objects are written as JSON; None is a variable that is absent.
    """
    values = getattr(stage, section).model_dump(exclude_none=True, warnings=False)
    return {
        f"{section}_{key}".upper(): value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
    }


def _share(connections: int | None, name: str) -> int | None:
    """Return the number of connections that one function may hold, which holds one for each instance."""
    if connections is None:
        return None
    if name in ("Reclaim", "Enqueue"):
        return (connections - LISTING_CONNECTIONS) // 2
    return LISTING_CONNECTIONS // 2
