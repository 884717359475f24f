"""Rows are written as JSONL, .spacy and Parquet, with all that came with a text."""

from __future__ import annotations

import datetime
import json
from datetime import date

import pyarrow
import pyarrow.parquet
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span, SpanGroup

from spacy_uniner.scale.inputs import Source
from spacy_uniner.scale.outputs import WRITERS, Row, check_columns, make_plain
from spacy_uniner.scale.records import Record

NLP = spacy.blank("en")


def make_row(n, text="Röme", extra=None, score=0.5):
    doc = Doc(NLP.vocab, words=[text, "lives"])
    doc.spans["universal_ner"] = SpanGroup(doc, spans=[Span(doc, 0, 1, "city")], attrs={"scores": [score]})
    entity = {"start": 0, "end": 4, "label": "city", "score": score, "text": text}
    return Row(Record(f"r{n}", doc.text, extra or {}, "a", n), doc, [entity])


def write(tmp_path, format, rows, text_key="text", source=None):
    path = tmp_path / f"part.{format}"
    with path.open("wb") as file:
        WRITERS[format](rows, file, text_key, source or Source("a", tmp_path / "a", "jsonl"))
    return path


def test_jsonl_has_a_line_for_each_text(tmp_path):
    path = write(tmp_path, "jsonl", [make_row(1, extra={"on": date(2024, 2, 29), "n": None}), make_row(2)], "body")
    first, second = path.read_text(encoding="utf8").splitlines()
    assert "Röme" in first
    assert json.loads(first) == {
        "id": "r1",
        "body": "Röme lives ",
        "on": "2024-02-29",
        "n": None,
        "entities": [{"start": 0, "end": 4, "label": "city", "score": 0.5, "text": "Röme"}],
    }
    assert list(json.loads(second)) == ["id", "body", "entities"]


def test_docs_keep_spans_scores_and_what_came_with_the_text(tmp_path):
    row = make_row(1, extra={"topic": 3})
    if not Doc.has_extension("trf_data"):
        Doc.set_extension("trf_data", default=None)
    row.doc._.trf_data = "all activations"
    (doc,) = DocBin().from_disk(write(tmp_path, "spacy", [row])).get_docs(NLP.vocab)
    assert doc.user_data == {"id": "r1", "topic": 3}
    group = doc.spans["universal_ner"]
    assert ([(span.text, span.label_) for span in group], group.attrs["scores"]) == ([("Röme", "city")], [0.5])


def test_parquet_has_the_same_columns_in_every_part(tmp_path):
    table = pyarrow.parquet.read_table(write(tmp_path, "parquet", [make_row(1, extra={"n": 1}), make_row(2)], "body"))
    empty = pyarrow.parquet.read_table(write(tmp_path, "parquet", [], "body"))
    assert table.schema == empty.schema
    assert table.to_pylist()[0] == {
        "id": "r1",
        "body": "Röme lives ",
        "extra": '{"n": 1}',
        "entities": [{"start": 0, "end": 4, "label": "city", "score": 0.5, "text": "Röme"}],
    }


def test_columns_of_parquet_keep_their_types(tmp_path):
    source = Source("in.parquet", tmp_path / "in.parquet", "parquet")
    columns = {"id": pyarrow.int32(), "text": pyarrow.large_string(), "on": pyarrow.date32(), "n": pyarrow.int8()}
    pyarrow.parquet.write_table(pyarrow.schema(columns).empty_table(), source.path)
    rows = [make_row(1, extra={"on": date(2024, 2, 29), "n": None}, score=None)]
    table = pyarrow.parquet.read_table(write(tmp_path, "parquet", rows, source=source))
    assert [(field.name, str(field.type)) for field in table.schema][:4] == [
        ("id", "string"),
        ("text", "string"),
        ("on", "date32[day]"),
        ("n", "int8"),
    ]
    assert table["on"].to_pylist() == [date(2024, 2, 29)]
    assert table["entities"].to_pylist()[0][0]["score"] is None


def make_source(tmp_path, name, **columns):
    path = tmp_path / name
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return Source(name, path, "parquet")


def test_parquet_files_of_other_columns_would_not_give_one_table(tmp_path):
    one, same = make_source(tmp_path, "a.parquet", text=["a"]), make_source(tmp_path, "b.parquet", text=["b"])
    other = make_source(tmp_path, "c.parquet", text=["c"], n=[1])
    check_columns([one, same])
    with pytest.raises(ValueError, match=r"a\.parquet and .*c\.parquet do not have the same columns"):
        check_columns([one, same, other])


def test_parquet_is_not_mixed_with_other_inputs(tmp_path):
    with pytest.raises(ValueError, match="Parquet and other inputs do not give the same columns"):
        check_columns([make_source(tmp_path, "a.parquet", text=["a"]), Source("b", tmp_path, "jsonl")])


def test_what_came_with_a_text_is_made_plain():
    extra = {"when": datetime.date(2026, 1, 2), "large": 2**70, "small": -5, "list": [1.5, None, True]}
    assert make_plain(extra) == {"when": "2026-01-02", "large": str(2**70), "small": -5, "list": [1.5, None, True]}
