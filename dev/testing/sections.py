"""The settings that each function is given: the workflow's tests run with these, and a template must have them."""

SECTIONS = {
    "ListStaleVideos": {"Database", "Redis", "Stage", "Reclaiming", "Schedule", "Queues"},
    "Reclaim": {"Database", "Redis", "Stage", "Reclaiming", "Schedule"},
    "Enqueue": {"Database", "Redis", "Stage", "Reclaiming", "Queues"},
    "PublishBacklog": {"Database", "Queues", "Metrics", "Scaling", "Workers", "Schedule"},
}


def of_function(function, variables):
    """Of environment variables, those of the sections that a function is given."""
    prefixes = tuple(f"{section.upper()}_" for section in SECTIONS[function])
    return {name: value for name, value in variables.items() if name.startswith(prefixes)}
