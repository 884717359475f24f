"""The search for one threshold a label, on a student whose scores are known."""

from __future__ import annotations

import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Model

from spacy_uniner.passages import Mention
from spacy_uniner.pipeline import UniversalNER
from spacy_uniner.students import StudentOutput
from spacy_uniner.thresholds import search_thresholds

# word -> (type, score): cities score high, right or wrong; people score low and are right
SCORES = {"Rome": ("city", 0.9), "Oslo": ("city", 0.8), "Monday": ("city", 0.6), "Ada": ("person", 0.3)}


def forward(model, passages, is_train):
    found = [
        tuple(
            Mention(i, i + 1, *SCORES[word])
            for i, word in enumerate(passage.words)
            if word in SCORES and SCORES[word][1] > model.attrs["floor"]
        )
        for passage in passages
    ]
    return StudentOutput(mentions=found), lambda _: passages


@pytest.fixture
def nlp():
    nlp = spacy.blank("en")
    model = Model("fake", forward, attrs={"floor": 0.5, "dropout_rate": 0.0})
    component = UniversalNER(nlp.vocab, model, labels=["city", "person", "dish"], threshold=0.5)
    return nlp, component


def make_example(vocab, words, spans):
    reference = Doc(vocab, words=words)
    reference.set_ents([Span(reference, start, start + 1, label=label) for start, label in spans], default="outside")
    return Example(Doc(vocab, words=words), reference)


def test_each_label_gets_the_threshold_that_finds_its_mentions(nlp):
    nlp, component = nlp
    examples = [
        make_example(nlp.vocab, ["Ada", "left", "Rome", "on", "Monday"], [(0, "person"), (2, "city")]),
        make_example(nlp.vocab, ["Oslo", "on", "Monday"], [(0, "city")]),
    ]
    scores = {score.label: score for score in search_thresholds(component, examples)}
    assert 0.6 < scores["city"].threshold <= 0.8
    assert scores["person"].threshold <= 0.3
    assert (scores["city"].f1, scores["person"].f1) == (1.0, 1.0)
    assert (scores["city"].n_gold, scores["person"].n_gold, scores["dish"].n_gold) == (2, 1, 0)


def test_a_label_without_gold_keeps_the_threshold_of_the_component(nlp):
    nlp, component = nlp
    examples = [make_example(nlp.vocab, ["Rome"], [(0, "city")])]
    assert {s.label: s.threshold for s in search_thresholds(component, examples)} == {
        "city": 0.5,
        "person": 0.5,
        "dish": 0.5,
    }


def test_without_labels_or_examples_there_is_nothing_to_search(nlp):
    nlp, component = nlp
    with pytest.raises(ValueError, match="got 3 and 0"):
        search_thresholds(component, [])
    component.labels = []
    with pytest.raises(ValueError, match="got 0 and 1"):
        search_thresholds(component, [make_example(nlp.vocab, ["Rome"], [])])


@pytest.mark.parametrize("settings", [{"step": 0.0}, {"step": 1.0}, {"n_rounds": 0}])
def test_settings_out_of_their_range_are_an_error(nlp, settings):
    nlp, component = nlp
    with pytest.raises(ValueError, match="0 < step < 1"):
        search_thresholds(component, [make_example(nlp.vocab, ["Rome"], [])], **settings)
