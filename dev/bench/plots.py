"""How things grow, drawn."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from dev.bench.figures import Growth


def draw(folder: Path, growths: Iterable[Growth]) -> list[Path]:
    """Draw one PNG each, on logarithmic axes; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for growth in growths:
        figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
        for name, points in growth.series.items():
            axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel=growth.across, ylabel=growth.up, title=growth.title)
        axes.grid(alpha=0.3, which="both")
        axes.legend()
        files.append(folder / f"{growth.name}.png")
        # Without the program's version inside, the same figures give the same file.
        figure.savefig(files[-1], dpi=80, metadata={"Software": None})
        plt.close(figure)
    return files
