"""The commands that make distillation data, and the one that tunes."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from spacy_uniner.cli import app
from spacy_uniner.passages import Mention, Passage, read_passages, write_passages
from spacy_uniner.recipe.conversations import read_conversations
from spacy_uniner.recipe.texts import Text, read_texts, write_texts

runner = CliRunner()


def run(*arguments) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def refuse(*arguments) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "500"})
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def test_sample_cuts_and_draws(tmp_path):
    texts = [Text(f"t{n}", f"The first of {n}. The second part of number {n} is here.", "news") for n in range(6)]
    write_texts([*texts, Text("again", texts[0].text)], tmp_path / "texts.jsonl")
    output = tmp_path / "out" / "sample.jsonl"
    said = run("distill", "sample", tmp_path / "texts.jsonl", "--output", output, "--n-passages", 5, "--max-tokens", 9)
    assert "5 passages, of 14 that 7 texts were cut to; 2 near-duplicates left out" in said
    assert len(list(read_texts(output))) == 5


def test_sample_names_a_bad_file(tmp_path):
    (tmp_path / "texts.jsonl").write_text("no\n", encoding="utf8")
    said = refuse("distill", "sample", tmp_path / "texts.jsonl", "--output", tmp_path / "sample.jsonl")
    assert "line 1: not a text" in said


def test_build_writes_passages_conversations_report_and_picture(tiny_corpus, tmp_path):
    output = tmp_path / "out"
    said = run(
        *("distill", "build", tiny_corpus.passages, "--output", output, "--names", tiny_corpus.names),
        *("--negatives", "hard", "--n-negatives", 2, "--duplicate", 1.0),
    )
    report = json.loads((output / "report.json").read_text(encoding="utf8"))
    assert report["recipe"]["negatives"] == "hard"
    assert report["passages"]["read"] == 26
    assert "head: top 1 %" in said
    train = list(read_passages(output / "passages.jsonl"))
    assert len(train) == report["passages"]["to tune with"] == len(read_conversations(output / "conversations.json"))
    assert len(list(read_passages(output / "held_out.jsonl"))) == report["passages"]["held out"]
    assert (output / "frequencies.png").is_file()


@pytest.mark.parametrize(
    "option, value, reason",
    [
        ("--negatives", "some", "'some' is none of none, uniform, frequency, hard"),
        ("--form", "poem", "'poem' is none of one-by-one, all-in-one, tagging"),
        ("--one-in", "-1", "A recipe needs"),
    ],
)
def test_build_refuses_what_is_no_recipe(tiny_corpus, tmp_path, option, value, reason):
    assert reason in refuse("distill", "build", tiny_corpus.passages, "--output", tmp_path / "out", option, value)


def test_mix_caps_and_names_supervised_sets(tiny_corpus, tmp_path):
    run("distill", "build", tiny_corpus.passages, "--output", tmp_path / "distilled", "--duplicate", 1.0)
    distilled = read_conversations(tmp_path / "distilled" / "conversations.json")
    passages = [Passage((f"w{n}",), ("city",), (Mention(0, 1, "city"),), source=str(n)) for n in range(9)]
    write_passages(passages, tmp_path / "news.jsonl")
    run(
        *("distill", "mix", f"news={tmp_path / 'news.jsonl'}", "--cap", 4, "--output", tmp_path / "mixed.json"),
        *("--distilled", tmp_path / "distilled" / "conversations.json"),
    )
    mixed = read_conversations(tmp_path / "mixed.json")
    assert mixed[: len(distilled)] == distilled
    assert [c.turns[0].text[:20] for c in mixed[len(distilled) :]] == ["Dataset: news \n Text"] * 4


@pytest.mark.parametrize("sets, reason", [(["news"], "not of the form NAME=FILE"), (["a=x", "a=y"], "given twice")])
def test_mix_refuses_sets_without_a_name_of_their_own(tmp_path, sets, reason):
    assert reason in refuse("distill", "mix", *sets, "--output", tmp_path / "mixed.json")


def test_sample_refuses_ids_that_stand_twice(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text('{"id": "1", "text": "It is here."}\n', encoding="utf8")
    found = refuse("distill", "sample", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--output", tmp_path / "out.jsonl")
    assert "1 ids stand twice, such as '1'. Give each text its own." in found


def test_tune_names_the_extra_that_it_needs(tmp_path, monkeypatch):
    (tmp_path / "c.json").write_text("[]", encoding="utf8")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "spacy_uniner.tuning.run", raising=False)
    found = refuse("tune", tmp_path / "c.json", "--model", "none", "--output", tmp_path / "out")
    assert "Install it with: pip install spacy-uniner[generator]" in found


def test_tune_refuses_what_it_does_not_know(tmp_path):
    (tmp_path / "c.json").write_text("[]", encoding="utf8")
    arguments = ("tune", tmp_path / "c.json", "--model", "none", "--output", tmp_path / "out")
    assert "'all' is none of answers, released" in refuse(*arguments, "--learned", "all")
    assert "epochs over 0" in refuse(*arguments, "--epochs", "0")
    (tmp_path / "empty").mkdir()
    arguments = ("tune", tmp_path / "c.json", "--model", tmp_path / "empty", "--output", tmp_path / "out")
    assert "config.json and tokenizer.json not found. Give the folder of a model." in refuse(*arguments)
