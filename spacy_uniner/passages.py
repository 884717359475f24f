"""The one record of this package: words, the types asked of them, and the mentions found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Mention:
    """A typed run of words: `words[start:end]` is mentioned as `type`.

    start: offset of the first word.
    end: offset behind the last word.
    type: the type, as people say it.
    score: probability in [0, 1]; 1.0 for gold.
    RAISES: ValueError if the offsets are no run of words, the type is blank or the score is no probability.
    """

    start: int
    end: int
    type: str
    score: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"Mention '{self.type}' needs 0 <= start < end, got [{self.start}, {self.end}).")
        if not self.type.strip():
            raise ValueError(
                f"Mention [{self.start}, {self.end}) has a blank type. Name the type, or drop the mention."
            )
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"Mention '{self.type}' needs a score in [0, 1], got {self.score}.")


@dataclass(frozen=True, slots=True)
class Passage:
    """A text in words, the types asked of it, and what was found.

    A type that was asked and has no mention is a negative. A run of words may be several mentions: of two
    types, or of one type and its wider one.

    words: the text of each word.
    types: the types asked; every type once.
    mentions: what was found; only of types asked.
    unknown: runs of words of which the annotation cannot tell whether they have that (asked) type. They are
        neither positives nor negatives.
    source: where the passage comes from.
    RAISES: ValueError if a type is blank or asked twice, or a mention is out of the passage or not asked for.
    """

    words: tuple[str, ...]
    types: tuple[str, ...] = ()
    mentions: tuple[Mention, ...] = ()
    unknown: tuple[Mention, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        asked = set(self.types)
        if len(asked) < len(self.types):
            twice = sorted({type_ for type_ in self.types if self.types.count(type_) > 1})
            raise ValueError(f"{self._name()} asks types twice: {', '.join(twice)}. Ask each type once.")
        if not all(type_.strip() for type_ in self.types):
            raise ValueError(f"{self._name()} asks a blank type. Name it, or leave it out.")
        for mention in (*self.mentions, *self.unknown):
            if mention.type not in asked:
                raise ValueError(
                    f"{self._name()}: mention type '{mention.type}' was not asked. "
                    f"Asked: {', '.join(self.types) or 'nothing'}."
                )
            if mention.end > len(self.words):
                raise ValueError(
                    f"{self._name()}: mention '{mention.type}' [{mention.start}, {mention.end}) ends behind the "
                    f"last word; the passage has {len(self.words)} words."
                )

    def _name(self) -> str:
        return f"Passage '{self.source}'" if self.source else "A passage"


def passage_to_dict(passage: Passage) -> dict[str, Any]:
    """Turn a passage into what JSON can hold; mentions become `[start, end, type, score]`."""
    record: dict[str, Any] = {
        "words": list(passage.words),
        "types": list(passage.types),
        "mentions": [[m.start, m.end, m.type, m.score] for m in passage.mentions],
    }
    if passage.unknown:
        record["unknown"] = [[m.start, m.end, m.type, m.score] for m in passage.unknown]
    if passage.source:
        record["source"] = passage.source
    return record


def passage_from_dict(record: dict[str, Any]) -> Passage:
    """Make a passage of what `passage_to_dict` gave.

    RAISES: ValueError if a field is missing or of another form, or the passage contradicts itself.
    """
    try:
        return Passage(
            words=tuple(map(_check_text, _check_list(record["words"]))),
            types=tuple(map(_check_text, _check_list(record["types"]))),
            mentions=tuple(map(_make_mention, _check_list(record["mentions"]))),
            unknown=tuple(map(_make_mention, _check_list(record.get("unknown", ())))),
            source=_check_text(record.get("source", "")),
        )
    except (KeyError, TypeError) as err:
        raise ValueError(
            f"Not a passage: {type(err).__name__}: {err}. Expected the fields words, types and mentions "
            "(a list of [start, end, type] or [start, end, type, score])."
        ) from err


def read_passages(path: Path) -> Iterator[Passage]:
    """Read passages from JSONL, one a line, lazily; blank lines are passed over.

    RAISES: ValueError with the file's name and line if a line is no passage.
    """
    with path.open("rb") as file:  # not as text: a line that is no UTF-8 must be named too
        for n_line, line in enumerate(file, start=1):
            if line.strip():
                try:
                    record = json.loads(line.decode("utf8"))
                    if not isinstance(record, dict):
                        raise ValueError(f"Not a passage: a JSON {type(record).__name__}, expected an object.")
                    passage = passage_from_dict(record)
                except ValueError as err:
                    raise ValueError(f"{path}, line {n_line}: {err}") from err
                yield passage


def write_passages(passages: Iterable[Passage], path: Path) -> int:
    """Write passages as JSONL, one a line.

    RETURNS: the number of passages written.
    """
    n_passages = 0
    with path.open("w", encoding="utf8") as file:
        for passage in passages:
            file.write(json.dumps(passage_to_dict(passage), ensure_ascii=False) + "\n")
            n_passages += 1
    return n_passages


def _check_list(values: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(values, (list, tuple)):  # the characters of a string would pass for its words
        raise TypeError(f"expected a list, got {values!r}")
    return values


def _check_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return value


def _make_mention(values: Any) -> Mention:
    if [type(value) for value in _check_list(values)[:3]] != [int, int, str]:
        raise TypeError(f"expected a mention, got {values!r}")
    return Mention(*values)
