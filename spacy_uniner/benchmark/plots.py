"""Pictures of a run: F1 with intervals, reliability of scores, threshold curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .report import Published

BLUE, GRAY, ORANGE = "#1c6dd0", "#8a94a0", "#d9730d"


def draw(report: Mapping[str, Any], published: Sequence[Published], folder: Path) -> list[Path]:
    """Draw all pictures of a run, each as SVG and PNG.

    RETURNS: the SVG files.
    RAISES: ValueError if matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as err:
        raise ValueError("Pictures need matplotlib. Install it with: pip install spacy-uniner[benchmark]") from err
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    pictures = {"f1": draw_f1(report, published)}
    if any("calibration" in row for row in report["datasets"]):
        pictures |= {"reliability": draw_reliability(report), "thresholds": draw_thresholds(report)}
    paths = []
    for name, figure in pictures.items():
        for ending in ("svg", "png"):
            figure.savefig(folder / f"{name}.{ending}", dpi=150, bbox_inches="tight")
        paths.append(folder / f"{name}.svg")
    return paths


def draw_f1(report: Mapping[str, Any], published: Sequence[Published]) -> Any:
    """Bars of strict F1 with 95 % intervals, and marks where published systems stand."""
    from matplotlib.figure import Figure

    rows = report["datasets"][::-1]
    figure = Figure(figsize=(7.0, 1.2 + 0.36 * len(rows)))
    axes = figure.subplots()
    places = range(len(rows))
    f1 = [row["metrics"]["strict"]["micro"]["f"] for row in rows]
    bounds = [row["strict_f1_interval"] for row in rows]
    errors = [[f - low for f, (low, _) in zip(f1, bounds)], [high - f for f, (_, high) in zip(f1, bounds)]]
    axes.barh(places, f1, xerr=errors, color=BLUE, height=0.62, ecolor="#10376b", label=f"{report['system']}, strict")
    marks = (("UniNER-7B", "D", ORANGE), ("GLiNER-L", "o", GRAY))
    for system, sign, color in marks:
        others = [other for other in published if other.system.startswith(system)]
        points = [
            (others[0].scores[row["name"]], n)
            for n, row in enumerate(rows)
            if others and row["name"] in others[0].scores
        ]
        if points:
            axes.plot(*zip(*points), sign, color=color, markersize=6, label=f"{others[0].system}, published")
    axes.set_yticks(places, [row["name"] for row in rows])
    axes.set_xlim(0, 100)
    axes.set_xlabel("F1, percent (bars: 95 % bootstrap interval)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return figure


def draw_reliability(report: Mapping[str, Any]) -> Any:
    """Share of correct mentions by score, over all datasets; the diagonal is perfect."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 4.2))
    axes = figure.subplots()
    totals: dict[int, list[float]] = {}
    for row in report["datasets"]:
        for n, part in enumerate(row.get("calibration", {}).get("bins", ())):
            total = totals.setdefault(n, [0.0, 0.0, 0.0])
            total[0] += part["n"]
            total[1] += part["n"] * part["mean_score"]
            total[2] += part["n"] * part["share_correct"]
    points = [(score / n, correct / n, int(n)) for n, score, correct in totals.values() if n]
    axes.plot([0, 1], [0, 1], color=GRAY, linewidth=1, label="perfect")
    axes.plot(
        [score for score, *_ in points], [share for _, share, _ in points], "o-", color=BLUE, label=report["system"]
    )
    for score, share, n_mentions in points:
        axes.annotate(
            f"{n_mentions:,}", (score, share), textcoords="offset points", xytext=(4, -10), fontsize=7, color=GRAY
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="share of mentions that are correct", aspect="equal")
    axes.legend(loc="upper left", frameon=False)
    return figure


def draw_thresholds(report: Mapping[str, Any]) -> Any:
    """Strict F1 over the threshold, each dataset and the mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2, 3.8))
    axes = figure.subplots()
    curves = [row["threshold_curve"] for row in report["datasets"] if "threshold_curve" in row]
    thresholds = [point["threshold"] for point in curves[0]]
    for curve in curves:
        axes.plot(thresholds, [point["f"] for point in curve], color=GRAY, linewidth=0.9, alpha=0.7)
    means = [sum(points) / len(points) for points in zip(*([point["f"] for point in curve] for curve in curves))]
    axes.plot(thresholds, means, color=BLUE, linewidth=2.2, label="mean over rows")
    axes.plot([], [], color=GRAY, linewidth=0.9, label="one dataset each")
    axes.set(xlabel="threshold", ylabel="strict F1, percent", ylim=(0, None), xlim=(0, 1))
    axes.legend(frameon=False)
    return figure
