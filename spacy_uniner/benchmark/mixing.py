"""Pictures of mixing: what schedules plan, and what a curriculum drew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..draw_log import N_PLANNED, Drawn, share_by_part
from ..schedules import Schedule, planned_share

BLUE, GRAY, LIGHT = "#1c6dd0", "#8a94a0", "#dbe8f8"
N_COLUMNS = 4
N_PARTS = 50


def draw_schedules(schedules: Mapping[str, Schedule], path: Path) -> None:
    """Draw what each schedule plans, in a field of its own, as a picture in the format of the path's ending.

    schedules: by the names that stand above the fields.
    RAISES: ValueError if matplotlib is not installed or there is no schedule.
    """
    if not schedules:
        raise ValueError("There is no schedule to draw. Give at least one.")
    n_rows = -(-len(schedules) // N_COLUMNS)
    figure = make_figure(2.0 * N_COLUMNS, 1.7 * n_rows)
    fields = figure.subplots(n_rows, N_COLUMNS, sharex=True, sharey=True, squeeze=False)
    progress = [n / N_PLANNED for n in range(N_PLANNED + 1)]
    for field, (name, schedule) in zip(fields.flat, schedules.items()):
        shares = [planned_share(schedule, x) for x in progress]
        field.fill_between(progress, shares, color=LIGHT, linewidth=0)
        field.plot(progress, shares, color=BLUE, linewidth=1.8, clip_on=False, zorder=3)
        field.set_title(name, fontsize=9)
        field.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        hide_frame(field)
    for field in fields.flat[len(schedules) :]:
        field.set_visible(False)
    for n, field in enumerate(fields.flat[: len(schedules)]):
        field.tick_params(labelbottom=n + N_COLUMNS >= len(schedules))
    figure.supxlabel("progress: Examples drawn, of all planned", fontsize=9)
    figure.supylabel("share of distilled Examples", fontsize=9)
    save_figure(figure, path)


def draw_log(drawn: Drawn, path: Path) -> None:
    """Draw the share planned and the share drawn over the Examples, as a picture in the format of the path's ending.

    The shares drawn are those of fiftieths of the plan.

    RAISES: ValueError if matplotlib is not installed or nothing was drawn.
    """
    if not drawn.sources:
        raise ValueError("Nothing was drawn by now. Draw the picture when training is under way.")
    plan = drawn.plan
    n_part = max(1, round(plan.n_examples / N_PARTS))
    shares = share_by_part(drawn.sources, n_part)
    edges = [min(n * n_part, len(drawn.sources)) for n in range(len(shares) + 1)]
    figure = make_figure(6.2, 3.0)
    axes = figure.subplots()
    axes.stairs(shares, edges, fill=True, color=LIGHT, label=f"drawn, by {n_part:,} Examples")
    axes.stairs(shares, edges, color=BLUE, linewidth=1.2, baseline=None)
    places = [n / N_PLANNED * plan.n_examples for n in range(N_PLANNED + 1)]
    axes.plot(places, plan.shares, color=GRAY, linewidth=1.6, linestyle="--", label="planned")
    axes.set(xlim=(0, max(plan.n_examples, len(drawn.sources))), ylim=(0, 1.02))
    axes.set(xlabel="Examples drawn", ylabel="share of distilled Examples")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    hide_frame(axes)
    save_figure(figure, path)


def make_figure(width: float, height: float) -> Any:
    """Make an empty figure, in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as err:
        raise ValueError("Pictures need matplotlib. Install it with: pip install spacy-uniner[benchmark]") from err
    return Figure(figsize=(width, height), layout="constrained")


def hide_frame(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def save_figure(figure: Any, path: Path) -> None:
    """Save a figure; the same picture makes the same file."""
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "spacy_uniner"}):
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
