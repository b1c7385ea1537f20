"""Measure the backlog, publish it, read it back, and decide how many workers there should be."""

from datetime import UTC, datetime
from typing import Any

from video_reclaim import log, run_record
from video_reclaim.backlog import decision_inputs, measure, publish_decision, publish_measurement
from video_reclaim.scaling import decide
from video_reclaim.settings import BacklogSettings, read


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map ``{"run": {…}, "results": [{…}, …], "retried": bool}`` to the record with totals and decision.

    ``run`` is the execution's record so far and ``results`` what the items of a Map answered since. The
    answer is ``{"run": {…}, "setDesiredCapacity": {"needed": bool, "to": int}}``, where ``run["decision"]``
    can be replayed.

    A retry measures, publishes and decides afresh; what the items did is then counted twice in the metrics.

    Raises:
        MetricsUnavailable: CloudWatch did not take the metrics.
        InvalidSetting: names the variable.
    """
    settings = read(BacklogSettings)
    now = datetime.now(UTC)
    totals = run_record.total(event["results"])
    retried = bool(event.get("retried"))
    seen = measure(settings, at=now)
    trusted = None if retried else event["run"].get("heartbeatsTrusted")
    publish_measurement(settings, seen, totals, heartbeats_trusted=trusted)
    decision = decide(decision_inputs(settings, seen))
    publish_decision(settings, decision, at=now)

    record = decision.to_record()
    log.event("decided", decision=record)
    run = run_record.extend(event["run"], totals, retried=retried) | {"decision": record}
    change = settings.scaling_mode == "apply" and decision.action != "hold"
    return {"run": run, "setDesiredCapacity": {"needed": change, "to": decision.desired or 0}}
