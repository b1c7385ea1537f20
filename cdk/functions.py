"""The four functions: the environment and the permissions of each."""

from collections.abc import Mapping

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from . import environment, permissions
from .bundle import dependency_layer
from .placement import Placement
from .platform import CERTIFICATES, LISTING_CONNECTIONS
from .queues import PlatformQueues
from .sources import ROOT
from .stage import Stage
from .step import Shared, Step


class ReclaimFunctions(Construct):
    """One code asset and one dependency layer behind four functions, each with a role of its own.

    All four read the database, so all four sit in its VPC.
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
        encryption_key: kms.IKey | None,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, id_)
        shared = Shared(
            prefix=prefix,
            code=lambda_.Code.from_asset(str(ROOT / "functions"), exclude=["**/__pycache__", "**/*.pyc"]),
            layers=_layers(self, stage),
            runtime=_runtime(stage),
            memory_mb=stage.functions.memory_mb,
            log_retention=logs.RetentionDays[stage.observability.log_retention],
            placement=placement,
            encryption_key=encryption_key,
            removal_policy=removal_policy,
        )
        redis_sign_in = permissions.redis_sign_in(self, stage)
        watch = [*redis_sign_in, *permissions.watch(queues)]
        send, observe = permissions.send_jobs(self, queues), permissions.observe(self, stage, queues)
        # By function: timeout and how much of it is the database's, in seconds; sections of the settings besides
        # the database; permissions besides those to sign in there.
        plans: Mapping[str, tuple[int, int, list[str], list[iam.PolicyStatement]]] = {
            "ListStaleVideos": (60, 60, ["redis", "stage", "reclaiming", "schedule", "queues"], watch),
            "Reclaim": (30, 30, ["redis", "stage", "reclaiming", "schedule"], redis_sign_in),
            "Enqueue": (60, 60, ["redis", "stage", "reclaiming", "queues"], [*redis_sign_in, *send]),
            "PublishBacklog": (90, 30, ["queues", "metrics", "scaling", "workers", "schedule"], observe),
        }
        sign_in = permissions.sign_in(self, stage)
        urls = Stack.of(self).to_json_string(
            {kind: [queue.queue_url for queue in members] for kind, members in queues.by_worker_type.items()}
        )
        given = {"queues": {"QUEUES_URLS": urls}, "stage": {"STAGE_NAME": name}}
        self.by_name: dict[str, lambda_.Function] = {}
        """The functions by the name of their state."""
        self.log_groups: dict[str, logs.ILogGroup] = {}
        for state, (timeout_s, database_s, sections, statements) in plans.items():
            variables = environment.variables(stage, "database")
            # A statement on a connection that died unnoticed, and again on a new one, end within this time.
            variables["DATABASE_STATEMENT_SECONDS"] = str(database_s // 3)
            for section in sections:
                variables |= given.get(section) or environment.variables(stage, section)
            step = Step(
                self,
                state,
                shared=shared,
                environment=variables,
                statements=[*sign_in, *statements],
                timeout_s=timeout_s,
                reserved_concurrency=_share(stage.database.max_connections, state),
            )
            self.by_name[state], self.log_groups[state] = step.function, step.log_group


def _layers(scope: Construct, stage: Stage) -> list[lambda_.ILayerVersion]:
    """The dependencies, and the roots of trust where any are needed."""
    dependencies = lambda_.LayerVersion(
        scope,
        "Dependencies",
        description="msgspec, psycopg2 and redis",
        code=lambda_.Code.from_asset(str(dependency_layer(stage.bundle, stage.functions.python))),
        compatible_runtimes=[_runtime(stage)],
        compatible_architectures=[lambda_.Architecture.ARM_64],
    )
    if not stage.database.ssl_mode.startswith("verify") and stage.redis.ssl_root_cert is None:
        return [dependencies]
    roots = lambda_.LayerVersion(
        scope,
        "Certificates",
        description="Roots that the database and Redis are verified against",
        code=lambda_.Code.from_asset(str(CERTIFICATES)),
    )
    return [dependencies, roots]


def _runtime(stage: Stage) -> lambda_.Runtime:
    return lambda_.Runtime(f"python{stage.functions.python}", lambda_.RuntimeFamily.PYTHON)


def _share(connections: int | None, name: str) -> int | None:
    """Return the number of connections that one function may hold, which holds one for each instance."""
    if connections is None:
        return None
    if name in ("Reclaim", "Enqueue"):
        return (connections - LISTING_CONNECTIONS) // 2
    return LISTING_CONNECTIONS // 2
