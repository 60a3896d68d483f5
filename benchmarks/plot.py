"""Draw the results: python -m benchmarks.plot RESULTS.json PLOT.svg"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # after the choice of the backend


def main(results: Path, plot: Path) -> None:
    matplotlib.rcParams["svg.hashsalt"] = "performance"
    counted = json.loads(results.read_text())["instructions"]
    bare = next(iter(counted.values()))
    names = list(counted)[::-1]
    factors = [counted[name] / bare for name in names]
    colours = ["#2a7f62" if "template" in name else "#9aa5b1" for name in names]
    figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(names) + 1))
    bars = axes.barh(names, factors, color=colours)
    axes.bar_label(bars, [f"{factor:.2f}" for factor in factors], padding=3)
    axes.set_xlabel("instructions per request, bare FastAPI = 1")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(plot, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
