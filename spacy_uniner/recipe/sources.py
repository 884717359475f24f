"""What a teacher gave, in any of its forms, as passages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from spacy.language import Language

from ..corpus import read_marked
from ..passages import Passage, read_passages

Source = Literal["passages", "marked"]


def read_source(path: Path, nlp: Language) -> list[Passage]:
    """Read passages as this package writes them, or marked ones as in assets/corpus.

    nlp: its tokenizer cuts marked texts into words.
    RAISES: ValueError with the file's name if it has neither form.
    """
    if tell_source(path) == "passages":
        return list(read_passages(path))
    return read_marked(path, nlp)


def tell_source(path: Path) -> Source:
    """Tell the form of a file by the fields of its first line.

    RAISES: ValueError with the file's name if it has no known form.
    """
    with path.open("rb") as file:
        line = file.readline()
    try:
        record = json.loads(line.decode("utf8"))
    except ValueError as err:
        raise ValueError(f"{path}, line 1: not JSON ({err}).") from err
    fields = set(record) if isinstance(record, dict) else set()
    if {"words", "mentions"} <= fields:
        return "passages"
    if {"text", "mentions"} <= fields:
        return "marked"
    raise ValueError(
        f"{path}, line 1: fields {', '.join(sorted(fields)) or 'none'}. Expected passages (words, types, mentions) or "
        "marked texts (id, text, mentions, absent)."
    )
