"""Rows as files: JSONL, .spacy or Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from spacy.tokens import Doc, DocBin

from .inputs import Source, import_parquet, open_parquet
from .records import Record


@dataclass(frozen=True)
class Row:
    """A text with what was found in it.

    entities: start and end in characters of the text, label, score and text of each.
    """

    record: Record
    doc: Doc
    entities: list[dict[str, Any]]


def write_jsonl(rows: Iterable[Row], file: IO[bytes], text_key: str, source: Source) -> None:
    """Write a line for each text: its id, the text, what came with it, the entities.

    What JSON does not know, such as a date, is written as a string.
    """
    for row in rows:
        content = {"id": row.record.id, text_key: row.record.text, **row.record.extra, "entities": row.entities}
        file.write(json.dumps(content, ensure_ascii=False, default=str).encode("utf-8") + b"\n")


def write_docs(rows: Iterable[Row], file: IO[bytes], text_key: str, source: Source) -> None:
    """Write the Docs, with id and what came with the text in `doc.user_data`."""
    doc_bin = DocBin(store_user_data=True)
    for row in rows:
        cast(dict[Any, Any], row.doc.user_data).pop(
            ("._.", "trf_data", None, None), None
        )  # all activations of a transformer
        row.doc.user_data.update({**make_plain(row.record.extra), "id": row.record.id})
        doc_bin.add(row.doc)
    file.write(doc_bin.to_bytes())


def make_plain(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Make of what came with a text what msgpack knows: other objects, and integers beyond 64 bits, as strings."""

    def parse_int(digits: str) -> int | str:
        return int(digits) if -(2**63) <= int(digits) < 2**64 else digits

    return dict(json.loads(json.dumps(extra, default=str), parse_int=parse_int))


def write_parquet(rows: Iterable[Row], file: IO[bytes], text_key: str, source: Source) -> None:
    """Write a row for each text; what came with it, in columns of its own if it was Parquet, else as JSON in `extra`.

    source: a file of the part; all Parquet files have its columns.
    """
    pyarrow, parquet = import_parquet()
    columns = [pyarrow.field("id", pyarrow.string()), pyarrow.field(text_key, pyarrow.string())]
    if source.kind == "parquet":
        with open_parquet(source) as example:
            columns += [column for column in example.schema_arrow if column.name not in ("id", text_key)]
    else:
        columns.append(pyarrow.field("extra", pyarrow.string()))
    entity = {"start": "int32", "end": "int32", "label": "string", "score": "float64", "text": "string"}
    of_one = pyarrow.struct([(name, pyarrow.type_for_alias(alias)) for name, alias in entity.items()])
    columns.append(pyarrow.field("entities", pyarrow.list_(of_one)))
    content = [
        {
            "id": row.record.id,
            text_key: row.record.text,
            "extra": json.dumps(row.record.extra, ensure_ascii=False, default=str),
            "entities": row.entities,
        }
        | (row.record.extra if source.kind == "parquet" else {})
        for row in rows
    ]
    parquet.write_table(pyarrow.Table.from_pylist(content, schema=pyarrow.schema(columns)), file)


Write = Callable[[Iterable[Row], IO[bytes], str, Source], None]

WRITERS: dict[str, Write] = {"jsonl": write_jsonl, "spacy": write_docs, "parquet": write_parquet}


def check_columns(sources: Iterable[Source]) -> None:
    """Check that the rows of all parts can have the same columns.

    RAISES: ImportError without pyarrow, ValueError if Parquet files have other columns than each other, or stand among
        other files.
    """
    import_parquet()
    schemas: dict[Any, Source] = {}
    kinds = {source.kind == "parquet" for source in sources}
    if kinds == {True, False}:
        raise ValueError("Parquet and other inputs do not give the same columns. Apply to each kind by itself.")
    for source in sources if kinds == {True} else ():
        with open_parquet(source) as file:
            schemas.setdefault(file.schema_arrow.remove_metadata(), source)
    if len(schemas) > 1:
        one, other, *_ = schemas.values()
        raise ValueError(
            f"{one.path} and {other.path} do not have the same columns, so the parts would not either. "
            "Apply to each by itself, or write JSONL."
        )
