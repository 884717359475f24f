"""The commands under `python -m spacy uniner`, on a pipeline with a tiny student."""

from __future__ import annotations

import json

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

from spacy_uniner.cli import app
from spacy_uniner.students.weights import read_student

runner = CliRunner()


@pytest.fixture
def saved(tiny_nlp, tmp_path):
    tiny_nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_find_prints_a_table_and_writes_a_page(saved, tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text(json.dumps({"text": "Sally Ride landed near Rome", "labels": ["city"]}) + "\n", encoding="utf8")
    page = tmp_path / "out" / "page.html"
    arguments = ["find", str(texts), "--pipeline", str(saved), "--threshold", "0.0", "--output", str(page)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "in 1 texts" in result.output
    assert "Sally" in page.read_text(encoding="utf8")


def test_find_asks_the_given_labels_of_plain_lines(saved, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("Rome\n\nOslo\n", encoding="utf8")
    result = runner.invoke(app, ["find", str(texts), "--pipeline", str(saved), "--labels", "city, person"])
    assert result.exit_code == 0, result.output
    assert "in 2 texts" in result.output


def test_find_wants_labels(saved, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("Rome\n", encoding="utf8")
    result = runner.invoke(app, ["find", str(texts), "--pipeline", str(saved)])
    assert result.exit_code == 2


def test_thresholds_saves_one_for_each_label(saved, tmp_path):
    nlp = spacy.blank("en")
    doc = Doc(nlp.vocab, words=["Sally", "landed", "near", "Rome"])
    doc.set_ents([Span(doc, 0, 1, label="person"), Span(doc, 3, 4, label="city")], default="outside")
    DocBin(docs=[doc]).to_disk(tmp_path / "gold.spacy")
    output = tmp_path / "with-thresholds"
    result = runner.invoke(app, ["thresholds", str(saved), str(tmp_path / "gold.spacy"), "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert set(spacy.load(output).get_pipe("universal_ner").cfg["threshold"]) == {"city", "person"}


def test_export_writes_a_student_that_can_be_read_by_name(saved, tmp_path):
    result = runner.invoke(app, ["export", str(saved), str(tmp_path / "student")])
    assert result.exit_code == 0, result.output
    meta = json.loads((tmp_path / "student" / "meta.json").read_text(encoding="utf8"))
    assert meta["format"] == "spacy_uniner.Encoder.v1"
    assert read_student(str(tmp_path / "student"), "float32").size.max_span_words > 0
