"""What the app's own definition says: the template of a stage, and the graphs on its dashboard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def synthesize(stage: str) -> Mapping[str, Any]:
    """Synthesize a stage in this process, offline, and return its template.

    Raises:
        cdk.stage.InvalidStage: there is no such stage, or it can't be used.
    """
    import aws_cdk

    from cdk.stack import VideoReclaimStack
    from cdk.stage import load, stages_in

    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = aws_cdk.App(context=context, builtin_cloud_formation_validation=False)
    VideoReclaimStack(app, name=stage, stage=load(stages_in(), stage))
    template: Mapping[str, Any] = json.loads(Path(app.synth().stacks[0].template_full_path).read_text())
    return template


def widgets(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The dashboard's graphs over time, in CloudWatch's own form; ``?`` is what is only known when deployed."""
    (board,) = (one for one in template["Resources"].values() if one["Type"] == "AWS::CloudWatch::Dashboard")
    body = board["Properties"]["DashboardBody"]
    text = body if isinstance(body, str) else _joined(body["Fn::Join"][1])
    return [one for one in json.loads(text)["widgets"] if one["properties"].get("view") == "timeSeries"]


def _joined(parts: list[Any]) -> str:
    return "".join(part if isinstance(part, str) else "?" for part in parts)
