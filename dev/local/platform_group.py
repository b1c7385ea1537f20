"""The platform's worker group on the emulator: an Auto Scaling group in which busy workers finish."""

from dev.local.emulator import REGION
from dev.local.stack import Clients

NAME = "academy-video-worker-asg"


def create_group(clients: Clients, name: str = NAME) -> None:
    """Create the group with 1 to 20 workers; no instance with a busy worker ends before its hook is completed."""
    scaling = clients.autoscaling
    scaling.create_launch_configuration(
        LaunchConfigurationName=name, ImageId="ami-00000000000000000", InstanceType="c7g.xlarge"
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchConfigurationName=name,
        MinSize=1,
        MaxSize=20,
        AvailabilityZones=[f"{REGION}a"],
        InstanceLifecyclePolicy={"RetentionTriggers": {"TerminateHookAbandon": "retain"}},
    )
    scaling.put_lifecycle_hook(
        AutoScalingGroupName=name,
        LifecycleHookName="finish-encode",
        LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
        DefaultResult="ABANDON",
        HeartbeatTimeout=600,
    )
