"""The plot: what a no-op costs over the number of tasks. Needs matplotlib, which the extra `bench` brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.harness import Result, progress

CASES = ("noop-fan", "noop-small")
OURS = "#b5122b"
GREYS = ("#222222", "#777777", "#2f6f9f", "#4f9f5f", "#8a6fb0", "#c08a2e", "#5b8a8a")


def draw(results: Sequence[Result], path: Path) -> bool:
    """Draw one line a tool on logarithmic axes; return whether there was something to draw, and what to draw with."""
    lines = curves(results)
    if not any(len(points) > 1 for points in lines.values()):
        return False
    try:
        import matplotlib
    except ImportError:
        progress("no plot: there is no matplotlib here (pip install -e '.[bench]')")
        return False
    matplotlib.use("svg")
    # The same numbers make the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "dagger", "font.size": 9})
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.2))
    greys = iter(GREYS)
    for name, points in sorted(lines.items(), key=lambda it: -it[1][-1][1]):
        is_ours = name.startswith("dagger")
        style = "--" if name.endswith("scripts") else "-"
        color = OURS if is_ours else next(greys, "#aaaaaa")
        sizes, seconds = zip(*points, strict=True)
        axes.plot(
            sizes, seconds, style, color=color, marker="o", markersize=3, linewidth=2 if is_ours else 1.2, label=name
        )
    axes.set(xscale="log", yscale="log", xlabel="tasks", ylabel="seconds, whole process")
    axes.set_title("Nothing to do: N files copied and joined", loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True


def curves(results: Sequence[Result]) -> dict[str, list[tuple[int, float]]]:
    """Return each tool's points, by number of tasks: the median seconds of its no-op."""
    points: dict[str, dict[int, float]] = {}
    for result in sorted(results, key=lambda it: CASES.index(it.case) if it.case in CASES else -1, reverse=True):
        if result.case in CASES:
            for name in result.samples:
                points.setdefault(name, {})[result.n] = result.median(name)
    return {name: sorted(found.items()) for name, found in points.items()}
