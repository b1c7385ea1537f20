"""Corrections of CloudWatch: evaluation of alarms."""

import threading
import time
from collections.abc import Callable
from typing import Any

from ministack.services import cloudwatch

from dev.local.corrections.review import reviewed

_ALARM_TICK_S = 1
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


def evaluate_alarms() -> None:
    """Evaluate metric alarms regularly, over their own dimensions and periods.

    AWS evaluates an alarm every period. It reads the data points of the alarm's dimensions in the last
    EvaluationPeriods periods, of which DatapointsToAlarm must breach, and treats missing ones as
    TreatMissingData says ("Using Amazon CloudWatch alarms", CloudWatch User Guide). Ministack evaluates only
    when a metric is put, over all dimensions together, as one period, and ignores missing data.
    """
    reviewed(cloudwatch, "_evaluate_alarm", "a0b0acd3d432")

    def evaluate(alarm: dict[str, Any]) -> None:
        if not alarm.get("MetricName"):
            return  # metric math or a composite alarm
        old, new = alarm["StateValue"], _alarm_state(alarm, now_s=time.time())
        if new != old:
            reason = f"Threshold Crossed: {alarm['ComparisonOperator']} {alarm['Threshold']}"
            alarm.update(StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
            cloudwatch._record_history(alarm["AlarmName"], old, new, reason)
            cloudwatch._dispatch_alarm_actions(alarm, old, new, reason)
            cloudwatch._evaluate_parent_alarms(alarm)

    def clock() -> None:
        while True:
            time.sleep(_ALARM_TICK_S)
            cloudwatch._evaluate_all_alarms()

    cloudwatch._evaluate_alarm = evaluate
    threading.Thread(target=clock, daemon=True, name="alarm-clock").start()


def _alarm_state(alarm: dict[str, Any], *, now_s: float) -> str:
    dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm.get("Dimensions") or []))
    points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions)) or []
    period_s = int(alarm.get("Period", 60))
    periods = int(alarm.get("EvaluationPeriods", 1))
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
    when_missing = alarm.get("TreatMissingData") or "missing"
    breaches = known = 0
    for start_s in (int(now_s // period_s - back) * period_s for back in range(periods)):
        within = [point for point in points if start_s <= point["Timestamp"] < start_s + period_s]
        if within:
            value = cloudwatch._stat_value(cloudwatch._calc_stats(within), statistic, within)
            known += 1
            breaches += _COMPARISONS[alarm["ComparisonOperator"]](value, alarm["Threshold"])
        elif when_missing == "breaching":
            breaches += 1
    if breaches >= int(alarm.get("DatapointsToAlarm") or periods):
        return "ALARM"
    if known or when_missing in ("breaching", "notBreaching"):
        return "OK"
    return str(alarm["StateValue"]) if when_missing == "ignore" else "INSUFFICIENT_DATA"
