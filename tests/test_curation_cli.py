"""The commands `curate` and `derive-gold`: what they write, what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus
from typer.testing import CliRunner

from spacy_uniner.cli import app

runner = CliRunner()

TEXTS = {f"t{n}": f"Ada Lovelace met the Royal Society in London (no. {n})." for n in range(5)}
FULL = {"PER": ["Ada Lovelace"], "ORG": ["Royal Society"], "LOC": ["London"]}
WRONG = {"PER": ["Ada Lovelace"], "ORG": [], "LOC": ["London", "Royal Society", "Paris"]}


def write_annotations(path: Path, entities: dict, ids=tuple(TEXTS)) -> Path:
    lines = [
        {"id": id, "text": TEXTS[id], "style": "standard", "reply": json.dumps(entities), "model": "fake"} for id in ids
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf8")
    return path


def run(tmp_path: Path, *arguments: object):
    output = tmp_path / "corpus"
    result = runner.invoke(app, ["curate", *map(str, arguments), "--labels", "PER, ORG,LOC", "--output", str(output)])
    return result, output


def squeeze(output: str) -> str:
    """Leave out the frame and the line breaks that typer puts around errors."""
    return " ".join(output.replace("│", " ").split())


def test_curate_writes_corpus_labels_report_and_page(tmp_path):
    standard = write_annotations(tmp_path / "standard.jsonl", FULL)
    reasoned = write_annotations(tmp_path / "reasoned.jsonl", WRONG)
    result, output = run(tmp_path, standard, reasoned, "--dev-share", 0.2)
    assert result.exit_code == 0, result.output
    nlp = spacy.blank("en")
    docs = {name: [eg.reference for eg in Corpus(output / f"{name}.spacy")(nlp)] for name in ("train", "dev")}
    assert {name: len(of_name) for name, of_name in docs.items()} == {"train": 4, "dev": 1}
    texts = sorted(doc.text for of_name in docs.values() for doc in of_name)
    assert texts == sorted(TEXTS.values())  # with their white space
    for of_name in docs.values():
        for doc in of_name:
            assert {(ent.text, ent.label_) for ent in doc.ents} == {(t, label) for label, (t,) in FULL.items()}
    assert json.loads((output / "labels" / "universal_ner.json").read_text("utf8")) == ["LOC", "ORG", "PER"]
    report = json.loads((output / "report.json").read_text("utf8"))
    assert report["runs"][1]["losses of the reader"] == {"not in the text": 5}
    assert report["agreement"][0]["scores"]["ORG"] == {"f1": 0.0, "both": 0, "only standard": 5, "only reasoned": 0}
    assert "t0: 2 differences" in (output / "disagreements.html").read_text("utf8")
    assert "reasoned: 5 texts, 15 mentions; the reader lost 5 not in the text." in squeeze(result.output)
    assert "not in the primary run" in result.output


def test_curate_replaces_what_an_earlier_call_wrote(tmp_path):
    standard = write_annotations(tmp_path / "standard.jsonl", FULL)
    _, output = run(tmp_path, standard, "--dev-share", 0.2)
    assert (output / "dev.spacy").exists()
    result, _ = run(tmp_path, standard)
    assert result.exit_code == 0, result.output
    assert not (output / "dev.spacy").exists()


@pytest.mark.parametrize("name", ["gold.spacy", "gold.jsonl"])
def test_curate_measures_against_gold(tmp_path, name):
    words = [token.text for token in spacy.blank("en")(TEXTS["t0"])]
    if name == "gold.spacy":
        doc = Doc(spacy.blank("en").vocab, words=words)
        doc.set_ents([Span(doc, 0, 2, label="PER"), Span(doc, 4, 6, label="ORG")], default="outside")
        DocBin(docs=[doc]).to_disk(tmp_path / name)
    else:
        record = {"tokens": words, "spans": [[0, 2, "PER"], [4, 6, "ORG"]]}
        (tmp_path / name).write_text(json.dumps(record) + "\n", encoding="utf8")
    standard = write_annotations(tmp_path / "standard.jsonl", FULL)
    result, output = run(tmp_path, standard, "--gold", tmp_path / name)
    assert result.exit_code == 0, result.output
    quality = json.loads((output / "report.json").read_text("utf8"))["quality"]
    assert [(one["annotation"], one["texts"], one["scores"]["all"]["f1"]) for one in quality] == [
        ("standard", 1, 0.8),
        ("the corpus", 1, 0.8),
    ]
    assert "against gold, recall" in result.output


def test_runs_of_one_name_go_by_their_paths(tmp_path):
    paths = [write_annotations(tmp_path / sample / "standard.jsonl", FULL) for sample in ("one", "two")]
    result, output = run(tmp_path, *paths)
    assert result.exit_code == 0, result.output
    report = json.loads((output / "report.json").read_text("utf8"))
    assert [Path(one["run"]).parts[-2:] for one in report["runs"]] == [("one", "standard"), ("two", "standard")]


def test_contradictions_are_told(tmp_path):
    paths = [
        write_annotations(tmp_path / "most.jsonl", FULL, list(TEXTS)[1:]),
        write_annotations(tmp_path / "first.jsonl", {**FULL, "ORG": ["London"], "LOC": []}, ["t0"]),
    ]
    result, _ = run(tmp_path, *paths, "--keep", "majority")
    assert result.exit_code == 0, result.output
    assert "1 surface forms have several labels" in squeeze(result.output)


@pytest.mark.parametrize(
    "arguments, match",
    [
        (["--keep", "best"], "keep must be 'primary', 'all' or 'majority', got 'best'."),
        (["--min-words", 500], "No text is left to train on, of 5."),
        (["--share", 2], "The share of runs must be in (0, 1]"),
    ],
)
def test_curate_refuses_with_a_reason(tmp_path, arguments, match):
    result, output = run(tmp_path, write_annotations(tmp_path / "standard.jsonl", FULL), *arguments)
    assert result.exit_code == 2
    assert match in squeeze(result.output)
    assert not output.exists()


def test_curate_refuses_an_empty_file(tmp_path):
    (tmp_path / "empty.jsonl").write_text("", encoding="utf8")
    result, _ = run(tmp_path, tmp_path / "empty.jsonl")
    assert result.exit_code == 2
    assert "has no annotations. Annotate some texts first." in squeeze(result.output)


def test_curate_refuses_gold_of_other_labels(tmp_path):
    doc = Doc(spacy.blank("en").vocab, words=["Rome", "fell"])
    doc.set_ents([Span(doc, 0, 1, label="GPE")])
    DocBin(docs=[doc]).to_disk(tmp_path / "gold.spacy")
    standard = write_annotations(tmp_path / "standard.jsonl", FULL)
    result, _ = run(tmp_path, standard, "--gold", tmp_path / "gold.spacy")
    assert result.exit_code == 2
    assert "has mentions of GPE, but the labels are LOC, ORG, PER." in squeeze(result.output)


def test_derive_gold_writes_what_curate_can_measure_against(tmp_path):
    mentions = [{"start": 0, "end": 12, "type": "mathematician", "broad": "person"}]
    marked = [{"id": id, "text": text, "mentions": mentions, "absent": []} for id, text in TEXTS.items()]
    (tmp_path / "marked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in marked), encoding="utf8")
    texts = [{"id": id, "text": text} for id, text in TEXTS.items()]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in texts), encoding="utf8")
    (tmp_path / "map.yml").write_text("{broad: {PER: [person]}, specific: {}, titles: []}", encoding="utf8")
    arguments = ["derive-gold", *(str(tmp_path / name) for name in ("marked.jsonl", "texts.jsonl", "map.yml"))]
    result = runner.invoke(app, [*arguments, str(tmp_path / "gold"), "--n-train", "1", "--n-dev", "2"])
    assert result.exit_code == 0, result.output
    assert "5 texts; mentions: PER 5." in squeeze(result.output)
    parts = {name: read_sources(tmp_path / "gold" / f"{name}.spacy") for name in ("gold", "train", "dev")}
    left = {json.loads(line)["id"] for line in (tmp_path / "gold" / "texts.jsonl").read_text("utf8").splitlines()}
    assert [len(part) for part in (*parts.values(), left)] == [5, 1, 2, 2]
    assert parts["train"] | parts["dev"] | left == parts["gold"] == set(TEXTS)
    standard = write_annotations(tmp_path / "standard.jsonl", FULL)
    result, output = run(tmp_path, standard, "--gold", tmp_path / "gold" / "gold.spacy")
    assert result.exit_code == 0, result.output
    scores = json.loads((output / "report.json").read_text("utf8"))["quality"][0]["scores"]
    assert scores["PER"]["f1"] == 1.0


def test_derive_gold_refuses_with_a_reason(tmp_path):
    for name in ("marked.jsonl", "texts.jsonl"):
        (tmp_path / name).write_text('{"id": "t1", "text": "x"}\n', encoding="utf8")
    (tmp_path / "map.yml").write_text("[]", encoding="utf8")
    arguments = ["derive-gold", *(str(tmp_path / name) for name in ("marked.jsonl", "texts.jsonl", "map.yml"))]
    result = runner.invoke(app, [*arguments, str(tmp_path / "gold.spacy")])
    assert result.exit_code == 2
    assert "map.yml is no label map" in squeeze(result.output)


def test_derive_gold_refuses_to_split_more_than_there_is(tmp_path):
    marked = {"id": "t1", "text": "It is Rome.", "absent": []}
    marked["mentions"] = [{"start": 6, "end": 10, "type": "city", "broad": "location"}]
    (tmp_path / "marked.jsonl").write_text(json.dumps(marked) + "\n", encoding="utf8")
    (tmp_path / "texts.jsonl").write_text('{"id": "t1", "text": "It is Rome."}\n', encoding="utf8")
    (tmp_path / "map.yml").write_text("{broad: {LOC: [location]}, specific: {}, titles: []}", encoding="utf8")
    arguments = ["derive-gold", *(str(tmp_path / name) for name in ("marked.jsonl", "texts.jsonl", "map.yml"))]
    result = runner.invoke(app, [*arguments, str(tmp_path / "gold"), "--n-train", "1", "--n-dev", "1"])
    assert result.exit_code == 2
    assert "Asked for 1 texts to train on and 1 for dev, but 1 have gold." in squeeze(result.output)


def read_sources(path):
    return {doc.user_data["source"] for doc in DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)}
