"""The plots of the sections, as PNG files."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from dev.bench.figures import Plot


def draw(folder: Path, plots: Iterable[Plot]) -> list[Path]:
    """Draw one PNG per plot; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for plot in plots:
        figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
        for name, points in plot.lines.items():
            axes.plot(*zip(*points, strict=True), marker="o" if plot.scale == "log" else "", label=name)
        axes.set(xscale=plot.scale, yscale=plot.scale, xlabel=plot.across, ylabel=plot.up, title=plot.title)
        axes.grid(alpha=0.3, which="both")
        figure.legend(loc="outside lower center", ncols=2, fontsize="small")
        files.append(folder / f"{plot.name}.png")
        # Without the version of the program inside, the same figures give the same file.
        figure.savefig(files[-1], dpi=80, metadata={"Software": None})
        plt.close(figure)
    return files
