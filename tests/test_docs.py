"""Passages to Examples and back: nothing is lost but what does not align, and that is counted."""

from __future__ import annotations

import numpy
import pytest
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_uniner.docs import (
    doc_to_passage,
    entity_score,
    example_to_passage,
    passage_to_example,
    register_extensions,
)
from spacy_uniner.passages import Mention, Passage

PASSAGE = Passage(
    words=("Sally", "Ride", "met", "NASA", "'s", "crew"),
    types=("person", "organization", "group", "place"),
    mentions=(
        Mention(0, 2, "person"),
        Mention(3, 6, "group"),
        Mention(3, 4, "organization"),
        Mention(1, 4, "group"),
        Mention(3, 4, "group"),
    ),
    unknown=(Mention(5, 6, "person"),),
)


@pytest.fixture
def vocab() -> Vocab:
    register_extensions()
    return Vocab()


def bare(spans) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label_) for span in spans]


def make_example(vocab, predicted: list[str], reference: list[str]) -> Example:
    """Make an Example of one text in two tokenizations, without annotations; there is no space between words."""
    return Example(
        Doc(vocab, words=predicted, spaces=[False] * len(predicted)),
        Doc(vocab, words=reference, spaces=[False] * len(reference)),
    )


def same(label: str) -> str:
    return label


# To spaCy


def test_doc_becomes_a_passage_of_its_words(vocab):
    doc = Doc(vocab, words=["Sally", " ", "Ride"], spaces=[True, False, True])
    assert doc_to_passage(doc, ["person", "city"]) == Passage(("Sally", " ", "Ride"), ("person", "city"))
    assert doc_to_passage(Doc(vocab), []) == Passage(())


def test_all_mentions_stand_in_the_span_group(vocab):
    reference = passage_to_example(PASSAGE, vocab).reference
    assert bare(reference.spans["universal_ner"]) == [(m.start, m.end, m.type) for m in PASSAGE.mentions]
    assert bare(reference.spans["universal_ner_unknown"]) == [(5, 6, "person")]


def test_entities_are_the_mentions_that_do_not_overlap_the_longer_first(vocab):
    reference = passage_to_example(PASSAGE, vocab).reference
    assert bare(reference.ents) == [(0, 2, "person"), (3, 6, "group")]
    assert [token.ent_iob_ for token in reference] == ["B", "I", "O", "B", "I", "I"]


def test_prediction_starts_without_annotations(vocab):
    predicted = passage_to_example(PASSAGE, vocab).predicted
    assert [token.text for token in predicted] == list(PASSAGE.words)
    assert bare(predicted.ents) == []
    assert "universal_ner" not in predicted.spans


def test_both_docs_carry_the_types_asked(vocab):
    example = passage_to_example(PASSAGE, vocab)
    assert example.predicted._.entity_types == list(PASSAGE.types)
    assert example.reference._.entity_types == list(PASSAGE.types)


# From spaCy


@pytest.mark.parametrize("spans_key", ["universal_ner", "sc"])
def test_passage_comes_back_from_its_example(vocab, spans_key):
    example = passage_to_example(PASSAGE, vocab, spans_key)
    assert example_to_passage(example, PASSAGE.types, same, spans_key) == (PASSAGE, 0)


def test_empty_passage_comes_back_from_its_example(vocab):
    example = passage_to_example(Passage(()), vocab)
    assert example_to_passage(example, (), same, "universal_ner") == (Passage(()), 0)


def test_gold_are_the_entities_where_the_group_is_missing(vocab):
    example = make_example(vocab, ["Sally", "met"], ["Sally", "met"])
    example.reference.ents = [Span(example.reference, 0, 1, label="PERSON")]
    passage, _ = example_to_passage(example, ["PERSON"], same, "universal_ner")
    assert passage.mentions == (Mention(0, 1, "PERSON"),)
    example.reference.spans["universal_ner"] = []
    passage, _ = example_to_passage(example, ["PERSON"], same, "universal_ner")
    assert passage.mentions == ()  # an empty group says that nothing is there


def test_labels_are_asked_by_what_the_student_reads(vocab):
    example = make_example(vocab, ["Sally", "met"], ["Sally", "met"])
    example.reference.ents = [Span(example.reference, 0, 1, label="PER"), Span(example.reference, 1, 2, label="MISC")]
    texts = {"PER": "name of a person"}
    passage, n_misaligned = example_to_passage(
        example, tuple(texts.values()), lambda label: texts.get(label, label), "universal_ner"
    )
    assert passage.mentions == (Mention(0, 1, "name of a person"),)  # MISC is not asked
    assert n_misaligned == 0


def test_gold_is_given_in_the_words_of_the_prediction(vocab):
    example = make_example(vocab, ["New", "York", "-", "based"], ["NewYork", "-based"])
    example.reference.ents = [Span(example.reference, 0, 1, label="city")]
    passage, n_misaligned = example_to_passage(example, ["city"], same, "universal_ner")
    assert passage == Passage(("New", "York", "-", "based"), ("city",), (Mention(0, 2, "city"),))
    assert n_misaligned == 0


def test_gold_that_falls_inside_a_word_is_counted(vocab):
    example = make_example(vocab, ["NewYork", "-", "based", "firm"], ["New", "York", "-based", "firm"])
    example.reference.spans["universal_ner"] = [
        Span(example.reference, 0, 1, label="city"),
        Span(example.reference, 1, 3, label="city"),
        Span(example.reference, 0, 1, label="not asked"),
        Span(example.reference, 3, 4, label="company"),
    ]
    example.reference.spans["universal_ner_unknown"] = [
        Span(example.reference, 0, 1, label="company"),
        Span(example.reference, 0, 2, label="company"),
    ]
    passage, n_misaligned = example_to_passage(example, ["city", "company"], same, "universal_ner")
    assert n_misaligned == 2
    assert passage.mentions == (Mention(3, 4, "company"),)
    assert passage.unknown == (Mention(0, 1, "company"),)


# Scores


def test_two_labels_on_one_span_keep_their_own_scores(vocab):
    doc = Doc(vocab, words=["Sally", "Ride"])
    spans = [Span(doc, 0, 2, label="person"), Span(doc, 0, 2, label="astronaut"), Span(doc, 0, 1, label="person")]
    doc.spans["sc"] = SpanGroup(doc, spans=spans, attrs={"scores": numpy.array([0.5, 0.25, 0.75], dtype="float32")})
    assert [span._.entity_score for span in spans] == [0.5, 0.25, 0.75]
    assert entity_score(Span(doc, 0, 2, label="astronaut")) == 0.25
    assert type(entity_score(spans[0])) is float


def test_span_without_a_score_has_none(vocab):
    doc = Doc(vocab, words=["Sally", "Ride"])
    doc.spans["other"] = [Span(doc, 0, 2, label="person")]  # a group without scores
    assert entity_score(Span(doc, 0, 2, label="person")) is None
    assert entity_score(Span(doc, 0, 1, label="person")) is None


def test_extensions_may_be_registered_again(vocab):
    doc = Doc(vocab, words=["Sally"])
    doc._.entity_types = ["person"]
    register_extensions()
    assert doc._.entity_types == ["person"]
    assert Doc(vocab)._.entity_types is None
