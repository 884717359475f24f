"""The command that shows what a curriculum drew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from ..benchmark.mixing import draw_log
from ..draw_log import DISTILLED, read_draw_log


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
