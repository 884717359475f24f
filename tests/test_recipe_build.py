"""From a teacher's passages to conversations: what is left out is counted, what is held out stays out."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import spacy

from spacy_uniner.hierarchy import Hierarchy, read_hierarchy
from spacy_uniner.passages import Mention, Passage, write_passages
from spacy_uniner.recipe.build import Recipe, distill
from spacy_uniner.recipe.conversations import read_back
from spacy_uniner.recipe.sources import Source, read_source

TYPES = ("city", "river", "writer", "play", "year", "ship", "planet")


def make_passages(n_passages: int) -> list[Passage]:
    """Make passages of one word each for two types of seven, in turn."""
    passages = []
    for n in range(n_passages):
        types = (TYPES[n % 7], TYPES[(n + 1) % 7])
        words = (f"alpha{n}", "and", f"beta{n}", "met", f"gamma{n}")
        passages.append(Passage(words, types, (Mention(0, 1, types[0]), Mention(2, 3, types[1])), source=f"p{n}"))
    return passages


def build(passages, **settings):
    return distill(Source(passages, len(passages)), Hierarchy(), Recipe(**settings))


def test_each_passage_is_asked_for_its_types_and_so_many_it_has_not():
    made = build(make_passages(40), n_negatives=3, one_in=0)
    for passage in made.train:
        assert len(passage.types) == 5
        assert len({mention.type for mention in passage.mentions}) == 2
    assert made.report["conversations"] == {"made": 40, "types asked": 200, "of them negatives": 120}
    assert [read_back(conversation)[0].types for conversation in made.conversations] == [p.types for p in made.train]


def test_what_is_left_out_is_counted():
    passages = make_passages(10)
    passages += [
        Passage(passages[0].words, ("city",), (Mention(0, 1, "city"),), source="twin"),
        Passage(("nothing", "is", "in", "here"), ("city",), source="empty"),
        Passage(
            ("x", "y", "z", "Рим"), ("misc", "town"), (Mention(0, 1, "misc"), Mention(3, 4, "town")), source="lost"
        ),
    ]
    source = Source(passages, 15, Counter({"not parseable": 2, "not in the text": 1}))
    report = distill(source, Hierarchy(), Recipe(one_in=0)).report
    assert report["replies"] == {"not in the text": 1, "not parseable": 2}
    assert report["passages"] == {
        "read": 15,
        "could not be read": 2,
        "near-duplicates": 1,
        "without a mention": 2,
        "kept": 10,
        "to tune with": 10,
        "held out": 0,
    }
    assert report["mentions"] == {"read": 23, "left out, ELSE type": 1, "left out, not English": 1, "kept": 20}
    assert report["types"] == {"kept": 7, "in held-out passages only": 0}
    json.dumps(report)


def test_held_out_passages_and_their_types_are_not_in_training():
    passages = make_passages(200)
    made = build(passages, one_in=5, negatives="none")
    held_out = {passage.source for passage in made.held_out}
    assert 20 < len(held_out) < 60
    alone = min(held_out)
    secret = [
        Passage(p.words, ("secret",), (Mention(0, 1, "secret"),), source=p.source) if p.source == alone else p
        for p in passages
    ]
    hierarchy = Hierarchy(same={"city": ("secret",)})
    made = distill(Source(secret, 200), hierarchy, Recipe(one_in=5, n_negatives=7, other_names=1.0))
    assert made.report["types"]["in held-out passages only"] == 1
    assert {passage.source for passage in made.held_out} == held_out
    assert not any("secret" in passage.types for passage in made.train)


def test_other_names_are_asked_in_place_of_types():
    hierarchy = Hierarchy(same={"city": ("town",)})
    made = distill(Source(make_passages(40), 40), hierarchy, Recipe(other_names=1.0, one_in=0))
    asked = Counter(type_ for passage in made.train for type_ in passage.types)
    assert asked["town"] > 0
    assert asked["city"] == 0


def test_a_recipe_gives_the_same_again():
    assert build(make_passages(40), n_negatives=2) == build(make_passages(40), n_negatives=2)
    assert build(make_passages(40), n_negatives=2).train != build(make_passages(40), n_negatives=2, seed=1).train


@pytest.mark.parametrize("setting", [{"max_type_words": 0}, {"one_in": -1}, {"other_names": 1.5}])
def test_a_recipe_out_of_its_range_is_refused(setting):
    with pytest.raises(ValueError, match=r"max_type_words >= 1, one_in >= 0 and other_names in \[0, 1\], got"):
        Recipe(**setting)


# What a teacher gave


def test_all_forms_of_a_teacher_are_read(tmp_path, tiny_corpus):
    nlp = spacy.blank("en")
    passages = make_passages(3)
    write_passages(passages, tmp_path / "passages.jsonl")
    assert read_source(tmp_path / "passages.jsonl", nlp) == Source(passages, 3)
    marked = read_source(tiny_corpus.passages, nlp)
    assert marked.n_read == len(marked.passages) == 26
    assert read_hierarchy(tiny_corpus.names, marked.passages).same["city"] == ("town", "municipality")


def annotate(number: int, style: str, reply: str) -> str:
    text = "Karel Čapek wrote R.U.R. in Prague."
    record = {"id": f"a{number}", "text": text, "style": style, "reply": reply, "model": "fake"}
    return json.dumps(record) + "\n"


def test_replies_become_passages_or_a_counted_reason(tmp_path):
    path = tmp_path / "annotations.jsonl"
    lines = [
        annotate(0, "type", '[("Karel Čapek", "writer"), ("R.U.R.", "play"), ("Brno", "city")]'),
        annotate(1, "type", "I cannot help with that, sorry"),
    ]
    path.write_text("".join(lines), encoding="utf8")
    source = read_source(path, spacy.blank("en"))
    assert source.n_read == 2
    assert source.losses == {"not in the text": 1, "not parseable": 1}
    (passage,) = source.passages
    assert passage.mentions == (Mention(0, 2, "writer"), Mention(3, 4, "play"))


def test_definitions_are_types_like_others(tmp_path):
    path = tmp_path / "annotations.jsonl"
    definition = "A person who writes novels, plays or other texts as a profession."
    path.write_text(
        annotate(0, "definition", json.dumps([["Karel Čapek", definition]], ensure_ascii=False)), encoding="utf8"
    )
    made = distill(read_source(path, spacy.blank("en")), Hierarchy(), Recipe(one_in=0))
    assert made.conversations[0].turns[2].text == f"What describes {definition} in the text?"


@pytest.mark.parametrize(
    "line, reason", [('{"id": 1}', "fields id. Expected"), ("[]", "fields none"), ("no", "not JSON")]
)
def test_a_file_of_no_known_form_is_named(tmp_path, line, reason):
    (tmp_path / "what.jsonl").write_text(line + "\n", encoding="utf8")
    with pytest.raises(ValueError, match=rf"what\.jsonl, line 1: {reason}"):
        read_source(tmp_path / "what.jsonl", spacy.blank("en"))
