"""Another CDK app that uses the construct: the platform and VideoReclaim in one stack.

In an app of your own install the repository (`pip install PATH_OR_URL`) and import from ``video_reclaim_cdk``
in place of ``cdk``.
"""

from aws_cdk import Acknowledgment, App, Duration, Environment, RemovalPolicy, Stack, Validations
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk.connections import database_by_secret, redis_at
from cdk.platform import Database, Redis
from cdk.stage import Scaling, Settings
from cdk.video_reclaim import VideoReclaim


class Academy(Stack):
    """A platform of VPC, PostgreSQL, Redis, queues and workers, with VideoReclaim."""

    def __init__(self, scope: Construct, id_: str, *, env: Environment | None = None) -> None:
        super().__init__(scope, id_, env=env)
        self.key = self._key()
        self.vpc = ec2.Vpc(self, "Vpc", max_azs=2, nat_gateways=1)
        self.vpc.add_flow_log("FlowLog")
        dead_letters = self._queue("DeadLetters")
        jobs = self._queue("Jobs", sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=3))
        topic = sns.Topic(self, "Operators", master_key=self.key, enforce_ssl=True)
        database, redis, workers = self._database(), self._redis(), self._workers()
        self.reclaim = VideoReclaim(
            self,
            "VideoReclaim",
            vpc=self.vpc,
            database=self.database_connection(database),
            redis=self.redis_connection(redis),
            video_queue=jobs,
            video_dead_letter_queue=dead_letters,
            worker_group=workers,
            alarm_topic=topic,
            encryption_key=self.key,
            settings=self.settings(),
        )
        database.connections.allow_default_port_from(self.reclaim)
        self._redis_group.connections.allow_from(self.reclaim, ec2.Port.tcp(6379))
        self._accept_findings(database, redis, dead_letters, workers)

    def database_connection(self, database: rds.DatabaseInstance) -> Database:
        """Return how VideoReclaim signs in to the database."""
        assert database.secret is not None
        endpoint = database.instance_endpoint
        return database_by_secret(database.secret, host=endpoint.hostname, port=endpoint.port, name="academy")

    def redis_connection(self, redis: elasticache.CfnReplicationGroup) -> Redis:
        """Return how VideoReclaim connects to Redis."""
        return redis_at(redis.attr_primary_end_point_address)

    def settings(self) -> Settings:
        """Return what differs from the defaults."""
        return Settings(scaling=Scaling(videos_per_worker=2))

    def worker_image(self) -> ec2.IMachineImage:
        """Return the image of the workers' instances."""
        return ec2.MachineImage.latest_amazon_linux2023(cpu_type=ec2.AmazonLinuxCpuType.ARM_64)

    def _key(self) -> kms.Key:
        key = kms.Key(self, "Key", enable_key_rotation=True, removal_policy=RemovalPolicy.DESTROY)
        for service in (f"logs.{self.region}.amazonaws.com", "cloudwatch.amazonaws.com"):
            key.grant_encrypt_decrypt(iam.ServicePrincipal(service))
        return key

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

    def _database(self) -> rds.DatabaseInstance:
        return rds.DatabaseInstance(
            self,
            "Database",
            engine=rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_18_3),
            vpc=self.vpc,
            database_name="academy",
            storage_encrypted=True,
            multi_az=True,
            deletion_protection=True,
        )

    def _redis(self) -> elasticache.CfnReplicationGroup:
        self._redis_group = ec2.SecurityGroup(self, "RedisGroup", vpc=self.vpc)
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
            engine="redis",
            cache_node_type="cache.t4g.small",
            num_cache_clusters=2,
            automatic_failover_enabled=True,
            multi_az_enabled=True,
            at_rest_encryption_enabled=True,
            transit_encryption_enabled=True,
            cache_subnet_group_name=subnets.ref,
            security_group_ids=[self._redis_group.security_group_id],
        )

    def _workers(self) -> autoscaling.AutoScalingGroup:
        return autoscaling.AutoScalingGroup(
            self,
            "Workers",
            vpc=self.vpc,
            instance_type=ec2.InstanceType("c7g.xlarge"),
            machine_image=self.worker_image(),
            min_capacity=1,
            max_capacity=20,
            new_instances_protected_from_scale_in=True,
            require_imdsv2=True,
            block_devices=[
                autoscaling.BlockDevice(
                    device_name="/dev/xvda", volume=autoscaling.BlockDeviceVolume.ebs(100, encrypted=True)
                )
            ],
        )

    def _accept_findings(self, *constructs: Construct) -> None:
        """Accept what cdk-nag says about the platform of this example, which is kept short."""
        rules = ("SMG4", "RDS11", "AEC5", "AEC6", "AS3")
        names = [f"AwsSolutions-{rule}" for rule in rules] + ["Serverless-SQSRedrivePolicy"]
        for construct in constructs:
            Validations.of(construct).acknowledge(
                *(Acknowledgment(id=name, reason="the example is kept short") for name in names)
            )


if __name__ == "__main__":
    app = App()
    Academy(app, "Academy")
    app.synth()
