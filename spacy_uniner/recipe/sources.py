"""What a teacher gave, in any of its forms, as passages."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from spacy.language import Language

from ..corpus import read_marked
from ..passages import Passage, read_passages
from ..teacher.annotations import read_open_annotations


@dataclass(frozen=True)
class Source:
    """What was read of a teacher.

    passages: with the mentions that the teacher named.
    n_read: how many passages or replies there were.
    losses: what could not be read, by reason: replies, or mentions of them.
    """

    passages: list[Passage]
    n_read: int
    losses: Counter[str] = field(default_factory=Counter)


def read_source(path: Path, nlp: Language) -> Source:
    """Read replies to the open prompts, marked texts as in assets/corpus, or passages as this package writes them.

    The form is told by the fields of the first line.

    nlp: its tokenizer cuts texts into words.
    RAISES: ValueError with the file's name if it has no known form, or a line is not of the first one's.
    """
    fields = _read_fields(path)
    if {"words", "mentions"} <= fields:
        passages = list(read_passages(path))
        return Source(passages, len(passages))
    if {"text", "mentions"} <= fields:
        passages = read_marked(path, nlp)
        return Source(passages, len(passages))
    if {"text", "reply"} <= fields:
        passages, losses = read_open_annotations(path, nlp)
        with path.open("rb") as file:
            return Source(passages, sum(bool(line.strip()) for line in file), losses)
    raise ValueError(
        f"{path}, line 1: fields {', '.join(sorted(fields)) or 'none'}. Expected passages (words, types, mentions), "
        "marked texts (id, text, mentions, absent) or annotations (id, text, style, reply, model)."
    )


def _read_fields(path: Path) -> set[str]:
    with path.open("rb") as file:
        line = file.readline()
    try:
        record = json.loads(line.decode("utf8"))
    except ValueError as err:
        raise ValueError(f"{path}, line 1: not JSON ({err}).") from err
    return set(record) if isinstance(record, dict) else set()
