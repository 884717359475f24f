"""Pictures of training: scores and losses over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from ..learning_curve import Evaluation
from .mixing import hide_frame, make_figure, save_figure


def draw_curves(curves: Mapping[str, Sequence[Evaluation]], path: Path) -> None:
    """Draw the score of each run over its steps, and below it the loss, as a picture.

    Losses are those of all components, for one step, relative to the run's first.

    curves: the evaluations of each run, by its name.
    RAISES: ValueError if matplotlib is not installed, or a run has no evaluation.
    """
    for name, curve in curves.items():
        if not curve:
            raise ValueError(f"Run '{name}' has no evaluation by now. Draw the picture when training is under way.")
    figure = make_figure(6.2, 4.2)
    score_axes, loss_axes = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for name, curve in curves.items():
        steps = [one.step for one in curve]
        score_axes.plot(steps, [100 * one.score for one in curve], marker="o", markersize=3, linewidth=1.5, label=name)
        spans = [(last.step, sum(last.losses.values()) / (last.step - one.step)) for one, last in pairwise(curve)]
        if spans and spans[0][1]:
            loss_axes.plot([step for step, _ in spans], [loss / spans[0][1] for _, loss in spans], linewidth=1.5)
    score_axes.set(ylabel="score on dev, percent", ylim=(0, None))
    score_axes.legend(loc="lower right", frameon=False, fontsize=8)
    loss_axes.set(xlabel="steps", ylabel="loss, relative", ylim=(0, None))
    for axes in (score_axes, loss_axes):
        hide_frame(axes)
    save_figure(figure, path)
