"""Commands that run, tune and write out pipelines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import spacy
import srsly
import typer
from spacy import displacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Corpus
from tqdm import tqdm
from wasabi import msg, tables

from ..thresholds import search_thresholds

COLORS = ("#ffd8a8", "#b2f2bb", "#a5d8ff", "#eebefa", "#ffec99", "#99e9f2", "#ffc9c9", "#d0bfff", "#c0eb75", "#fcc2d7")


def find(
    texts: Annotated[Path, typer.Argument(help="JSONL with a text, and perhaps labels, a line; or plain text")],
    labels: Annotated[str, typer.Option(help="Types to find, separated by commas, where a line has no labels")] = "",
    pipeline: Annotated[str, typer.Option(help="A pipeline with universal_ner; left out: the embedded student")] = "",
    threshold: Annotated[float | None, typer.Option(help="Lowest score; left out: the component's own")] = None,
    output: Annotated[Path | None, typer.Option(help="Write an HTML page with the entities marked")] = None,
) -> None:
    """Find entities of any type in texts, print them as a table, and mark them on a page."""
    nlp = load(pipeline, threshold)
    common = [label.strip() for label in labels.split(",") if label.strip()]
    docs = list(tqdm(nlp.pipe(read_texts(texts, nlp, common)), unit="text", leave=False))
    rows = [(span.text, span.label_, f"{span._.entity_score:.2f}", title_of(doc)) for doc in docs for span in doc.ents]
    typer.echo(tables.table(rows, header=("entity", "type", "score", "text"), divider=True, max_col=60))
    msg.info(f"{len(rows)} entities of {len({row[1] for row in rows})} types in {len(docs)} texts.")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(render(docs), encoding="utf8")
        msg.good(f"Page written: {output}")


def thresholds(
    pipeline: Annotated[str, typer.Argument(help="A pipeline with universal_ner")],
    data: Annotated[Path, typer.Argument(help="Gold .spacy file or folder", exists=True)],
    name: Annotated[str, typer.Option(help="Name of the component")] = "universal_ner",
    output: Annotated[Path | None, typer.Option(help="Save the pipeline with these thresholds here")] = None,
) -> None:
    """Search the best threshold for each label on gold data."""
    nlp = spacy.load(pipeline)
    component: Any = nlp.get_pipe(name)
    scores = search_thresholds(component, Corpus(data)(nlp), progress=lambda steps: tqdm(steps, unit="label"))
    rows = [
        (
            s.label,
            f"{s.threshold:.2f}",
            f"{100 * s.precision:.1f}",
            f"{100 * s.recall:.1f}",
            f"{100 * s.f1:.1f}",
            s.n_gold,
        )
        for s in scores
    ]
    typer.echo(tables.table(rows, header=("label", "threshold", "P", "R", "F1", "gold"), divider=True))
    if output:
        component.cfg["threshold"] = {score.label: score.threshold for score in scores}
        nlp.to_disk(output)
        msg.good(f"Pipeline saved: {output}")


def export(
    pipeline: Annotated[Path, typer.Argument(help="A pipeline that `spacy train` wrote", exists=True)],
    output: Annotated[Path, typer.Argument(help="Folder for the student")],
    name: Annotated[str, typer.Option(help="Name of the component")] = "universal_ner",
) -> None:
    """Write a trained encoder student in half precision, as a folder that `spacy_uniner.Encoder.v1` reads by name."""
    from ..students.weights import write_student

    nlp = spacy.load(pipeline)
    component: Any = nlp.get_pipe(name)
    student = component.model.shims[0]._model.get()
    scores = {key: value for key, value in nlp.meta.get("performance", {}).items() if isinstance(value, float)}
    meta = {"made": date.today().isoformat(), "performance": scores}
    n_bytes = write_student(student, output, meta)
    msg.good(f"Student written: {output} ({n_bytes / 1e6:.1f} MB)")


def export_encoder(
    output: Annotated[Path, typer.Argument(help="Folder for the encoder")],
    student: Annotated[str, typer.Option(help="en_uniner_sm, or a folder that `export` wrote")] = "en_uniner_sm",
) -> None:
    """Write the encoder of a student as a plain Hugging Face BERT, to train other components on it."""
    from ..students.weights import read_student, write_bert

    write_bert(read_student(student, "float32"), output)
    msg.good(f"Encoder written: {output}")


def load(pipeline: str, threshold: float | None) -> Language:
    """Load a pipeline, or make one with the embedded student."""
    if pipeline:
        nlp = spacy.load(pipeline)
    else:
        nlp = spacy.blank("en")
        nlp.add_pipe("universal_ner")
    if threshold is not None:
        component: Any = nlp.get_pipe("universal_ner")
        component.cfg["threshold"] = threshold
    return nlp


def read_texts(path: Path, nlp: Language, common: list[str]) -> Iterator[Doc]:
    """Read texts with the types to ask of each: lines of JSON with "text" and perhaps "labels" and "title", or of text.

    RAISES: typer.BadParameter if a text has no types to ask.
    """
    is_json = path.suffix == ".jsonl"
    records = srsly.read_jsonl(path) if is_json else ({"text": line} for line in path.read_text("utf8").splitlines())
    for n_line, record in enumerate(records, start=1):
        if not record["text"].strip():
            continue
        asked = record.get("labels") or common
        if not asked:
            raise typer.BadParameter(f"{path}, line {n_line}: no labels. Give --labels, or a list in the file.")
        doc = nlp.make_doc(record["text"])
        doc._.entity_types = asked
        doc.user_data["title"] = record.get("title", "")
        yield doc


def title_of(doc: Doc) -> str:
    return doc.user_data["title"] or doc.text[:40]


def render(docs: list[Doc]) -> str:
    """Give a page with the entities marked, every type in a color of its own."""
    types = sorted({ent.label_ for doc in docs for ent in doc.ents})
    colors = dict(zip(types, itertools.cycle(COLORS), strict=False))
    return displacy.render(docs, style="ent", page=True, jupyter=False, options={"colors": colors})
