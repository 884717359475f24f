"""Texts for a teacher: read, cut at the ends of sentences, sampled by source."""

from __future__ import annotations

import json

import pytest
from conftest import make_tokenizer_json
from hypothesis import given
from hypothesis import strategies as st

from spacy_uniner.recipe.texts import (
    Text,
    count_tokens,
    cut_text,
    make_piece_counter,
    read_texts,
    sample_texts,
    write_texts,
)


def count_words(words):
    return [1] * len(words)


def cut(text: str, max_units: int) -> list[str]:
    return [passage.text for passage in cut_text(Text("a", text), max_units, count_words)]


# Reading


def test_texts_come_back_as_they_were_written(tmp_path):
    texts = [Text("a", "Čapek wrote.\nIt rained.", "plays"), Text("b", "x")]
    assert write_texts(texts, tmp_path / "texts.jsonl") == 2
    assert list(read_texts(tmp_path / "texts.jsonl")) == texts


def test_a_text_without_an_id_is_named_by_its_line(tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n', encoding="utf8")
    assert [text.id for text in read_texts(tmp_path / "texts.jsonl")] == ["texts:1", "texts:3"]


@pytest.mark.parametrize("line", ["no json", '["a"]', '{"id": "a"}', '{"text": 3}', '{"text": " "}', '{"text": null}'])
def test_a_line_that_is_no_text_is_named(tmp_path, line):
    (tmp_path / "texts.jsonl").write_text('{"text": "one"}\n' + line + "\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"texts\.jsonl, line 2: not a text .*Expected JSON with \"text\""):
        list(read_texts(tmp_path / "texts.jsonl"))


def test_a_text_needs_an_id_and_characters():
    with pytest.raises(ValueError, match=r"needs an id and characters, got id 'a' and text ' '"):
        Text("a", " ")


# Cutting


def test_a_passage_ends_with_the_last_sentence_that_fits():
    text = 'It rained. "Go home!" he said. We did, and then it stopped at once'
    assert cut(text, 8) == ['It rained. "Go home!" he said.', "We did, and then it stopped at once"]


def test_a_passage_ends_with_a_word_where_no_sentence_ends_in_its_second_half():
    assert cut("It rained. we walked on and on and on", 6) == ["It rained. we walked on and", "on and on"]


def test_a_paragraph_ends_a_passage():
    assert cut("The weather today\nIt rained on and on", 5) == ["The weather today", "It rained on and on"]


def test_a_text_that_fits_stays_whole_and_keeps_its_name():
    text = Text("a", "It rained.\n  It stopped.", "weather")
    assert cut_text(text, 256) == [text]


def test_parts_are_numbered_and_keep_their_source():
    parts = cut_text(Text("a", "one two three", "numbers"), 2, count_words)
    assert parts == [Text("a.0", "one two", "numbers"), Text("a.1", "three", "numbers")]


@given(st.text(st.sampled_from("ab.!\n "), min_size=1).filter(str.strip), st.integers(1, 6))
def test_parts_together_have_all_words_and_none_is_too_long(text, max_units):
    parts = cut(text, max_units)
    assert [word for part in parts for word in part.split()] == text.split()
    assert all(len(part.split()) <= max_units for part in parts)


def test_tokens_are_those_of_spacy():
    assert count_tokens(["don't ", "(U.S.) ", "end.\n"]) == [2, 3, 2]


def test_pieces_are_those_of_the_tokenizer(tmp_path):
    (tmp_path / "tokenizer.json").write_text(make_tokenizer_json(), encoding="utf8")
    assert make_piece_counter(tmp_path / "tokenizer.json")(["paris ", "cab\n"]) == [1, 3]


def test_a_tokenizer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No tokenizer at .*none\.json"):
        make_piece_counter(tmp_path / "none.json")


def test_a_passage_must_have_room():
    with pytest.raises(ValueError, match=r"room for 1 token or more, got 0"):
        cut("one", 0)


# Sampling


def make_texts(**n_by_source: int) -> list[Text]:
    return [Text(f"{source}{n}", "x", source) for source, n_texts in n_by_source.items() for n in range(n_texts)]


def test_each_source_gives_in_proportion():
    texts = make_texts(news=60, law=30, code=10)
    drawn = sample_texts(texts, 20, seed=0)
    counts = {source: sum(text.source == source for text in drawn) for source in ("news", "law", "code")}
    assert counts == {"news": 12, "law": 6, "code": 2}
    assert drawn == [text for text in texts if text in drawn]


def test_shares_are_rounded_by_the_largest_remainder():
    drawn = sample_texts(make_texts(a=5, b=3, c=2), 4, seed=0)  # 2.0, 1.2 and 0.8
    assert [text.source for text in drawn] == ["a", "a", "b", "c"]


def test_samples_hang_on_the_seed():
    texts = make_texts(a=100)
    assert sample_texts(texts, 10, seed=0) == sample_texts(texts, 10, seed=0)
    assert sample_texts(texts, 10, seed=0) != sample_texts(texts, 10, seed=1)


def test_a_sample_of_more_than_there_is_is_all():
    texts = make_texts(a=3)
    assert sample_texts(texts, 5, seed=0) == texts


def test_a_negative_sample_is_refused():
    with pytest.raises(ValueError, match=r"must be 0 or more, got -1"):
        sample_texts(make_texts(a=3), -1, seed=0)


def test_lines_are_plain_json(tmp_path):
    write_texts([Text("a", "Čapek")], tmp_path / "texts.jsonl")
    line = (tmp_path / "texts.jsonl").read_text(encoding="utf8")
    assert "Čapek" in line
    assert json.loads(line) == {"id": "a", "text": "Čapek", "source": ""}
