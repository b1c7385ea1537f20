"""Another CDK app that uses the construct: a platform in one stack, and VideoReclaim in another.

In an app of your own install the repository (`pip install PATH_OR_URL`) and import from ``video_reclaim_cdk``
in place of ``cdk``.
"""

from aws_cdk import App, Duration, Environment, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk.connections import database_by_secret, redis_at
from cdk.stage import Observability, Scaling, Settings
from cdk.video_reclaim import VideoReclaim
from examples.worker_group import WorkerGroup


class Academy(Stack):
    """A platform of VPC, Aurora behind RDS Proxy, Valkey, encrypted queues and workers."""

    group_name = "academy-video-worker-asg"

    def __init__(self, scope: Construct, id_: str, *, env: Environment | None = None) -> None:
        super().__init__(scope, id_, env=env)
        self.key = kms.Key(self, "Key", enable_key_rotation=True, removal_policy=RemovalPolicy.DESTROY)
        self.key.grant_encrypt_decrypt(iam.ServicePrincipal("cloudwatch.amazonaws.com"))  # for the topic
        self.vpc = ec2.Vpc(self, "Vpc", max_azs=2, nat_gateways=1)
        self.vpc.add_flow_log("FlowLog")
        self.dead_letters = self._queue("DeadLetters")
        self.jobs = self._queue("Jobs", sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=3))
        self.topic = sns.Topic(self, "Operators", master_key=self.key, enforce_ssl=True)
        self.database = self._database()
        assert self.database.secret is not None
        self.proxy = self.database.add_proxy("Proxy", vpc=self.vpc, secrets=[self.database.secret])
        self.redis_group = ec2.SecurityGroup(self, "RedisGroup", vpc=self.vpc)
        self.redis = self._redis()
        private = self.vpc.select_subnets(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS)
        image = ec2.MachineImage.latest_amazon_linux2023(cpu_type=ec2.AmazonLinuxCpuType.ARM_64)
        WorkerGroup(
            self,
            "Workers",
            group_name=self.group_name,
            queue=self.jobs,
            image_id=image.get_image(self).image_id,
            instance_types=["c7g.xlarge"],
            subnet_ids=private.subnet_ids,
        )

    def _queue(self, id_: str, dead_letters: sqs.DeadLetterQueue | None = None) -> sqs.Queue:
        return sqs.Queue(
            self,
            id_,
            visibility_timeout=Duration.seconds(300),
            retention_period=Duration.days(14),
            enforce_ssl=True,
            encryption_master_key=self.key,
            dead_letter_queue=dead_letters,
        )

    def _database(self) -> rds.DatabaseCluster:
        return rds.DatabaseCluster(
            self,
            "Database",
            engine=rds.DatabaseClusterEngine.aurora_postgres(
                version=rds.AuroraPostgresEngineVersion.VER_17_4
            ),
            writer=rds.ClusterInstance.serverless_v2("Writer"),
            vpc=self.vpc,
            default_database_name="academy",
            storage_encrypted=True,
            iam_authentication=True,
            deletion_protection=True,
        )

    def _redis(self) -> elasticache.CfnReplicationGroup:
        subnets = elasticache.CfnSubnetGroup(
            self,
            "RedisSubnets",
            description="Private subnets",
            subnet_ids=self.vpc.select_subnets(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS).subnet_ids,
        )
        return elasticache.CfnReplicationGroup(
            self,
            "Redis",
            replication_group_description="Heartbeats of the workers",
            engine="valkey",
            cache_node_type="cache.t4g.small",
            num_cache_clusters=2,
            automatic_failover_enabled=True,
            multi_az_enabled=True,
            at_rest_encryption_enabled=True,
            transit_encryption_enabled=True,
            cache_subnet_group_name=subnets.ref,
            security_group_ids=[self.redis_group.security_group_id],
        )


class Reclaim(Stack):
    """VideoReclaim for a platform of another stack."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        academy: Academy,
        ssl_root_cert: str = "rds.pem",
        env: Environment | None = None,
    ) -> None:
        super().__init__(scope, id_, env=env)
        assert academy.database.secret is not None
        self.reclaim = VideoReclaim(
            self,
            "VideoReclaim",
            vpc=academy.vpc,
            database=database_by_secret(
                academy.database.secret,
                host=academy.proxy.endpoint,
                name="academy",
                ssl_root_cert=ssl_root_cert,
            ),
            redis=redis_at(academy.redis.attr_primary_end_point_address),
            video_queue=academy.jobs,
            video_dead_letter_queue=academy.dead_letters,
            worker_group=academy.group_name,
            alarm_topic=academy.topic,
            settings=Settings(
                scaling=Scaling(videos_per_worker=2),
                observability=Observability(runbook_url="https://wiki.example.com/video-reclaim/runbook"),
            ),
        )
        # From here to there: allow_from(reclaim) there would make each of the stacks depend on the other.
        self.reclaim.connections.allow_to(academy.proxy, ec2.Port.tcp(5432))
        self.reclaim.connections.allow_to(academy.redis_group, ec2.Port.tcp(6379))


if __name__ == "__main__":
    app = App()
    Reclaim(app, "Reclaim", academy=Academy(app, "Academy"))
    app.synth()
