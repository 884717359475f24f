"""Files as records: a text, its id and what else came with it; and what is set aside, with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from math import isnan
from pathlib import Path
from typing import Any

from spacy.tokens import Doc
from spacy.vocab import Vocab

from .inputs import Source, load_doc_bin, open_parquet

BATCH_ROWS = 256  # of Parquet, read at once
MAX_BYTES = 1 << 26  # of a line or a text file; what is longer is not even read into memory


@dataclass(frozen=True)
class Piece:
    """A run of records of one file.

    start: the first record, counted from 0.
    stop: behind the last.
    offset: of a file of lines, the byte at which the first begins.
    """

    source: Source
    start: int
    stop: int
    offset: int = 0


@dataclass(frozen=True)
class Record:
    """A text to read.

    id: as given; else the file and the number of the record, or the name of the text file.
    text: what offsets count in.
    extra: what else came with it, by key.
    file: name of the file it came from.
    line: its number there, counted from 1.
    doc: the Doc, if it came as one.
    """

    id: str
    text: str
    extra: dict[str, Any]
    file: str
    line: int
    doc: Doc | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Bad:
    """A record that is set aside.

    file: name of the file it came from.
    line: its number there, counted from 1.
    reason: what is wrong with it.
    """

    file: str
    line: int
    reason: str


class Unreadable(ValueError):
    """What is read is no record."""


def read_records(piece: Piece, text_key: str, vocab: Vocab, max_chars: int) -> Iterator[Record | Bad]:
    """Read a run of records; a blank line is none.

    text_key: where the text is in a record of JSONL or Parquet.
    vocab: of the Docs.
    max_chars: the longest text that is taken, in characters.
    """
    name = piece.source.name
    for line, raw, doc in _READERS[piece.source.kind](piece, text_key, vocab):
        if isinstance(raw, str):
            yield Bad(name, line, raw)
            continue
        text, id_ = raw.pop(text_key, None), raw.pop("id", None)
        id_ = f"{name}:{line}" if id_ is None else id_
        problem = find_problem(text, max_chars)
        if not problem and (isinstance(id_, bool) or not isinstance(id_, str | int)):
            problem = f"the id is of type {type(id_).__name__}, expected a string or a whole number"
        if not problem and "entities" in raw:
            problem = "it has 'entities' already, where those found are to go; rename that key"
        yield Bad(name, line, problem) if problem else Record(str(id_), text, raw, name, line, doc)


def find_problem(text: object, max_chars: int) -> str:
    """Say why a text cannot be read; an empty string if it can."""
    if text is None or (isinstance(text, float) and isnan(text)):  # as pandas has it
        return "there is no text"
    if not isinstance(text, str):
        return f"the text is of type {type(text).__name__}, expected a string"
    if not text.strip():
        return "the text is empty"
    if len(text) > max_chars:
        return f"the text has {len(text):,} characters, more than {max_chars:,}; cut it into parts"
    return "" if _is_unicode(text) else "the text has half of a surrogate pair, which is no character"


# The number of a record from 1; its keys, or why it cannot be read; the Doc, if it is one.
Raw = tuple[int, "dict[str, Any] | str", "Doc | None"]


def _read_jsonl(piece: Piece, text_key: str, vocab: Vocab) -> Iterator[Raw]:
    for number, line in _read_lines(piece):
        try:
            content = _decode(line, number).strip()
            if content:
                yield number, _parse(content), None
        except Unreadable as err:
            yield number, str(err), None


def _read_texts_of_lines(piece: Piece, text_key: str, vocab: Vocab) -> Iterator[Raw]:
    for number, line in _read_lines(piece):
        try:
            content = _decode(line, number).rstrip("\r\n")
            if content.strip():
                yield number, {text_key: content}, None
        except Unreadable as err:
            yield number, str(err), None


def _read_text(piece: Piece, text_key: str, vocab: Vocab) -> Iterator[Raw]:
    path = piece.source.path
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
        yield 1, {text_key: _decode(content, 1), "id": piece.source.name}, None
    except Unreadable as err:
        yield 1, str(err), None


def _read_docs(piece: Piece, text_key: str, vocab: Vocab) -> Iterator[Raw]:
    doc_bin = load_doc_bin(piece.source)
    for name in ("tokens", "spaces", "cats", "span_groups", "user_data", "flags"):
        setattr(doc_bin, name, getattr(doc_bin, name)[piece.start : piece.stop])
    for number, doc in enumerate(doc_bin.get_docs(vocab), start=piece.start + 1):
        own = {key: value for key, value in doc.user_data.items() if isinstance(key, str)}
        yield number, {**own, text_key: doc.text}, doc


def _read_parquet(piece: Piece, text_key: str, vocab: Vocab) -> Iterator[Raw]:
    with open_parquet(piece.source) as file:
        counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        ends = list(accumulate(counts))
        groups = [n for n, end in enumerate(ends) if end > piece.start and end - counts[n] < piece.stop]
        first = ends[groups[0]] - counts[groups[0]]
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=groups):
            start, stop = max(piece.start - first, 0), min(piece.stop - first, batch.num_rows)
            if start < stop:
                rows = batch.slice(start, stop - start).to_pylist()
                yield from ((number, row, None) for number, row in enumerate(rows, start=first + start + 1))
            first += batch.num_rows


_READERS = {
    "jsonl": _read_jsonl,
    "lines": _read_texts_of_lines,
    "text": _read_text,
    "spacy": _read_docs,
    "parquet": _read_parquet,
}


def _read_lines(piece: Piece) -> Iterator[tuple[int, bytes | None]]:
    """Read lines with their numbers; None for one that is too long."""
    with Path(piece.source.path).open("rb") as file:
        file.seek(piece.offset)
        for number in range(piece.start + 1, piece.stop + 1):
            line = file.readline(MAX_BYTES)
            is_long = len(line) == MAX_BYTES and not line.endswith(b"\n")
            while is_long and (rest := file.readline(MAX_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, None if is_long else line


def _decode(content: bytes | None, number: int) -> str:
    if content is None:
        raise Unreadable(f"it has more than {MAX_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as err:
        raise Unreadable(f"byte {err.start + 1} is not UTF-8 ({err.reason})") from err


def _parse(content: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise Unreadable(f"it is no JSON: {err}") from err
    if not isinstance(found, dict):
        raise Unreadable(f"it is JSON of type {type(found).__name__}, expected an object")
    if "\\ud" in content.lower() and not _is_unicode(json.dumps(found, ensure_ascii=False)):
        raise Unreadable("it has half of a surrogate pair, which is no character")
    return found


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
