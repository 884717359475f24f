"""The command that runs a pipeline over many texts."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from tqdm import tqdm
from wasabi import msg, tables

from ..scale.processes import WorkersFail
from ..scale.run import ENGINES, Report, prepare, run
from ..scale.shards import BAD, Settings


class Stopped(KeyboardInterrupt):
    """The command was asked to stop.

    number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def apply(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Files, folders or patterns of .jsonl, .spacy, .parquet and .txt; - for standard input"),
    ],
    output: Annotated[Path, typer.Option(help="Folder to write to; one that was begun is gone on with")],
    format: Annotated[str, typer.Option(help="jsonl, spacy or parquet")] = "jsonl",
    model: Annotated[
        str, typer.Option("--model", "--pipeline", help="Name or folder of a pipeline; left out: the embedded student")
    ] = "",
    types: Annotated[str, typer.Option("--types", "--labels", help="Types to find, separated by commas")] = "",
    threshold: Annotated[float | None, typer.Option(help="Lowest score; left out: the component's own")] = None,
    text_key: Annotated[str, typer.Option(help="Key or column of the text, in JSONL and Parquet")] = "text",
    lines: Annotated[bool, typer.Option("--lines", help="Plain text is a text a line, also on standard input")] = False,
    part_size: Annotated[int, typer.Option(help="Texts that are read and written at once", min=1)] = 1000,
    shard: Annotated[str, typer.Option(help="i/n: do the i-th of n shards, from 1 to n")] = "",
    workers: Annotated[int, typer.Option(help="Processes, or Ray actors", min=1)] = 1,
    engine: Annotated[str, typer.Option(help="processes or ray")] = "processes",
) -> None:
    """Find entities in many texts, and write them in parts. Run again, it does what is left to do."""
    if engine not in ENGINES:
        raise typer.BadParameter(f"The engine is '{engine}', expected one of: {', '.join(ENGINES)}.")
    asked = [name.strip() for name in types.split(",") if name.strip()]
    settings = Settings(format, part_size, text_key)
    begin = time.monotonic()
    try:
        with stopping():
            ready = prepare(
                inputs, output, settings, model=model, types=asked, threshold=threshold, lines=lines, shard=shard
            )
            with tqdm(total=ready.n_left, unit="text", disable=not ready.left) as bar:
                report = run(ready, engine, workers, bar.update)
    except (ValueError, ImportError) as err:
        raise typer.BadParameter(str(err)) from err
    except (WorkersFail, OSError) as err:
        msg.fail(str(err), "What is done stays done. Run the same command again to go on.")
        raise typer.Exit(1) from err
    except Stopped as err:
        msg.warn("Stopped. What is done stays done; run the same command again to go on.")
        raise typer.Exit(128 + err.number) from err
    tell(report, len(ready.parts), output, time.monotonic() - begin)
    if not ready.left:
        msg.good(f"Nothing to do: all {len(ready.parts):,} parts were done.")


@contextmanager
def stopping() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise `Stopped`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell(report: Report, n_parts: int, output: Path, n_seconds: float) -> None:
    """Print what was done.

    n_parts: of this shard.
    RAISES: typer.Exit if parts were given up.
    """
    rows = []
    for name, notes in (("this run", report.new), ("in all", report.done)):
        n_texts, n_bad = sum(note.n_texts for note in notes), sum(len(note.bad) for note in notes)
        n_entities = sum(note.n_entities for note in notes)
        rows.append((name, f"{len(notes):,} of {n_parts:,}", f"{n_texts:,}", f"{n_entities:,}", f"{n_bad:,}"))
    typer.echo(tables.table(rows, header=("", "parts", "texts", "entities", "set aside"), divider=True))
    if n_new := sum(note.n_texts for note in report.new):
        msg.info(f"{n_new:,} texts in {n_seconds:.1f} s, {n_new / n_seconds:,.1f} a second, with the time to load.")
    first = next((bad for note in report.done for bad in note.bad), None)
    if first:
        msg.warn(
            f"Set aside are what {output / BAD} lists with the reason.",
            f"The first: {first.file}, {first.line}: {first.reason}",
        )
    for reason in report.failed:
        msg.fail(reason)
    if report.failed:
        raise typer.Exit(1)
    msg.good(f"Written: {output}")
