"""A batch with many settings finds just what `nlp(text)` finds with each of them."""

from __future__ import annotations

import random

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import make_nlp
from spacy.language import Language

from spacy_uniner.service.finding import Finder, Question

TEXTS = (
    "Alan Bean flew from Paris to the moon .",
    "Sally met Alan in Rome .",
    "The crew of Sally Ride landed near Rome",
    "It was the mission to the moon .",
    "  Rome,\n\n Paris —\tSally Ride 🚀 met Alan Bean. ",
    "",
    " ",
    "Sally " * 90,  # several windows
)
TYPES = (
    {"city": "city", "person": "person"},
    {"person": "person", "astronaut": "astronaut", "city": "city"},
    {"PER": "person", "GPE": "city", "person": "astronaut"},  # a label that is another's description
    {"city": "astronaut"},
)
THRESHOLDS = (0.0, 0.05, 0.3, 0.5, 0.9, 1.0, "by label")

questions = st.builds(
    lambda text, types, threshold, overlap: Question(
        text, types, dict.fromkeys(list(types)[:1], 0.6) if threshold == "by label" else threshold, overlap
    ),
    st.sampled_from(TEXTS),
    st.sampled_from(TYPES),
    st.sampled_from(THRESHOLDS),
    st.sampled_from(["flat", "nested", "any"]),
)


def find_alone(nlp: Language, question: Question) -> list[tuple[int, int, str, str, float]]:
    """Find by the component itself, set up for this question only."""
    ner = nlp.get_pipe("universal_ner")
    ner.cfg.update(threshold=question.threshold, overlap=question.overlap)
    doc = nlp(question.text, component_cfg={"universal_ner": {"labels": question.types}})
    group = doc.spans["universal_ner"]
    return [
        (span.start_char, span.end_char, span.text, span.label_, pytest.approx(float(score), abs=1e-5))
        for span, score in zip(group, group.attrs["scores"])
    ]


def as_tuples(entities):
    return [(entity.start, entity.end, entity.text, entity.label, entity.score) for entity in entities]


@pytest.fixture(scope="module")
def alone(hesitant_folder):
    return make_nlp(hesitant_folder)


@pytest.fixture(scope="module")
def together(hesitant_folder):
    return make_nlp(hesitant_folder)


@settings(max_examples=60, deadline=None)
@given(batch=st.lists(questions, max_size=6))
def test_any_mix_finds_what_each_text_alone_would(together, alone, batch):
    found = Finder(together)(batch)
    assert [as_tuples(of_one) for of_one in found] == [find_alone(alone, question) for question in batch]


def test_the_mix_tests_what_it_should(alone):
    """Thresholds and overlap make a difference to these texts, so that mixing them up would be seen."""

    def count(text, threshold, overlap):
        return len(find_alone(alone, Question(text, TYPES[1], threshold, overlap)))

    for text in (TEXTS[0], TEXTS[1], TEXTS[4]):
        assert count(text, 0.0, "any") > count(text, 0.05, "any")
        assert count(text, 0.0, "any") > count(text, 0.0, "nested") > count(text, 0.0, "flat")


def test_components_before_change_the_words_and_those_behind_do_not_run(tiny_folder):
    nlp = make_nlp(tiny_folder)
    ran = []
    Language.component("service_test_behind", func=lambda doc: ran.append(doc) or doc)
    nlp.add_pipe("service_test_behind")
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "X", "pattern": "from Paris"}])
    nlp.add_pipe("merge_entities", after="entity_ruler")
    (found,) = Finder(nlp)([Question(TEXTS[0], TYPES[0], 0.0, "any")])
    starts = {entity.start for entity in found}
    assert TEXTS[0].index("from") in starts
    assert TEXTS[0].index("Paris") not in starts  # it is one word with "from" now
    assert ran == []


def test_words_are_forgotten_after_a_batch(tiny_folder):
    nlp = make_nlp(tiny_folder)
    finder = Finder(nlp)
    finder([Question("Rome", TYPES[0], 0.3, "flat")])
    before = len(nlp.vocab.strings), sum(1 for _ in nlp.vocab)  # len(nlp.vocab) only counts up
    numbers = random.Random(0)
    for _ in range(20):
        text = " ".join(f"w{numbers.randrange(10**9)}" for _ in range(20))
        finder([Question(text, {f"type {numbers.randrange(10**9)}": "city"}, 0.0, "any")])
    assert (len(nlp.vocab.strings), sum(1 for _ in nlp.vocab)) == before


def test_a_pipeline_without_the_component_is_refused():
    with pytest.raises(ValueError, match="no universal_ner named 'universal_ner', only: nothing"):
        Finder(spacy.blank("en"))
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer", name="universal_ner")
    with pytest.raises(ValueError, match="only: universal_ner"):
        Finder(nlp)
