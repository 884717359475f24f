"""How a run went: loss and learning rate by step."""

from __future__ import annotations

import json
from pathlib import Path


def draw_curves(log: Path, path: Path) -> None:
    """Draw the losses and the learning rate of a run.

    log: `log.jsonl` of a run.
    path: a file that ends in .png.
    RAISES: ValueError if the log has no losses, or matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as err:
        raise ValueError("Pictures need matplotlib. Install it with: pip install spacy-uniner[distill]") from err
    entries = [json.loads(line) for line in log.read_text(encoding="utf8").splitlines()]
    curves = {
        name: [(entry["step"], entry[name]) for entry in entries if name in entry]
        for name in ("loss", "eval_loss", "learning_rate")
    }
    if not curves["loss"]:
        raise ValueError(f"{log} has no losses to draw.")
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curves["loss"]), color="#1c6dd0", linewidth=1.2, label="in training")
    if curves["eval_loss"]:
        axes.plot(*zip(*curves["eval_loss"]), "o-", color="#d9730d", label="on what is kept apart")
    axes.set(xlabel="step", ylabel="loss, nats a piece", ylim=(0, None))
    rates = axes.twinx()
    rates.plot(*zip(*curves["learning_rate"]), color="#8a94a0", linewidth=1.0, linestyle="--", label="learning rate")
    rates.set(ylabel="learning rate", ylim=(0, None))
    axes.legend(frameon=False, loc="upper right")
    for side in (axes, rates):
        side.spines["top"].set_visible(False)
    figure.savefig(path, dpi=150)
