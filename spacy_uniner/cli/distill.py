"""Commands that make distillation data: passages for a teacher, conversations to tune with, mixtures."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import spacy
import typer
from wasabi import msg, tables

from ..distill import Negatives
from ..hierarchy import Hierarchy, read_hierarchy
from ..passages import read_passages, write_passages
from ..recipe.build import Recipe, distill
from ..recipe.conversations import Form, mix_supervised, read_conversations, write_conversations
from ..recipe.duplicates import find_duplicates
from ..recipe.frequencies import draw_frequencies
from ..recipe.sources import read_source
from ..recipe.texts import count_tokens, cut_text, make_piece_counter, read_texts, sample_texts, write_texts

app = typer.Typer(help="Distillation data for generators.", no_args_is_help=True)

Seed = Annotated[int, typer.Option(help="Of the random choices")]
Duplicate = Annotated[float, typer.Option(help="Leave out what is as alike as this to something earlier, in (0, 1]")]


@app.command("sample")
def sample(
    texts: Annotated[
        list[Path], typer.Argument(help="JSONL with text, and perhaps id and source, a line", exists=True)
    ],
    output: Annotated[Path, typer.Option(help="JSONL of the passages for the teacher")],
    n_passages: Annotated[int, typer.Option(help="How many passages")] = 50_000,
    max_tokens: Annotated[int, typer.Option(help="The most tokens of a passage")] = 256,
    tokenizer: Annotated[Path | None, typer.Option(help="Count pieces of this tokenizer.json, not spaCy's")] = None,
    duplicate: Duplicate = 0.7,
    seed: Seed = 0,
) -> None:
    """Cut texts to passages, leave out near-duplicates, and sample from each source in proportion."""
    try:
        count_units = make_piece_counter(tokenizer) if tokenizer else count_tokens
        read = list(chain.from_iterable(map(read_texts, texts)))
        if twice := [id_ for id_, n in Counter(text.id for text in read).items() if n > 1]:
            raise ValueError(f"{len(twice)} ids stand twice, such as '{twice[0]}'. Give each text its own.")
        cut = [passage for text in read for passage in cut_text(text, max_tokens, count_units)]
        twins = set(find_duplicates((passage.text for passage in cut), duplicate))
        unique = [passage for place, passage in enumerate(cut) if place not in twins]
        drawn = sample_texts(unique, n_passages, seed)
    except (ValueError, FileNotFoundError) as err:
        raise typer.BadParameter(str(err)) from err
    output.parent.mkdir(parents=True, exist_ok=True)
    write_texts(drawn, output)
    msg.good(
        f"{output}: {len(drawn):,} passages, of {len(cut):,} that {len(read):,} texts were cut to; "
        f"{len(twins):,} near-duplicates left out."
    )


@app.command("build")
def build(
    source: Annotated[Path, typer.Argument(help="A teacher's passages, marked texts or replies", exists=True)],
    output: Annotated[Path, typer.Option(help="Folder for passages, conversations, report and picture")],
    names: Annotated[Path | None, typer.Option(help="Other names of types, as assets/corpus/types.tsv")] = None,
    negatives: Annotated[str, typer.Option(help="none, uniform, frequency or hard")] = Recipe.negatives,
    n_negatives: Annotated[int, typer.Option(help="Negatives for each passage")] = Recipe.n_negatives,
    form: Annotated[str, typer.Option(help="one-by-one, all-in-one or tagging")] = Recipe.form,
    other_names: Annotated[float, typer.Option(help="Share of types asked by another name")] = Recipe.other_names,
    duplicate: Duplicate = Recipe.duplicate,
    max_type_words: Annotated[int, typer.Option(help="The most words of a type")] = Recipe.max_type_words,
    one_in: Annotated[int, typer.Option(help="Hold out one passage in so many; 0 for none")] = Recipe.one_in,
    seed: Seed = Recipe.seed,
) -> None:
    """Filter what a teacher gave, add negatives, and write passages and conversations, with a report of all counts."""
    try:
        recipe = Recipe(
            duplicate=duplicate,
            max_type_words=max_type_words,
            one_in=one_in,
            negatives=cast(Negatives, choose(negatives, Negatives)),
            n_negatives=n_negatives,
            other_names=other_names,
            form=cast(Form, choose(form, Form)),
            seed=seed,
        )
        read = read_source(source, spacy.blank("en"))
        hierarchy = read_hierarchy(names, read.passages) if names else Hierarchy()
        made = distill(read, hierarchy, recipe)
    except (ValueError, FileNotFoundError) as err:
        raise typer.BadParameter(str(err)) from err
    output.mkdir(parents=True, exist_ok=True)
    write_passages(made.train, output / "passages.jsonl")
    write_passages(made.held_out, output / "held_out.jsonl")
    write_conversations(made.conversations, output / "conversations.json")
    (output / "report.json").write_text(json.dumps(made.report, indent=2, ensure_ascii=False) + "\n", encoding="utf8")
    try:
        draw_frequencies(made.counts, output / "frequencies.png")
    except ValueError as err:  # no matplotlib, or nothing is left
        msg.warn(str(err))
    show(made.report)
    msg.good(f"{output}: passages.jsonl, held_out.jsonl, conversations.json, report.json, frequencies.png")


@app.command("mix")
def mix(
    sets: Annotated[
        list[str], typer.Argument(help="Supervised passages, NAME=FILE each; the name is told the student")
    ],
    output: Annotated[Path, typer.Option(help="JSON of the conversations")],
    distilled: Annotated[list[Path] | None, typer.Option(help="Conversations to put first, as they are")] = None,
    cap: Annotated[int, typer.Option(help="The most passages of a dataset")] = 10_000,
    form: Annotated[str, typer.Option(help="one-by-one, all-in-one or tagging")] = Recipe.form,
    seed: Seed = 0,
) -> None:
    """Mix supervised datasets, with their names before the texts, and distilled conversations."""
    try:
        conversations = [c for path in distilled or () for c in read_conversations(path)]
        named = dict(map(split_name, sets))
        if len(named) < len(sets):
            raise typer.BadParameter(f"A dataset is given twice: {', '.join(sets)}. Give each name once.")
        golds = {name: list(read_passages(path)) for name, path in named.items()}
        supervised = mix_supervised(golds, cap, seed, cast(Form, choose(form, Form)))
    except (ValueError, FileNotFoundError) as err:
        raise typer.BadParameter(str(err)) from err
    output.parent.mkdir(parents=True, exist_ok=True)
    write_conversations([*conversations, *supervised], output)
    msg.good(f"{output}: {len(conversations):,} distilled and {len(supervised):,} supervised conversations.")


def choose(value: str, choices: Any) -> str:
    """Check that a value is one of a Literal's.

    RAISES: typer.BadParameter if it is not.
    """
    if value not in get_args(choices):
        raise typer.BadParameter(f"'{value}' is none of {', '.join(get_args(choices))}.")
    return value


def split_name(pair: str) -> tuple[str, Path]:
    """Split NAME=FILE.

    RAISES: typer.BadParameter if it is not of that form.
    """
    name, sign, path = pair.partition("=")
    if not (name and sign and path):
        raise typer.BadParameter(f"'{pair}' is not of the form NAME=FILE.")
    return name, Path(path)


def show(report: dict[str, Any]) -> None:
    """Print the counts of a report, and head, torso and tail of the types."""
    rows = [
        (part, what, f"{n:,}")
        for part in ("replies", "passages", "mentions", "types", "conversations")
        for what, n in report[part].items()
    ]
    typer.echo(tables.table(rows, header=("", "counted", "number"), aligns=("l", "l", "r"), divider=True))
    bands = [
        (band["name"], f"{band['n_types']:,}", f"{100 * band['share']:.1f} %", ", ".join(band["top"]))
        for band in report["bands"]
    ]
    typer.echo(tables.table(bands, header=("band", "types", "mentions", "most frequent"), divider=True, max_col=90))
