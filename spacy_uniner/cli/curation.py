"""Commands that make a corpus of an LLM's annotations, and gold of a marked corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, cast

import spacy
import srsly
import typer
from spacy.language import Language
from wasabi import msg, tables

from ..benchmark.formats import READERS, Losses
from ..curation.agreement import Keep, Run, make_run
from ..curation.curate import Curation, Settings, make_report, report_agreement, report_scores
from ..curation.curate import curate as make_corpus
from ..curation.files import write_docs, write_json, write_labels
from ..curation.filters import count_labels
from ..curation.gold import derive_gold as gold_of_marks
from ..curation.gold import read_label_map, split_gold
from ..curation.ledger import Step
from ..curation.page import percent, render_page
from ..curation.quality import check_gold
from ..passages import Mention, Passage
from ..teacher.annotations import read_annotations, read_texts

DEFAULT = Settings()


def curate(
    annotations: Annotated[list[Path], typer.Argument(help="What 'annotate' wrote; a file for each run", exists=True)],
    labels: Annotated[str, typer.Option(help="The labels that the teacher was asked, separated by commas")],
    output: Annotated[Path, typer.Option(help="Folder for corpus, labels, report and page")],
    gold: Annotated[Path | None, typer.Option(help="Gold to measure against: .spacy, or .jsonl", exists=True)] = None,
    keep: Annotated[str, typer.Option(help="primary (the first run as it is), all or majority")] = DEFAULT.keep,
    share: Annotated[float, typer.Option(help="For majority: share of runs that must have a mention")] = DEFAULT.share,
    max_mention_words: Annotated[int, typer.Option(help="Longest mention, in words")] = DEFAULT.max_mention_words,
    min_words: Annotated[int, typer.Option(help="Shortest text, in words")] = DEFAULT.min_words,
    max_words: Annotated[int, typer.Option(help="Longest text, in words")] = DEFAULT.max_words,
    drop_contradicted: Annotated[
        bool, typer.Option("--drop-contradicted", help="Leave out texts with a label that the others contradict")
    ] = False,
    dev_share: Annotated[float, typer.Option(help="Share of texts for dev.spacy")] = DEFAULT.dev_share,
    seed: Annotated[int, typer.Option(help="Seed of the choice of these")] = DEFAULT.seed,
    lang: Annotated[str, typer.Option(help="Language whose tokenizer cuts the texts")] = "en",
) -> None:
    """Make a training corpus of annotations: what runs agree on, filtered, held against gold, every loss counted."""
    asked = tuple(dict.fromkeys(label.strip() for label in labels.split(",") if label.strip()))
    try:
        settings = Settings(
            keep=cast("Keep", keep),  # Settings checks it
            share=share,
            max_mention_words=max_mention_words,
            min_words=min_words,
            max_words=max_words,
            drop_contradicted=drop_contradicted,
            dev_share=dev_share,
            seed=seed,
        )
        runs = read_runs(annotations, asked, spacy.blank(lang))
        references = read_gold(gold, asked) if gold else None
        curation = make_corpus(runs, asked, settings, references)
        texts = {text.id: text.text for path in annotations for text in read_texts(path)}
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    show(curation)
    write(curation, references, texts, output)


def derive_gold(
    marked: Annotated[Path, typer.Argument(help="Marked passages, as assets/corpus/passages.jsonl", exists=True)],
    texts: Annotated[Path, typer.Argument(help="JSONL with the id and text of what was annotated", exists=True)],
    label_map: Annotated[Path, typer.Argument(help="YAML that says which mark is which label", exists=True)],
    output: Annotated[Path, typer.Argument(help="Folder for gold.spacy, train.spacy, dev.spacy and texts.jsonl")],
    n_train: Annotated[int, typer.Option(help="Texts of train.spacy: the original data of a curriculum")] = 0,
    n_dev: Annotated[int, typer.Option(help="Texts of dev.spacy")] = 0,
    lang: Annotated[str, typer.Option(help="Language whose tokenizer cuts the texts")] = "en",
) -> None:
    """Derive a reference from the marks of a corpus, for texts that have no gold, and leave the others to a teacher."""
    try:
        types = read_label_map(label_map)
        text_of = {text.id: text.text for text in read_texts(texts)}
        gold, step = gold_of_marks(marked, types, text_of, spacy.blank(lang))
        train, dev = split_gold(gold, n_train, n_dev)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    show_steps([step])
    for name, passages in (("gold", gold), ("train", train), ("dev", dev)):
        if passages:
            write_docs(passages, output / f"{name}.spacy", text_of)
            counts = ", ".join(f"{label} {n:,}" for label, n in count_labels(passages, types.labels).items())
            msg.good(f"{output / name}.spacy: {len(passages):,} texts; mentions: {counts}.")
    taken = {passage.source for passage in (*train, *dev)}
    left = [{"id": id_, "text": text} for id_, text in text_of.items() if id_ not in taken]
    srsly.write_jsonl(output / "texts.jsonl", left)
    msg.good(f"{output / 'texts.jsonl'}: {len(left):,} texts for the teacher.")


def read_runs(paths: Sequence[Path], labels: Sequence[str], nlp: Language) -> list[Run]:
    """Read annotation runs; each goes by the name of its file, or by its path where two files have one name.

    RAISES: ValueError as the reader and `make_run`.
    """
    stems = [path.stem for path in paths]
    runs = []
    for path in paths:
        passages, losses = read_annotations(path, labels, nlp)
        name = path.stem if stems.count(path.stem) == 1 else path.with_suffix("").as_posix()
        runs.append(make_run(name, passages, losses, labels))
    return runs


def read_gold(path: Path, labels: Sequence[str]) -> list[Passage]:
    """Read gold from a .spacy file, or from JSONL with tokens and spans.

    RAISES: ValueError as the readers of the benchmark and `check_gold`.
    """
    reader = READERS["spacy" if path.suffix == ".spacy" else "jsonl-tokens"]
    gold = []
    for sentence in reader(path, {}, Losses()):
        mentions = tuple(Mention(*span) for span in sentence.spans)
        types = tuple(dict.fromkeys((*labels, *(mention.type for mention in mentions))))
        gold.append(Passage(sentence.words, types, mentions, source=sentence.id))
    return check_gold(str(path), gold, labels)


def show(curation: Curation) -> None:
    """Print what was lost, agreement, quality, and what the corpus has."""
    columns = (*curation.labels, "all")
    for run in curation.runs:
        lost = ", ".join(f"{n:,} {reason}" for reason, n in sorted(run.losses.items()) if n) or "nothing"
        msg.info(f"{run.name}: {len(run.passages):,} texts, {run.step.n_mentions:,} mentions; the reader lost {lost}.")
    show_steps([*(run.step for run in curation.runs), *curation.steps])
    rows = [
        (" / ".join(one.runs), one.n_texts, *(percent(report_agreement(one)[name]["f1"]) for name in columns))
        for one in curation.agreement
    ]
    if rows:
        typer.echo(tables.table(rows, header=("agreement, F1", "texts", *columns), divider=True))
    for measure in ("precision", "recall", "f1"):
        rows = [
            (one.name, one.n_texts, *(percent(report_scores(one.scores)[name][measure]) for name in columns))
            for one in curation.quality
        ]
        if rows:
            typer.echo(tables.table(rows, header=(f"against gold, {measure}", "texts", *columns), divider=True))
    if curation.contradictions:
        msg.warn(f"{len(curation.contradictions)} surface forms have several labels; see contradictions in the report.")


def show_steps(steps: Sequence[Step]) -> None:
    """Print losses by reason, with an example."""
    rows = [
        (step.name, reason, f"{loss.n_texts:,}", f"{loss.n_mentions:,}", loss.examples[0])
        for step in steps
        for reason, loss in sorted(step.losses.items())
    ]
    if rows:
        header = ("step", "lost because", "texts", "mentions", "example")
        typer.echo(tables.table(rows, header=header, divider=True, max_col=60))


def write(curation: Curation, gold: Sequence[Passage] | None, texts: Mapping[str, str], folder: Path) -> None:
    """Write corpus, labels, report and page; what an earlier call left under these names is replaced."""
    write_docs(curation.train, folder / "train.spacy", texts)
    (folder / "dev.spacy").unlink(missing_ok=True)
    if curation.dev:
        write_docs(curation.dev, folder / "dev.spacy", texts)
    write_labels(curation.train, curation.labels, folder / "labels")
    write_json(folder / "report.json", make_report(curation))
    (folder / "disagreements.html").write_text(render_page(curation, gold), encoding="utf8")
    for name, part in (("train", curation.train), ("dev", curation.dev)):
        if part:
            counts = ", ".join(f"{label} {n:,}" for label, n in count_labels(part, curation.labels).items())
            n_empty = sum(not passage.mentions for passage in part)
            msg.good(f"{folder / name}.spacy: {len(part):,} texts, {n_empty:,} without mention; mentions: {counts}.")
    msg.good(f"Labels, report.json and disagreements.html: {folder}")
