"""Commands that show what a training drew, and how it went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg, tables

from ..benchmark.curves import draw_curves
from ..benchmark.mixing import draw_log
from ..draw_log import DISTILLED, read_draw_log
from ..learning_curve import best_of, read_curve


def mixing(
    log: Annotated[Path, typer.Argument(help="The log of a curriculum", exists=True, dir_okay=False)],
    output: Annotated[Path | None, typer.Option(help="Draw planned and drawn share into this .svg or .png")] = None,
) -> None:
    """Say what a curriculum drew, and draw it beside what was planned."""
    try:
        drawn = read_draw_log(log)
        if output:
            draw_log(drawn, output)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    n_drawn, n_distilled = len(drawn.sources), drawn.sources.count(DISTILLED)
    msg.info(
        f"{n_drawn:,} of {drawn.plan.n_examples:,} planned Examples drawn: "
        f"{n_distilled:,} distilled, {n_drawn - n_distilled:,} original."
    )
    if output:
        msg.good(f"Picture written: {output}")


def curves(
    logs: Annotated[
        list[Path], typer.Argument(help="Files that spacy_uniner.CurveLogger.v1 wrote", exists=True, dir_okay=False)
    ],
    output: Annotated[Path, typer.Option(help="The .svg or .png to draw")],
) -> None:
    """Draw learning curves, and say how good each run was at its best."""
    try:
        stems = [log.stem for log in logs]
        runs = {
            log.stem if stems.count(log.stem) == 1 else log.with_suffix("").as_posix(): read_curve(log) for log in logs
        }
        draw_curves(runs, output)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    rows = [
        (name, curve[-1].step, f"{100 * best.score:.1f}", best.step, f"{100 * curve[-1].score:.1f}")
        for name, curve in runs.items()
        for best in [best_of(curve)]
    ]
    typer.echo(tables.table(rows, header=("run", "steps", "best score", "at step", "last score"), divider=True))
    msg.good(f"Picture written: {output}")
