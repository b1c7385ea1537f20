"""The four functions: what each is told, and what each may do."""

from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk import environment, permissions
from cdk.bundle import ROOT, dependency_layer
from cdk.queues import Queues
from cdk.stage import CERTIFICATES, LISTING_CONNECTIONS, Stage
from cdk.step import Setting, Step


class ReclaimFunctions(Construct):
    """One code asset and one dependency layer behind four functions, each with a role of its own.

    All four read the database, so all four sit in its VPC.
    """

    def __init__(self, scope: Construct, id_: str, *, prefix: str, stage: Stage, queues: Queues) -> None:
        super().__init__(scope, id_)
        setting = Setting(
            prefix=prefix,
            code=lambda_.Code.from_asset(str(ROOT / "functions"), exclude=["**/__pycache__", "**/*.pyc"]),
            layers=_layers(self, stage),
            log_retention=logs.RetentionDays[stage.observability.log_retention],
            network=stage.network,
        )
        redis, staleness, handoff = (
            environment.redis(stage),
            environment.staleness(stage),
            environment.handoff(stage),
        )
        reclaims = {"MAX_RECLAIMS": str(stage.reclaiming.max_reclaims)}
        sign_in, redis_sign_in = permissions.sign_in(self, stage), permissions.redis_sign_in(self, stage)
        # By function: its timeout, how much of it is the database's, and what it is told and may do.
        plans = {
            "ListStaleVideos": (60, 60, redis | staleness, redis_sign_in),
            "Reclaim": (30, 30, redis | staleness | handoff | reclaims, redis_sign_in),
            "Enqueue": (
                60,
                60,
                handoff | {"QUEUE_URL": queues.video.queue_url},
                permissions.send_jobs(self, stage, queues),
            ),
            "PublishBacklog": (
                60,
                30,
                environment.backlog(stage, queues),
                permissions.observe_and_publish(self, stage, queues),
            ),
        }
        self.by_name: dict[str, lambda_.Function] = {}
        """The functions by the name of their state."""
        for name, (timeout_s, database_s, variables, statements) in plans.items():
            self.by_name[name] = Step(
                self,
                name,
                setting=setting,
                environment=environment.database(stage, database_s) | variables,
                statements=[*sign_in, *statements],
                timeout_s=timeout_s,
                reserved_concurrency=_share(stage.database.max_connections, name),
            ).function


def _layers(scope: Construct, stage: Stage) -> list[lambda_.ILayerVersion]:
    """The dependencies, and the roots of trust where any are needed."""
    dependencies = lambda_.LayerVersion(
        scope,
        "Dependencies",
        description="psycopg2 and redis",
        code=lambda_.Code.from_asset(str(dependency_layer(stage.bundle))),
        compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
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


def _share(connections: int | None, name: str) -> int | None:
    """How many of a limited number of connections one function may hold: it holds one for each instance."""
    if connections is None:
        return None
    if name in ("Reclaim", "Enqueue"):
        return (connections - LISTING_CONNECTIONS) // 2
    return LISTING_CONNECTIONS // 2
