"""Commands that let a teacher annotate texts, and that make a recording of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from confection import Config
from spacy.cli._util import parse_config_overrides
from spacy.language import Language
from spacy.util import load_config, load_model_from_config
from tqdm import tqdm
from wasabi import msg, tables

from ..teacher.annotations import Annotation, annotate, find_task, read_annotations, read_open_annotations, read_texts
from ..teacher.recordings import write_recordings
from ..teacher.tasks import NER

MODEL = "components.llm.model"
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


def annotate_texts(
    context: typer.Context,
    texts: Annotated[Path, typer.Argument(help="JSONL with id and text (or tokens) a line", exists=True)],
    output: Annotated[Path, typer.Argument(help="JSONL of annotations; one that is there is gone on with")],
    config: Annotated[Path, typer.Option(help="Config of a pipeline with the component llm", exists=True)],
    id_prefix: Annotated[str, typer.Option(help="Of the ids of lines without one; their number follows")] = "",
) -> None:
    """Let a teacher annotate texts, and keep its raw replies. What follows the options overrides the config."""
    new: list[Annotation | None] = []
    try:
        nlp = load_teacher(config, parse_config_overrides(context.args))
        asked = read_texts(texts, id_prefix)
        n_left = len(asked) - (sum(1 for line in output.open("rb") if line.endswith(b"\n")) if output.exists() else 0)
        for annotation in tqdm(annotate(nlp, asked, output), total=max(0, n_left), unit="text", leave=False):
            new.append(annotation)
    except (ValueError, RuntimeError) as err:  # no traceback, which might show more than the message
        raise typer.BadParameter(str(err)) from None
    n_empty = new.count(None)
    counts = [("texts", len(asked)), ("annotated now", len(new) - n_empty), ("before", len(asked) - len(new))]
    typer.echo(tables.table([*counts, ("without a reply", n_empty)], divider=True, header=("texts", "count")))
    if len(asked) > n_empty:
        typer.echo(describe(output, nlp))
    if n_empty:
        msg.warn(
            f"{n_empty} texts got no reply. Run the command again (weasel: with --force) to ask for them. A reply "
            "that came and was empty is in the model's cache, and stays so until its line is removed there."
        )
    msg.good(f"Annotations written: {output}")


def record(
    context: typer.Context,
    recordings: Annotated[Path, typer.Argument(help="JSONL with id, and entities or items", exists=True)],
    texts: Annotated[Path, typer.Argument(help="JSONL with id and text (or tokens) a line", exists=True)],
    output: Annotated[Path, typer.Argument(help="JSONL of replies, for the model spacy_uniner.Recorded.v1")],
    config: Annotated[Path, typer.Option(help="Config of the pipeline that is to replay them", exists=True)],
    id_prefix: Annotated[str, typer.Option(help="Of the ids of lines without one; their number follows")] = "",
) -> None:
    """Write recorded annotations as the replies of a teacher, to the prompts of a config."""
    try:
        _, task = find_task(load_teacher(config, parse_config_overrides(context.args)))
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    if not isinstance(task, NER):
        raise typer.BadParameter(
            "This config asks for open types. Recordings have labels: use the task spacy_uniner.NER.v1."
        )
    try:
        n_replies = write_recordings(recordings, read_texts(texts, id_prefix), task, output)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from err
    msg.good(f"{n_replies} replies written: {output}")


def load_teacher(path: Path, overrides: dict[str, Any]) -> Language:
    """Load the pipeline of a config. If the model is another one, the settings of the former one are left out."""
    config = load_config(path, interpolate=False)
    if f"{MODEL}.@llm_models" in overrides:
        config["components"]["llm"]["model"] = {}
    config = Config(section_order=config.section_order).from_str(
        config.to_str(interpolate=False), interpolate=False, overrides=overrides
    )
    return load_model_from_config(config, auto_fill=True)


def describe(output: Path, nlp: Language) -> str:
    """Give a table of the mentions in annotations by label, and one of what was lost by reason."""
    _, task = find_task(nlp)
    if isinstance(task, NER):
        passages, losses = read_annotations(output, task.labels, nlp)
    else:
        passages, losses = read_open_annotations(output, nlp)
    found = Counter(mention.type for passage in passages for mention in passage.mentions)
    labels: Sequence[str] = task.labels if isinstance(task, NER) else [label for label, _ in found.most_common(20)]
    rows = [(label, found[label]) for label in labels]
    mentions = tables.table(rows, header=("label", "mentions"), footer=("all", found.total()), divider=True)
    lost = tables.table(
        losses.most_common(), header=("lost because", "count"), footer=("all", losses.total()), divider=True
    )
    return mentions + lost
