"""Commands under `python -m spacy uniner`."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(name="uniner", help="Open named entity recognition for spaCy.", no_args_is_help=True)


@app.callback()
def uniner() -> None:
    """Open named entity recognition for spaCy."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(Path(__file__).parent)
