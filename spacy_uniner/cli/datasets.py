"""Commands that list, fetch, check and convert benchmark datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg, tables

from ..benchmark.datasets import check as check_golds
from ..benchmark.datasets import fetch, load
from ..benchmark.specs import DatasetSpec, choose_suite, read_specs
from ..configs_folder import find_configs
from ..passages import write_passages

app = typer.Typer(help="The datasets of the benchmark.", no_args_is_help=True)

CACHE = Path.home() / ".cache" / "spacy_uniner" / "datasets"

Suite = Annotated[str, typer.Option(help="zero-shot-7, a domain such as biomed, all, or names with commas between")]
Data = Annotated[Path | None, typer.Option(help="Folder with datasets, looked into first", exists=True)]
Cache = Annotated[Path, typer.Option(help="Where what is fetched is kept")]


def choose(suite: str) -> list[DatasetSpec]:
    """Read the datasets of a suite.

    RAISES: typer.BadParameter if there is no such suite or dataset.
    """
    try:
        return choose_suite(read_specs(find_configs() / "datasets"), suite)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err


@app.command("list")
def list_datasets(suite: Suite = "all") -> None:
    """List the datasets: domain, access, format, number of types, expected sentences."""
    specs = choose(suite)
    rows = []
    for spec in specs:
        expected = spec.expected.sentences if spec.expected else {}
        n_sentences = (f"{split} {n:,}" for split, n in expected.items())
        rows.append(
            (spec.name, spec.domain, spec.access, spec.format, len(set(spec.types.values())), ", ".join(n_sentences))
        )
    header = ("dataset", "domain", "access", "format", "types", "sentences")
    typer.echo(tables.table(rows, header=header, divider=True))
    msg.info(
        f"{len(specs)} rows of {len({spec.dataset for spec in specs})} datasets "
        f"in {len({spec.domain for spec in specs})} domains."
    )


@app.command("get")
def get_datasets(suite: Suite = "zero-shot-7", cache: Cache = CACHE) -> None:
    """Fetch open datasets; say of the others how to get them."""
    n_failed = 0
    for spec in choose(suite):
        try:
            msg.good(f"{spec.name}: {fetch(spec, cache, progress=True)}")
        except ValueError as err:
            n_failed += 1
            msg.warn(str(err))
    if n_failed:
        raise typer.Exit(1)


@app.command("check")
def check_datasets(suite: Suite = "all", data: Data = None, cache: Cache = CACHE) -> None:
    """Read all splits at hand, hold them against what is expected, look for sentences that two share."""
    n_problems = n_read = 0
    for spec in choose(suite):
        golds = []
        for split in ("train", "dev", "test"):
            try:
                golds.append(load(spec, split, data, cache))
            except FileNotFoundError:
                continue
            except ValueError as err:
                n_problems += 1
                msg.fail(str(err))
        n_read += len(golds)
        for gold in golds:
            n_mentions = sum(len(passage.mentions) for passage in gold.passages)
            msg.good(f"{spec.name}, {gold.split}: {len(gold.passages):,} sentences, {n_mentions:,} mentions")
        for problem in check_golds(spec, golds) if golds else ():
            n_problems += 1
            msg.warn(f"{spec.name}: {problem}")
    msg.info(f"{n_read} splits read, {n_problems} problems.")
    if n_problems or not n_read:
        raise typer.Exit(1)


@app.command("convert")
def convert_datasets(
    output: Annotated[Path, typer.Argument(help="Folder for NAME/SPLIT.jsonl")],
    suite: Suite = "zero-shot-7",
    split: Annotated[str, typer.Option(help="train, dev or test")] = "test",
    data: Data = None,
    cache: Cache = CACHE,
) -> None:
    """Write datasets as passages: words, types, mentions; one a line."""
    for spec in choose(suite):
        try:
            gold = load(spec, split, data, cache)
        except (ValueError, FileNotFoundError) as err:
            raise typer.BadParameter(str(err)) from err
        path = output / spec.name / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        msg.good(f"{path}: {write_passages(gold.passages, path):,} passages")
