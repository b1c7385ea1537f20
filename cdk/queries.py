"""Saved queries for CloudWatch Logs Insights, over the log lines that the functions write.

Every function writes one JSON object a line. ``message`` names the outcome of a video or is ``decided`` for a
scaling decision; Logs Insights finds the fields by name ("Supported logs and discovered fields", CloudWatch
Logs User Guide). A name with a slash puts a query into a folder of the console.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import aws_logs as logs
from constructs import Construct

DECISIONS = """fields @timestamp, action, desired, reason
| filter message = "decided"
| sort @timestamp desc
| limit 20"""


@dataclass(frozen=True)
class Query:
    """A query by its name in the console.

    Attributes:
        text: in the query language of Logs Insights.
        functions: whose logs it reads; empty for all.
    """

    text: str
    functions: Sequence[str] = ()


QUERIES: Mapping[str, Query] = {
    "History of a video": Query(
        """# Replace 0 by the id of the video.
fields @timestamp, message, reason, attempt, holder, lease, silent_since, waiting_since, queue_clear_since,
  delay_s, error, execution
| filter video = 0
| sort @timestamp asc
| limit 1000"""
    ),
    "Reclaims by reason": Query(
        """filter message = "reclaimed"
| stats count(*) as videos by reason, bin(1h)""",
        ("Reclaim",),
    ),
    # A JSON boolean is 1 or 0 here (Powertools for AWS Lambda (.NET), issue "Log queries with CloudWatch Insights must
    # use 1/0"); the CloudWatch Logs User Guide does not mention it.
    "Decisions held": Query(
        """fields @timestamp, desired, reason, execution
| filter message = "decided" and held = 1
| sort @timestamp desc
| limit 200""",
        ("PublishBacklog",),
    ),
    "Slowest steps": Query(
        """filter @type = "REPORT"
| stats count(*) as calls, avg(@duration) as mean_ms, pct(@duration, 99) as p99_ms, max(@duration) as longest_ms,
  max(@initDuration) as longest_start_ms by @log
| sort longest_ms desc"""
    ),
    "Errors": Query(
        r"""fields @timestamp, @log, level, message, cause, error, video, execution, @message
| filter level in ["WARNING", "ERROR"] or ispresent(error) or @message like /Traceback|Task timed out|Runtime\./
| sort @timestamp desc
| limit 200"""
    ),
}


class OperatorQueries(Construct):
    """The queries of a stage, in a folder of its name."""

    def __init__(
        self, scope: Construct, id_: str, *, prefix: str, log_groups: Mapping[str, logs.ILogGroup]
    ) -> None:
        super().__init__(scope, id_)
        for name, query in QUERIES.items():
            logs.CfnQueryDefinition(
                self,
                name.title().replace(" ", ""),
                name=f"{prefix}/{name}",
                query_string=query.text,
                log_group_names=[
                    log_groups[function].log_group_name for function in query.functions or log_groups
                ],
            )
