"""The commands under `python -m spacy uniner`, on a pipeline with a tiny student."""

from __future__ import annotations

import json
import sys

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

from spacy_uniner.cli import app
from spacy_uniner.passages import read_passages
from spacy_uniner.students.weights import read_student, write_student

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


def test_export_encoder_writes_a_bert_to_start_from(tiny_student, tmp_path):
    write_student(tiny_student, tmp_path / "student", {})
    result = runner.invoke(app, ["export-encoder", str(tmp_path / "bert"), "--student", str(tmp_path / "student")])
    assert result.exit_code == 0, result.output
    assert read_student(str(tmp_path / "bert"), "float32").size.bert == tiny_student.size.bert


# Datasets and benchmark

RECORDS = [
    {"tokens": ["Sally", "landed", "near", "Rome"], "spans": [[0, 1, "person"], [3, 4, "country"], [3, 4, "misc"]]},
    {"tokens": ["It", "was", "the", "mission"], "spans": []},
]


@pytest.fixture
def data(tmp_path):
    """A folder with a dev split of CrossNER AI."""
    folder = tmp_path / "data" / "crossner-ai"
    folder.mkdir(parents=True)
    (folder / "dev.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf8")
    return tmp_path / "data"


def run(*arguments, code=0):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.replace("│", " ").split())  # as one line, out of its frame


def test_datasets_are_listed():
    assert "49 rows of 43 datasets in 9 domains" in run("datasets", "list")
    assert "8 rows of 8 datasets in 1 domains" in run("datasets", "list", "--suite", "biomed")
    assert "No suite or dataset" in run("datasets", "list", "--suite", "nothing", code=2)


def test_datasets_that_cannot_be_fetched_say_how_to_get_them(tmp_path):
    assert "Linguistic Data Consortium" in run("datasets", "get", "--suite", "ace05", "--cache", tmp_path, code=1)


def test_datasets_are_checked(data, tmp_path):
    suite = ("--suite", "crossner-ai", "--data", data, "--cache", tmp_path)
    output = run("datasets", "check", *suite, code=1)
    assert "crossner-ai, dev: 2 sentences, 2 mentions" in output
    assert "dev has 2 sentences, expected 350" in output
    assert "1 splits read, 1 problems" in output


def test_broken_dataset_is_a_problem(data, tmp_path):
    (data / "crossner-ai" / "dev.jsonl").write_text("{", encoding="utf8")
    output = run("datasets", "check", "--suite", "crossner-ai", "--data", data, "--cache", tmp_path, code=1)
    assert "not JSON" in output


def test_datasets_are_converted_to_passages(data, tmp_path):
    suite = ("--suite", "crossner-ai", "--data", data, "--cache", tmp_path, "--split", "dev")
    run("datasets", "convert", tmp_path / "out", *suite)
    first, _ = read_passages(tmp_path / "out" / "crossner-ai" / "dev.jsonl")
    assert [(m.start, m.end, m.type) for m in first.mentions] == [(0, 1, "person"), (3, 4, "country")]
    run("datasets", "convert", tmp_path / "out", "--suite", "genia", "--data", data, "--cache", tmp_path, code=2)


def test_benchmark_is_run_compared_and_searched_for_leakage(saved, data, tmp_path):
    suite = ("--data", data, "--cache", tmp_path, "--split", "dev")
    output = run("benchmark", "run", tmp_path / "out", "--suite", "zero-shot-7", "--system", saved, *suite)
    assert "6 datasets are left out, since they are not at hand" in output
    assert "UniNER-7B (published)" in output
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"results.json", "report.md", "report.html", "f1.svg", "f1.png", "datasets"} <= written
    results = tmp_path / "out" / "results.json"
    assert "crossner-ai" in run("benchmark", "compare", results, results)
    assert "not JSON" in run("benchmark", "compare", results, data / "crossner-ai" / "dev.jsonl", code=2)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"text": "Yes, it was the mission."}\n', encoding="utf8")
    found = tmp_path / "leakage.json"
    run("benchmark", "leakage", corpus, "--suite", "crossner-ai", *suite, "--n", "4", "--output", found)
    assert json.loads(found.read_text())["datasets"] == {"crossner-ai": {"n_sentences": 2, "n_shared": 1}}


def test_benchmark_without_matplotlib_has_no_pictures_and_says_so(saved, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    suite = ("--suite", "crossner-ai", "--data", data, "--cache", tmp_path, "--split", "dev")
    output = run("benchmark", "run", tmp_path / "out", "--system", saved, *suite)
    assert "Pictures need matplotlib" in output
    assert (tmp_path / "out" / "report.html").exists()
    assert not list((tmp_path / "out").glob("*.svg"))


@pytest.mark.parametrize("command", [("run", "out"), ("leakage", "corpus.jsonl")])
def test_benchmark_without_data_says_what_is_missing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.jsonl").write_text('{"text": "a"}\n', encoding="utf8")
    output = run("benchmark", *command, "--suite", "genia", "--cache", tmp_path, code=2)
    assert "No dataset of 'genia' has a test split" in output


@pytest.mark.parametrize(
    "arguments, reason", [(("--system", "missing"), "No system 'missing'"), (("--suite", "nothing"), "No suite")]
)
def test_bad_input_of_the_benchmark_is_named(data, tmp_path, arguments, reason):
    suite = ("--suite", "crossner-ai", "--data", data, "--cache", tmp_path, "--split", "dev")
    assert reason in run("benchmark", "run", tmp_path / "out", *suite, *arguments, code=2)
