"""Commands that measure systems on datasets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import srsly
import typer
from tqdm import tqdm
from wasabi import msg, tables

from ..benchmark.datasets import load
from ..benchmark.leakage import find_leakage, read_corpus_runs
from ..benchmark.page import render_page
from ..benchmark.plots import draw
from ..benchmark.report import Table, make_tables, read_published, write_markdown
from ..benchmark.report import compare as compare_runs
from ..benchmark.run import DatasetGold, Runner, Settings
from ..benchmark.systems import EMBEDDED, load_system
from ..configs_folder import find_configs
from .datasets import CACHE, Cache, Data, Suite, choose

app = typer.Typer(help="Measure systems on datasets.", no_args_is_help=True)

Split = Annotated[str, typer.Option(help="train, dev or test")]


@app.command()
def run(
    output: Annotated[Path, typer.Argument(help="Folder for results; a run that was stopped goes on from it")],
    suite: Suite = "zero-shot-7",
    system: Annotated[str, typer.Option(help="en_uniner_sm, a pipeline, a .cfg, or gliner:NAME")] = EMBEDDED,
    split: Split = "test",
    data: Data = None,
    cache: Cache = CACHE,
    limit: Annotated[int, typer.Option(help="Only the first so many sentences of each dataset; 0 for all", min=0)] = 0,
    label_map: Annotated[
        Path | None, typer.Option(help="JSON with the type of each label of a closed pipeline")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of bootstrap and shuffles")] = 0,
) -> None:
    """Measure a system: accuracy, calibration, robustness, speed; as table, Markdown, JSON, pictures and HTML page."""
    try:
        golds = load_golds(suite, split, data, cache)
        measured = load_system(system, label_map)
        configs = find_configs()
        published = read_published(configs / "published.yml")
        paraphrases = srsly.read_yaml(configs / "paraphrases.yml")
        distractors = sorted({type_ for spec in choose("all") for type_ in spec.types.values()})
        runner = Runner(measured, output, paraphrases, distractors, Settings(limit=limit, seed=seed))
        report = runner.run(golds, progress=lambda rows: tqdm(rows, unit="dataset"))
        report_tables = make_tables(report, published)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    try:
        pictures = draw(report, published, output)
    except ValueError as err:  # all else is measured, and is shown without them
        pictures = []
        msg.warn(str(err))
    for table in report_tables:
        echo(table)
    left_out = sum((Counter(row["left_out"]) for row in report["datasets"]), Counter())
    if left_out:
        reasons = "\n".join(f"{reason}: {n:,}" for reason, n in left_out.most_common())
        msg.warn(f"{left_out.total():,} mentions could not be scored and are left out.", reasons)
    (output / "report.md").write_text(write_markdown(report, report_tables), encoding="utf8")
    page = render_page(report, report_tables, pictures, {gold.name: gold.passages for gold in golds})
    (output / "report.html").write_text(page, encoding="utf8")
    msg.good(f"Written: results.json, report.md, report.html and {len(pictures)} pictures in {output}")


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(help="results.json of a run", exists=True)],
    other: Annotated[Path, typer.Argument(help="results.json of another", exists=True)],
) -> None:
    """Compare two runs, with a paired test on the sentences of each dataset."""
    try:
        echo(compare_runs(one, other))
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err


@app.command()
def leakage(
    corpus: Annotated[
        Path, typer.Argument(help='JSONL with a field "text", such as the distillation corpus', exists=True)
    ],
    suite: Suite = "zero-shot-7",
    split: Split = "test",
    data: Data = None,
    cache: Cache = CACHE,
    n: Annotated[int, typer.Option(help="Words of a run", min=2)] = 8,
    output: Annotated[Path | None, typer.Option(help="Write it as JSON, too")] = None,
) -> None:
    """Count the benchmark's sentences that share a run of words with a corpus."""
    try:
        runs = read_corpus_runs(corpus, n)
        found = [find_leakage(gold.name, gold.passages, runs, n) for gold in load_golds(suite, split, data, cache)]
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    rows = tuple((one.name, f"{one.n_sentences:,}", f"{one.n_shared:,}", "; ".join(one.examples)[:80]) for one in found)
    echo(Table(f"Runs of {n} words shared with {corpus}", ("dataset", "sentences", "shared", "such as"), rows))
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        content = {one.name: {"n_sentences": one.n_sentences, "n_shared": one.n_shared} for one in found}
        srsly.write_json(output, {"n_words": n, "split": split, "datasets": content})


def load_golds(suite: str, split: str, data: Path | None, cache: Path) -> list[DatasetGold]:
    """Load the datasets of a suite that are at hand, and say which are not, and why.

    RAISES: typer.BadParameter if none is.
    """
    golds = []
    missing = []
    for spec in choose(suite):
        try:
            gold = load(spec, split, data, cache)
        except FileNotFoundError as err:
            missing.append(f"{spec.name}: {err}")
            continue
        golds.append(DatasetGold(spec.name, spec.dataset, spec.domain, gold.passages))
    if not golds:
        raise typer.BadParameter(f"No dataset of '{suite}' has a {split} split at hand. The first: {missing[0]}")
    if missing:
        msg.warn(f"{len(missing)} datasets are left out, since they are not at hand.", "\n".join(missing))
    return golds


def echo(table: Table) -> None:
    """Print a table."""
    msg.divider(table.title)
    aligns: list[Literal["l", "r", "c"]] = ["r" for _ in table.header]
    aligns[0] = "l"
    typer.echo(tables.table(table.rows, header=table.header, divider=True, aligns=aligns, max_col=70))
