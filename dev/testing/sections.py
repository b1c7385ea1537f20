"""The settings that each function is given, which a template must have, and values of them for tests."""

SECTIONS = {
    "ListStaleVideos": {"Database", "Redis", "Stage", "Reclaiming", "Schedule", "Queues"},
    "Reclaim": {"Database", "Redis", "Stage", "Reclaiming"},
    "Enqueue": {"Database", "Redis", "Stage", "Reclaiming", "Queues"},
    "PublishBacklog": {"Database", "Queues", "Metrics", "Scaling", "Workers", "Schedule"},
}
GROUP = "academy-video-worker-asg"
NAMESPACE = "Academy/Workers"
OVERRIDE = "/academy/workers/video/scaling-override"
SIZING = {
    "METRICS_NAMESPACE": NAMESPACE,
    "METRICS_DIMENSIONS": "{}",
    "SCALING_MODE": "apply",
    "SCALING_VIDEOS_PER_WORKER": "1",
    "SCALING_SPARE_WORKERS": "1",
    "SCALING_PEAK_WINDOW_SECONDS": "120",
    "SCALING_SCALE_IN_WINDOW_SECONDS": "1200",
    "SCALING_OVERRIDE_PARAMETER": OVERRIDE,
    "WORKERS_GROUP_NAME": GROUP,
}


def of_function(function, variables):
    """Of environment variables, those of the sections that a function is given."""
    prefixes = tuple(f"{section.upper()}_" for section in SECTIONS[function])
    return {name: value for name, value in variables.items() if name.startswith(prefixes)}
