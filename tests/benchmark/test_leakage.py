"""Sentences that a benchmark shares with a corpus."""

from __future__ import annotations

import json

import pytest

from spacy_uniner.benchmark.leakage import find_leakage, read_corpus_runs, runs_of_words
from spacy_uniner.passages import Passage


def test_runs_are_without_case_and_punctuation():
    assert list(runs_of_words("The cat, the Dog!", 3)) == ["the cat the", "cat the dog"]
    assert list(runs_of_words("too short", 3)) == []


def test_sentences_that_share_a_run_are_counted_once(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in ("a b c d e", "x y z")), encoding="utf8")
    runs = read_corpus_runs(path, 3)
    assert runs == {"a b c", "b c d", "c d e", "x y z"}
    texts = ("A b , c d", "q b c", "b c", "d e f X Y Z")
    leakage = find_leakage("some", [Passage(tuple(text.split())) for text in texts], runs, 3)
    assert (leakage.n_sentences, leakage.n_shared, leakage.examples) == (3, 2, ("a b c", "x y z"))


@pytest.mark.parametrize("line", [b'{"text": "a', b"[1]", b'{"id": 1}', b'{"text": 5}', b'{"text": "caf\xe9"}'])
def test_line_of_another_form_is_named(tmp_path, line):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(b'{"text": "a b c"}\n' + line + b"\n")
    with pytest.raises(ValueError, match=r'corpus.jsonl, line 2: expected JSON with a field "text"'):
        read_corpus_runs(path, 2)
