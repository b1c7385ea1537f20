"""What came of one run of the simulated fleet."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Outcome:
    """What came of one run.

    Attributes:
        waits_s: For each video, from upload to its first begin, or to the end.
        drains_s: For each burst of the trace: from its first upload until the last of its videos was begun,
            or to the end.
        instance_s: Instance-seconds paid, boots and draining included.
        work_s: Encoding done, without what was lost.
        lost_s: Encoding thrown away.
        killed: Busy workers ended by a scale-in.
        rebalanced: Busy workers ended by zone rebalancing.
        broken: Encodes cut short by a Spot interruption or a death, which no policy can avoid.
        turns: Times that the desired capacity went the other way than before.
        length_s: How long the run was.
        series: Per scaling run: seconds, backlog, desired, instances; only if asked for.
    """

    waits_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    drains_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    instance_s: float = 0.0
    work_s: float = 0.0
    lost_s: float = 0.0
    killed: int = 0
    rebalanced: int = 0
    broken: int = 0
    turns: int = 0
    length_s: float = 0.0
    series: list[tuple[float, int, int, int]] = field(default_factory=list)
