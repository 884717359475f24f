"""Files are found and surveyed once; records come out with their place, or are set aside with the reason."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from scale_world import write_jsonl
from spacy.tokens import Doc, DocBin

import spacy_uniner.scale.records as records
from spacy_uniner.scale.inputs import Source, find_offsets, find_sources, import_parquet, keep_stream, survey
from spacy_uniner.scale.records import Bad, Piece, Record, find_problem, read_records

NLP = spacy.blank("en")


def names_of(*inputs, output="nowhere", lines=False):
    return [(source.name, source.kind) for source in find_sources([str(one) for one in inputs], Path(output), lines)]


def read_all(path, kind, text_key="text", max_chars=1000, name=None):
    source = Source(name or path.name, path, kind)
    n_records = survey(source, 0, 1000, text_key).n_records
    return list(read_records(Piece(source, 0, n_records), text_key, NLP.vocab, max_chars))


@pytest.fixture
def folder(tmp_path):
    for name in ("b.txt", "sub/a.txt", "sub/c.jsonl", ".hidden.txt", "notes.md", "out/part-000000.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Rome\n", encoding="utf8")
    return tmp_path


# Which files


def test_a_folder_gives_its_files_by_their_path_below_it(folder):
    expected = [("b.txt", "text"), ("sub/a.txt", "text"), ("sub/c.jsonl", "jsonl")]
    assert names_of(folder, output=folder / "out") == expected


def test_a_pattern_gives_what_it_matches_below_its_fixed_part(folder):
    assert names_of(folder / "*" / "a.txt") == [("sub/a.txt", "text")]
    assert names_of(folder / "**" / "*.txt") == [("b.txt", "text"), ("sub/a.txt", "text")]


def test_a_file_is_called_by_its_name_and_may_be_given_twice(folder):
    assert names_of(folder / "b.txt", folder / "b.txt", lines=True) == [("b.txt", "lines")]


def test_an_input_must_be_there(folder):
    with pytest.raises(ValueError, match=r"has no file to read\. Give a file, a folder or a pattern"):
        names_of(folder / "none.jsonl")


def test_an_ending_must_be_known(folder):
    with pytest.raises(ValueError, match=r"notes\.md has an unknown ending\. Known are: \.jsonl"):
        names_of(folder / "notes.md")


def test_two_files_of_one_name_are_not_confused(folder):
    (folder / "a.txt").write_text("Paris", encoding="utf8")
    with pytest.raises(ValueError, match=r"Two inputs are called 'a\.txt'"):
        names_of(folder / "a.txt", folder / "sub" / "a.txt")


def test_a_stream_is_kept_and_must_be_the_same_when_gone_on(tmp_path):
    source = keep_stream(io.BytesIO(b'{"text": "Rome"}\n'), tmp_path / "out", lines=False)
    assert (source.name, source.kind, source.path.read_bytes()) == ("stdin.jsonl", "jsonl", b'{"text": "Rome"}\n')
    assert keep_stream(io.BytesIO(b'{"text": "Rome"}\n'), tmp_path / "out", lines=False) == source
    with pytest.raises(ValueError, match="standard input is not what"):
        keep_stream(io.BytesIO(b"Oslo\n"), tmp_path / "out", lines=False)
    assert keep_stream(io.BytesIO(b"Rome\n"), tmp_path / "out", lines=True).kind == "lines"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["stdin.jsonl", "stdin.txt"]


# Where parts begin


@given(
    lines=st.lists(st.text("ab ", max_size=3), max_size=20),
    ends=st.booleans(),
    n_before=st.integers(0, 9),
    part_size=st.integers(1, 6),
    block=st.integers(1, 7),
)
def test_offsets_are_those_of_counting_line_by_line(lines, ends, n_before, part_size, block):
    content = "\n".join(lines).encode() + (b"\n" if ends and lines else b"")
    blocks = [content[n : n + block] for n in range(0, len(content), block)]
    starts, n_bytes = [], 0
    real = content.splitlines(keepends=True)
    for number, line in enumerate(real):
        if (n_before + number) % part_size == 0:
            starts.append(n_bytes)
        n_bytes += len(line)
    assert find_offsets(blocks, -n_before % part_size, part_size) == (len(real), tuple(starts))


def test_a_survey_counts_records_and_takes_the_checksum(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1\n2\n3")
    found = survey(Source("a.jsonl", path, "jsonl"), 1, 2, "text")
    assert (found.n_records, found.offsets, found.n_bytes) == (3, (2,), 5)
    assert found.sha256 == hashlib.sha256(b"1\n2\n3").hexdigest()


@pytest.mark.parametrize("kind, what", [("spacy", r"is no \.spacy file"), ("parquet", "is no Parquet file")])
def test_a_file_that_is_cut_is_named(tmp_path, kind, what):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"cut")
    with pytest.raises(ValueError, match=what):
        survey(Source(path.name, path, kind), 0, 10, "text")


def test_a_parquet_file_needs_the_column(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"body": ["Rome"], "id": [7]}), path)
    with pytest.raises(ValueError, match=r"no column 'text'\. It has: body, id\. Give --text-key"):
        survey(Source(path.name, path, "parquet"), 0, 10, "text")


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'spacy-uniner\[parquet\]'"):
        import_parquet()


# Records


def test_records_of_jsonl_keep_id_and_all_other_keys(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": 7, "text": "Rome", "more": [1, {"a": None}]}, {"text": "Oslo"}])
    assert read_all(path, "jsonl") == [
        Record("7", "Rome", {"more": [1, {"a": None}]}, "a.jsonl", 1),
        Record("a.jsonl:2", "Oslo", {}, "a.jsonl", 2),
    ]


def test_the_text_may_be_under_another_key(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"body": "Rome", "text": "no"}])
    assert read_all(path, "jsonl", "body") == [Record("a.jsonl:1", "Rome", {"text": "no"}, "a.jsonl", 1)]


@pytest.mark.parametrize(
    "line, reason",
    [
        (b'{"text": "Rome"', "it is no JSON: Expecting"),
        (b"[" * 100_000, "it is no JSON: maximum recursion"),
        (b'["Rome"]', "it is JSON of type list, expected an object"),
        (b'{"title": "Rome"}', "there is no text"),
        (b'{"text": null}', "there is no text"),
        (b'{"text": 5}', "the text is of type int, expected a string"),
        (b'{"text": " \\n"}', "the text is empty"),
        (b'{"text": "R\xf6me"}', "byte 12 is not UTF-8"),
        (b'{"text": "Rome \\ud83d"}', "it has half of a surrogate pair"),
        (b'{"text": "Rome", "more": "\\uDE00"}', "it has half of a surrogate pair"),
        (b'{"text": "Rome Rome Rome Rome"}', "the text has 19 characters, more than 10"),
        (b'{"text": "Rome", "id": [1]}', "the id is of type list"),
        (b'{"text": "Rome", "id": true}', "the id is of type bool"),
        (b'{"text": "Rome", "entities": []}', "it has 'entities' already"),
    ],
)
def test_a_bad_line_is_set_aside_with_the_reason_and_the_next_is_read(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n" + line + b'\r\n{"text": "Oslo"}')
    bad, good = read_all(path, "jsonl", max_chars=10)
    assert isinstance(bad, Bad)
    assert (bad.file, bad.line) == ("a.jsonl", 2)
    assert bad.reason.startswith(reason)
    assert good == Record("a.jsonl:3", "Oslo", {}, "a.jsonl", 3)


def test_whole_surrogate_pairs_are_characters(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "Rome \\ud83d\\ude00"}\n')
    assert [one.text for one in read_all(path, "jsonl")] == ["Rome 😀"]


def test_a_line_too_long_is_passed_over_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_BYTES", 20)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "' + b"a" * 65 + b'"}\n{"text": "1234567"}\n{"text": "12345678"}\n')
    found = read_all(path, "jsonl")
    assert [getattr(one, "reason", one) for one in found] == [
        "it has more than 20 bytes",
        Record("a.jsonl:2", "1234567", {}, "a.jsonl", 2),
        "it has more than 20 bytes",
    ]


def test_a_text_a_line_keeps_all_but_the_end_of_the_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffRome \r\n\n  Oslo\n".encode())
    assert [(one.id, one.text) for one in read_all(path, "lines")] == [("a.txt:1", "Rome "), ("a.txt:3", "  Oslo")]


def test_a_bad_line_of_text_is_set_aside(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"R\xf6me\nOslo\n")
    bad, good = read_all(path, "lines")
    assert (bad.reason, good.text) == ("byte 2 is not UTF-8 (invalid start byte)", "Oslo")


def test_a_text_a_file_is_called_by_the_file_and_kept_as_it_is(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"Rome\r\n\r\nOslo\n")
    assert read_all(path, "text", name="sub/a.txt") == [Record("sub/a.txt", "Rome\r\n\r\nOslo\n", {}, "sub/a.txt", 1)]


def test_a_bad_text_file_is_set_aside(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff")
    assert read_all(path, "text") == [Bad("a.txt", 1, "byte 1 is not UTF-8 (invalid start byte)")]
    monkeypatch.setattr(records, "MAX_BYTES", 0)
    assert read_all(path, "text") == [Bad("a.txt", 1, "it has more than 0 bytes")]


def test_docs_keep_their_words_and_what_is_in_their_user_data(tmp_path):
    docs = [Doc(NLP.vocab, words=["New York", word]) for word in ("a", "b", "c")]
    docs[1].user_data["id"], docs[1].user_data["topic"] = "x", 3
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "a.spacy")
    source = Source("a.spacy", tmp_path / "a.spacy", "spacy")
    one, other = read_records(Piece(source, 1, 3), "text", NLP.vocab, 100)
    assert (one.id, one.extra, other.id, other.line) == ("x", {"topic": 3}, "a.spacy:3", 3)
    assert [token.text for token in one.doc] == ["New York", "b"]


def test_rows_of_parquet_are_read_across_row_groups_and_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "BATCH_ROWS", 1)
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": ["a", None, "c", "d", "e"], "n": [0, 1, 2, 3, 4]})
    pyarrow.parquet.write_table(table, path, row_group_size=2)
    found = list(read_records(Piece(Source("a.parquet", path, "parquet"), 1, 4), "text", NLP.vocab, 100))
    assert found == [
        Bad("a.parquet", 2, "there is no text"),
        Record("a.parquet:3", "c", {"n": 2}, "a.parquet", 3),
        Record("a.parquet:4", "d", {"n": 3}, "a.parquet", 4),
    ]


def test_half_a_surrogate_pair_in_a_text_is_a_problem():
    assert "half of a surrogate pair" in find_problem("a\ud800", 10)
    assert find_problem(float("nan"), 10) == find_problem(None, 10) == "there is no text"
    assert find_problem(json.loads('"\\ud83d\\ude00"'), 10) == ""


def test_a_file_that_is_given_twice_is_refused(tmp_path):
    (tmp_path / "c" / "sub").mkdir(parents=True)
    (tmp_path / "c" / "sub" / "a.jsonl").write_text('{"text": "x"}\n', encoding="utf8")
    with pytest.raises(ValueError, match=r"a\.jsonl is given twice, as '.*a\.jsonl' and as '.*a\.jsonl'. Give it once"):
        find_sources([str(tmp_path / "c"), str(tmp_path / "c" / "sub")], tmp_path / "out", False)
