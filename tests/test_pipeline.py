"""The component with a student that knows a few phrases, so that all it does with what is found can be told exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import spacy
from confection import ConfigValidationError
from spacy import registry
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.training import Example
from thinc.api import Model

from spacy_uniner.passages import Mention, Passage
from spacy_uniner.pipeline import UniversalNER
from spacy_uniner.pipeline.settings import check_labels, check_threshold
from spacy_uniner.students import StudentOutput

# What the student knows: a phrase's types as people say them, or by description, each with its score.
KNOWN = {
    "Paris": {"city": 0.9, "place": 0.7, "a big town": 0.8},
    "Alan Bean": {"person": 0.9, "astronaut": 0.6, "one who flew to space": 0.75},
    "Bean": {"food": 0.4},
    "University of Paris": {"school": 0.6, "place": 0.3},
    "New York Times": {"newspaper": 0.8},
    "York": {"city": 0.5},
    "Georgia": {"person": 0.7, "place": 0.9},
}
IMPLIED = {("astronaut", "person"), ("city", "place"), ("school", "place")}
TEXT = "Alan Bean left the University of Paris"


def forward(
    model: Model[list[Passage], StudentOutput], passages: list[Passage], is_train: bool
) -> tuple[StudentOutput, Callable[[Any], list[Passage]]]:
    """Find the known phrases; take note of the passages; choke on the word "boom"."""
    model.attrs["read"].append(passages)
    if any("boom" in passage.words for passage in passages):
        raise ArithmeticError("boom")
    found = [
        tuple(sorted(find(passage, model.attrs["floor"]), key=lambda m: (m.start, m.end, m.type)))
        for passage in passages
    ]
    asked = {type_ for passage in passages for type_ in passage.types}
    implied = frozenset(pair for pair in IMPLIED if asked.issuperset(pair))
    return StudentOutput(mentions=found, implied=implied), lambda _: passages


def find(passage: Passage, floor: float) -> list[Mention]:
    """Find the known phrases in a passage."""
    phrases = [(phrase.split(), scores) for phrase, scores in KNOWN.items()]
    return [
        Mention(start, start + len(phrase), type_, score)
        for start in range(len(passage.words))
        for phrase, scores in phrases
        for type_, score in scores.items()
        if list(passage.words[start : start + len(phrase)]) == phrase and type_ in passage.types and score > floor
    ]


@registry.architectures("tests.Fake.v1")
def make_fake() -> Model[list[Passage], StudentOutput]:
    """Make a student that knows a few phrases; `attrs["read"]` holds the batches that it was given."""
    return Model("fake", forward, attrs={"floor": 0.5, "dropout_rate": 0.0, "read": []})


def make_nlp(**settings: Any) -> Language:
    """Make a pipeline with a component that knows a few phrases."""
    nlp = spacy.blank("en")
    nlp.add_pipe("universal_ner", config={"model": {"@architectures": "tests.Fake.v1"}, "threshold": 0.5, **settings})
    return nlp


def make_doc(nlp: Language, text: str, types: Any = None) -> Doc:
    """Make a Doc of words separated by spaces, with types of its own if need be."""
    doc = Doc(nlp.vocab, words=text.split())
    doc._.entity_types = types
    return doc


def ents_of(doc: Doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


def spans_of(doc: Doc, key: str = "universal_ner") -> list[tuple[str, str]]:
    return [(span.text, span.label_) for span in doc.spans[key]]


def types_read(nlp: Language) -> list[tuple[str, ...]]:
    """List what the student was asked, passage by passage."""
    return [passage.types for batch in nlp.get_pipe("universal_ner").model.attrs["read"] for passage in batch]


# Types at run time


@pytest.mark.parametrize(
    "labels, ents",
    [
        (["person", "city"], [("Alan Bean", "person"), ("Paris", "city")]),
        ({"CITY": "city"}, [("Paris", "CITY")]),
        ({"GPE": "a big town", "person": "person"}, [("Alan Bean", "person"), ("Paris", "GPE")]),
        ({"city": "no such thing"}, []),  # the label itself is not read
        (["unheard-of type"], []),
        ([], []),
    ],
)
def test_types_are_given_in_every_way_with_the_same_result(labels, ents):
    configured, assigned, added, for_call, for_pipe, for_doc = (make_nlp() for _ in range(6))
    configured = make_nlp(labels=labels)
    assigned.get_pipe("universal_ner").labels = labels
    for label in labels:
        added.get_pipe("universal_ner").add_label(label, labels[label] if isinstance(labels, dict) else None)
    component_cfg = {"universal_ner": {"labels": labels}}
    docs = [
        configured(make_doc(configured, TEXT)),
        assigned(make_doc(assigned, TEXT)),
        added(make_doc(added, TEXT)),
        for_call(make_doc(for_call, TEXT), component_cfg=component_cfg),
        *for_pipe.pipe([make_doc(for_pipe, TEXT)], component_cfg=component_cfg),
        for_doc(make_doc(for_doc, TEXT, labels)),
    ]
    assert [ents_of(doc) for doc in docs] == [ents] * len(docs)


def test_description_is_what_the_student_reads():
    nlp = make_nlp(labels={"GPE": "a big town", "PER": "person"})
    nlp(make_doc(nlp, TEXT))
    assert types_read(nlp) == [("a big town", "person")]


def test_labels_keep_their_order_and_their_descriptions():
    component = make_nlp(labels={"b": "the second", "a": "the first"}).get_pipe("universal_ner")
    assert component.labels == ("b", "a")
    assert component.label_data == {"b": "the second", "a": "the first"}


def test_assigned_labels_replace_those_there():
    component = make_nlp(labels=["city"]).get_pipe("universal_ner")
    component.labels = {"PER": "person"}
    assert component.label_data == {"PER": "person"}
    component.labels = ("food", "place")
    assert component.labels == ("food", "place")


def test_adding_a_label_says_whether_it_is_new():
    component = make_nlp(labels={"GPE": "a big town"}).get_pipe("universal_ner")
    assert component.add_label("person") == 1
    assert component.add_label("SPACE", "one who flew to space") == 1
    assert component.add_label("GPE", "another description") == 0
    assert component.label_data == {"GPE": "a big town", "person": "person", "SPACE": "one who flew to space"}


def test_types_of_a_call_are_gone_after_it():
    nlp = make_nlp(labels=["person"])
    nlp(make_doc(nlp, TEXT), component_cfg={"universal_ner": {"labels": ["city"]}})
    assert nlp.get_pipe("universal_ner").labels == ("person",)
    assert ents_of(nlp(make_doc(nlp, TEXT))) == [("Alan Bean", "person")]


def test_settings_given_to_pipe_may_be_given_to_a_call_next():
    nlp = make_nlp()
    settings = {"universal_ner": {"labels": ["city"]}}
    list(nlp.pipe(["I saw Paris"], component_cfg=settings))  # spaCy writes the batch size into them
    assert ents_of(nlp("I saw Paris", component_cfg=settings)) == [("Paris", "city")]


def test_stream_may_mix_types_and_descriptions():
    nlp = make_nlp(labels=["person"])
    asked = [None, ["city"], {"person": "a big town"}, [], {"GPE": "a big town", "city": "person"}, None]
    docs = list(nlp.pipe(make_doc(nlp, TEXT, types) for types in asked))
    assert [ents_of(doc) for doc in docs] == [
        [("Alan Bean", "person")],
        [("Paris", "city")],
        [("Paris", "person")],  # the same label, otherwise described
        [],
        [("Alan Bean", "city"), ("Paris", "GPE")],
        [("Alan Bean", "person")],
    ]
    assert len(nlp.get_pipe("universal_ner").model.attrs["read"]) == 1, "The student was to read them as one batch."


def test_types_of_a_doc_go_before_those_of_the_call():
    nlp = make_nlp()
    doc = nlp(make_doc(nlp, TEXT, ["city"]), component_cfg={"universal_ner": {"labels": ["person"]}})
    assert ents_of(doc) == [("Paris", "city")]


def test_label_that_is_a_type_of_a_neighbour_keeps_its_own_meaning():
    nlp = make_nlp()
    types = {"city": "person", "place": "place"}  # to the neighbours, a city is a city, and so a place
    alone = nlp(make_doc(nlp, "Georgia", types))
    among, _ = nlp.pipe([make_doc(nlp, "Georgia", types), make_doc(nlp, "Paris", ["city", "place"])])
    assert ents_of(among) == ents_of(alone) == [("Georgia", "place")]


def test_types_of_a_doc_are_found_in_texts_too():
    nlp = make_nlp()
    docs = []
    for text, types in (("I saw Paris.", ["city"]), ("Alan Bean flew.", ["astronaut"])):
        doc = nlp.make_doc(text)
        doc._.entity_types = types
        docs.append(doc)
    assert [ents_of(doc) for doc in nlp.pipe(docs)] == [[("Paris", "city")], [("Alan Bean", "astronaut")]]


# Thresholds


@pytest.mark.parametrize(
    "threshold, found",
    [
        (0.3, ["Bean", "Paris", "York"]),
        (0.4, ["Bean", "Paris", "York"]),  # a score that reaches it is enough
        (0.41, ["Paris", "York"]),
        (0.9, ["Paris"]),
        (0.91, []),
        (1, []),
        ({"food": 0.4}, ["Bean", "Paris", "York"]),  # for the others, the default, 0.15
        ({"city": 0.51}, ["Bean", "Paris"]),
        ({"food": 0.1, "city": 0.95}, ["Bean"]),
        ({}, ["Bean", "Paris", "York"]),
    ],
)
def test_threshold_is_for_all_labels_or_for_each(threshold, found):
    nlp = make_nlp(labels=["city", "food"], threshold=threshold)
    doc = nlp(make_doc(nlp, "Bean of Paris and York"))
    assert [ent.text for ent in doc.ents] == found


def test_threshold_is_by_label_and_not_by_description():
    nlp = make_nlp(labels={"GPE": "a big town", "city": "city"}, threshold={"GPE": 0.85, "city": 0.2}, overlap="any")
    assert spans_of(nlp(make_doc(nlp, "Paris"))) == [("Paris", "city")]


def test_threshold_set_later_is_obeyed():
    nlp = make_nlp(labels=["city"])
    nlp.get_pipe("universal_ner").cfg["threshold"] = 0.95  # as `spacy find-threshold` does
    assert not nlp(make_doc(nlp, "Paris")).ents


# Overlaps


@pytest.mark.parametrize(
    "overlap, found",
    [
        ("flat", [("New York Times", "newspaper"), ("Alan Bean", "astronaut"), ("Paris", "city")]),
        (
            "nested",
            [
                ("New York Times", "newspaper"),
                ("York", "city"),
                ("Alan Bean", "astronaut"),
                ("Bean", "food"),
                ("University of Paris", "school"),
                ("Paris", "city"),
            ],
        ),
        (
            "any",
            [
                ("New York Times", "newspaper"),
                ("York", "city"),
                ("Alan Bean", "astronaut"),
                ("Alan Bean", "person"),
                ("Bean", "food"),
                ("University of Paris", "place"),
                ("University of Paris", "school"),
                ("Paris", "city"),
                ("Paris", "place"),
            ],
        ),
    ],
)
def test_overlap_tells_which_mentions_stay(overlap, found):
    labels = ["person", "astronaut", "city", "place", "school", "newspaper", "food"]
    nlp = make_nlp(labels=labels, overlap=overlap, threshold=0.3)
    assert spans_of(nlp(make_doc(nlp, f"New York Times : {TEXT}"))) == found


def test_specific_type_wins_under_its_label_too():
    nlp = make_nlp(labels={"PER": "person", "SPACE": "astronaut"})
    assert ents_of(nlp(make_doc(nlp, "Alan Bean"))) == [("Alan Bean", "SPACE")]


@pytest.mark.parametrize("overlap", ["nested", "any"])
def test_entities_never_overlap(overlap):
    nlp = make_nlp(labels=["newspaper", "city", "person", "food"], overlap=overlap, threshold=0.3)
    assert ents_of(nlp(make_doc(nlp, "New York Times on Alan Bean"))) == [
        ("New York Times", "newspaper"),
        ("Alan Bean", "person"),
    ]


# Entities that are there already


def make_annotated(nlp: Language, text: str, *ents: tuple[int, int, str]) -> Doc:
    doc = make_doc(nlp, text)
    doc.set_ents([Span(doc, start, end, label=label) for start, end, label in ents])
    return doc


@pytest.mark.parametrize(
    "ents, found",
    [
        ("overwrite", [("Alan Bean", "person"), ("Paris", "city")]),
        ("extend", [("Bean left", "RULE"), ("Paris", "city")]),
        ("off", [("Bean left", "RULE")]),
    ],
)
def test_entities_are_overwritten_extended_or_left_alone(ents, found):
    nlp = make_nlp(labels=["person", "city"], ents=ents)
    doc = nlp(make_annotated(nlp, "Alan Bean left Paris", (1, 3, "RULE")))
    assert ents_of(doc) == found
    assert spans_of(doc) == [("Alan Bean", "person"), ("Paris", "city")], "All mentions belong into the group."


def test_extending_keeps_what_others_know_of_their_entities():
    nlp = make_nlp(labels=["city"], ents="extend")
    doc = make_doc(nlp, "Alan Bean left Paris")
    doc.set_ents([Span(doc, 0, 2, label="RULE", kb_id="Q315712", span_id="bean")])
    ent = nlp(doc).ents[0]
    assert (ent.text, ent.label_, ent.kb_id_, ent.id_) == ("Alan Bean", "RULE", "Q315712", "bean")
    assert ents_of(doc) == [("Alan Bean", "RULE"), ("Paris", "city")]


@pytest.mark.parametrize("overlap", ["nested", "any"])
def test_extending_adds_what_fits_in_place_of_what_does_not(overlap):
    nlp = make_nlp(labels=["newspaper", "city"], ents="extend", overlap=overlap)
    doc = nlp(make_annotated(nlp, "New York Times", (2, 3, "RULE")))
    assert ents_of(doc) == [("York", "city"), ("Times", "RULE")]


def test_extending_twice_adds_nothing_the_second_time():
    nlp = make_nlp(labels=["person", "city"], ents="extend")
    doc = nlp(nlp(make_doc(nlp, TEXT)))
    assert ents_of(doc) == [("Alan Bean", "person"), ("Paris", "city")]
    assert spans_of(doc) == ents_of(doc)


def test_extending_keeps_blocked_words_free():
    nlp = make_nlp(labels=["person", "city"], ents="extend")
    doc = make_doc(nlp, "Alan Bean left Paris")
    doc.set_ents([], blocked=[doc[1:2]], default="missing")
    nlp(doc)
    assert ents_of(doc) == [("Paris", "city")]
    assert [token.ent_iob_ for token in doc] == ["O", "B", "O", "B"]
    assert doc[1].ent_type_ == "", "A blocked word begins an entity of no type; so spaCy marks it."


@pytest.mark.parametrize("ents", ["overwrite", "extend"])
def test_no_word_is_left_without_annotation(ents):
    nlp = make_nlp(labels=["city"], ents=ents)
    doc = make_doc(nlp, "Alan Bean left Paris")
    doc.set_ents([], default="missing")
    assert [token.ent_iob_ for token in nlp(doc)] == ["O", "O", "O", "B"]


def test_entities_left_alone_stay_missing():
    nlp = make_nlp(labels=["city"], ents="off")
    doc = nlp(make_doc(nlp, "Alan Bean left Paris"))
    assert not doc.has_annotation("ENT_IOB")
    assert spans_of(doc) == [("Paris", "city")]


def test_other_components_see_entities_that_extend_theirs():
    nlp = make_nlp(labels=["person", "city"], ents="extend")
    ruler = nlp.add_pipe("entity_ruler", before="universal_ner")
    ruler.add_patterns([{"label": "RULE", "pattern": "Paris", "id": "paris"}])
    doc = nlp("Alan Bean left Paris.")
    assert [(ent.text, ent.label_, ent.ent_id_) for ent in doc.ents] == [
        ("Alan Bean", "person", ""),
        ("Paris", "RULE", "paris"),
    ]


# Span groups and scores


def test_scores_stand_beside_the_spans():
    nlp = make_nlp(labels=["person", "city"])
    doc = nlp(make_doc(nlp, TEXT))
    group = doc.spans["universal_ner"]
    assert group.name == "universal_ner"
    assert group.attrs["scores"].dtype == numpy.float32
    assert group.attrs["scores"].tolist() == pytest.approx([0.9, 0.9])
    assert len(group) == 2


def test_spans_key_names_the_group():
    nlp = make_nlp(labels=["city"], spans_key="open")
    doc = nlp(make_doc(nlp, TEXT))
    assert list(doc.spans) == ["open"]
    assert spans_of(doc, "open") == [("Paris", "city")]


def test_second_call_replaces_the_group():
    nlp = make_nlp(labels=["city"])
    doc = nlp(make_doc(nlp, TEXT))
    nlp(doc, component_cfg={"universal_ner": {"labels": ["person"]}})
    assert spans_of(doc) == [("Alan Bean", "person")]
    assert len(doc.spans["universal_ner"].attrs["scores"]) == 1


def copy_by_docbin(doc: Doc) -> Doc:
    return next(iter(DocBin(docs=[doc]).get_docs(doc.vocab)))


def copy_by_bytes(doc: Doc) -> Doc:
    return Doc(doc.vocab).from_bytes(doc.to_bytes())


@pytest.mark.parametrize("keep", [lambda doc: doc, copy_by_docbin, copy_by_bytes, Doc.copy])
def test_two_labels_on_one_span_keep_their_own_scores_and_scores_survive(keep):
    nlp = make_nlp(labels=["person", "astronaut", "city"], overlap="any")
    doc = keep(nlp(make_doc(nlp, TEXT)))
    found = [(span.text, span.label_, span._.entity_score) for span in doc.spans["universal_ner"]]
    assert found == [
        ("Alan Bean", "astronaut", pytest.approx(0.6)),
        ("Alan Bean", "person", pytest.approx(0.9)),
        ("Paris", "city", pytest.approx(0.9)),
    ]
    assert [ent._.entity_score for ent in doc.ents] == pytest.approx([0.9, 0.9])


def test_scores_survive_on_disk(tmp_path):
    nlp = make_nlp(labels=["person", "astronaut"], overlap="any")
    doc = nlp(make_doc(nlp, TEXT))
    doc.to_disk(tmp_path / "doc")
    DocBin(docs=[doc]).to_disk(tmp_path / "docs.spacy")
    vocab = spacy.blank("en").vocab  # that of another process
    from_doc = Doc(vocab).from_disk(tmp_path / "doc")
    (from_docbin,) = DocBin().from_disk(tmp_path / "docs.spacy").get_docs(vocab)
    for copied in (from_doc, from_docbin):
        found = [(span.label_, span._.entity_score) for span in copied.spans["universal_ner"]]
        assert found == [("astronaut", pytest.approx(0.6)), ("person", pytest.approx(0.9))]


def test_span_that_was_not_found_has_no_score():
    nlp = make_nlp(labels=["city"])
    doc = nlp(make_doc(nlp, "I saw Paris"))
    assert Span(doc, 2, 3, label="city")._.entity_score == pytest.approx(0.9)
    assert Span(doc, 2, 3, label="person")._.entity_score is None
    assert Span(doc, 1, 3, label="city")._.entity_score is None
    assert Span(Doc(nlp.vocab, words=["Paris"]), 0, 1, label="city")._.entity_score is None


def test_span_appended_to_the_group_has_no_score_and_takes_none_away():
    nlp = make_nlp(labels=["city"])
    doc = nlp(make_doc(nlp, "I saw Paris"))
    doc.spans["universal_ner"].append(Span(doc, 0, 1, label="person"))
    assert [span._.entity_score for span in doc.spans["universal_ner"]] == [pytest.approx(0.9), None]


def test_score_is_found_in_groups_of_any_order():
    nlp = make_nlp()
    doc = make_doc(nlp, "a b c d")
    places = [(2, 4), (0, 1), (1, 3), (0, 4)]
    spans = [Span(doc, start, end, label="x") for start, end in places]
    doc.spans["sc"] = SpanGroup(doc, name="sc", spans=spans, attrs={"scores": [0.1, 0.2, 0.3, 0.4]})
    doc.spans["unscored"] = spans
    assert [span._.entity_score for span in spans] == [0.1, 0.2, 0.3, 0.4]


def test_types_of_a_doc_survive_in_bytes():
    nlp = make_nlp()
    doc = Doc(nlp.vocab).from_bytes(make_doc(nlp, TEXT, {"GPE": "a big town"}).to_bytes())
    assert ents_of(nlp(doc)) == [("Paris", "GPE")]


# Streams


def test_docs_come_back_in_order_and_by_batches():
    nlp = make_nlp(labels=["city"])
    words = [["Paris"], [], ["I"], ["York", "Paris"], ["Paris"]]
    docs = list(nlp.pipe((Doc(nlp.vocab, words=of_one) for of_one in words), batch_size=2))
    assert [[token.text for token in doc] for doc in docs] == words
    assert [len(doc.ents) for doc in docs] == [1, 0, 0, 2, 1]
    assert [len(batch) for batch in nlp.get_pipe("universal_ner").model.attrs["read"]] == [2, 2, 1]


def test_stream_is_read_only_as_far_as_a_batch():
    nlp = make_nlp(labels=["city"])
    endless = iter(lambda: make_doc(nlp, "Paris"), None)
    assert ents_of(next(nlp.get_pipe("universal_ner").pipe(endless, batch_size=3))) == [("Paris", "city")]


def test_empty_stream_gives_nothing():
    nlp = make_nlp(labels=["city"])
    assert list(nlp.pipe([])) == []


def test_context_stays_beside_its_doc():
    nlp = make_nlp(labels=["city"])
    texts = [("Paris", 1), ("nothing", {"n": 2}), ("York", None)]
    found = [(ents_of(doc), context) for doc, context in nlp.pipe(texts, as_tuples=True)]
    assert found == [([("Paris", "city")], 1), ([], {"n": 2}), ([("York", "city")], None)]


def test_component_can_be_switched_off():
    nlp = make_nlp(labels=["city"])
    with nlp.select_pipes(disable="universal_ner"):
        assert not nlp("Paris").spans
    assert not nlp("Paris", disable=["universal_ner"]).spans
    assert ents_of(nlp("Paris")) == [("Paris", "city")]


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_bad_doc_does_not_lose_its_batch_and_is_handed_over_once(batch_size):
    nlp = make_nlp(labels=["city"])
    handed_over = []
    nlp.get_pipe("universal_ner").set_error_handler(
        lambda name, component, docs, err: handed_over.append((name, [doc.text for doc in docs], repr(err)))
    )
    docs = list(nlp.pipe(["Paris 1", "boom", "Paris 2", "York"], batch_size=batch_size))
    assert [doc.text for doc in docs] == ["Paris 1", "Paris 2", "York"]
    assert all(doc.ents for doc in docs)
    assert handed_over == [("universal_ner", ["boom"], "ArithmeticError('boom')")]


def test_doc_with_bad_types_does_not_lose_its_batch():
    nlp = make_nlp()
    errors = []
    nlp.set_error_handler(lambda name, component, docs, err: errors.append(str(err)))
    docs = [make_doc(nlp, "Paris", types) for types in (["city"], "city", ["city", "city"], ["place"])]
    assert [ents_of(doc) for doc in nlp.pipe(docs)] == [[("Paris", "city")], [("Paris", "place")]]
    assert len(errors) == 2
    assert "doc._.entity_types': labels must be a list or a mapping of names, got 'city'" in errors[0]
    assert "label 'city' is given twice" in errors[1]


def test_error_is_raised_unless_it_is_handled():
    nlp = make_nlp(labels=["city"])
    with pytest.raises(ArithmeticError, match="boom"):
        nlp("boom")
    with pytest.raises(ArithmeticError, match="boom"):
        list(nlp.pipe(["Paris", "boom"]))


def test_doc_whose_error_was_handled_comes_back_from_a_call():
    nlp = make_nlp(labels=["city"])
    handed_over = []
    nlp.get_pipe("universal_ner").set_error_handler(lambda *args: handed_over.append(args))
    doc = nlp("boom")
    assert (doc.text, len(handed_over)) == ("boom", 1)


def test_error_of_who_reads_the_stream_is_not_the_components():
    nlp = make_nlp(labels=["city"])
    stream = nlp.get_pipe("universal_ner").pipe(iter([nlp.make_doc("Paris")] * 2))
    next(stream)
    with pytest.raises(KeyError, match="not ours"):
        stream.throw(KeyError("not ours"))


# Texts of every kind


@pytest.mark.parametrize("text", ["", " ", "\n\t \n", "\u00a0\u2003"])
def test_text_without_words_has_no_entities(text):
    nlp = make_nlp(labels=["city"])
    doc = nlp(text)
    assert doc.text == text
    assert not doc.ents
    assert len(doc.spans["universal_ner"]) == len(doc.spans["universal_ner"].attrs["scores"]) == 0


@pytest.mark.parametrize(
    "phrase",
    [
        "👩‍🚀",  # four code points
        "🇫🇷",
        "e\u0301te\u0301",  # combining accents
        "שלום",  # from right to left
        "القاهرة",
        "東京",
        "İstanbul",  # its lower case is longer
        "x" * 50_000,
    ],
)
def test_offsets_are_right_in_any_writing(monkeypatch, phrase):
    monkeypatch.setitem(KNOWN, phrase, {"thing": 0.9})
    nlp = make_nlp(labels=["thing"])
    doc = Doc(nlp.vocab, words=["🎉🎉", phrase, "ü", phrase], spaces=[False, True, False, False])
    text = doc.text
    nlp(doc)
    assert doc.text == text
    assert [(ent.text, text[ent.start_char : ent.end_char]) for ent in doc.ents] == [(phrase, phrase)] * 2


# What spaCy asks of a component


def test_analysis_tells_what_is_assigned_and_scored():
    analysis = make_nlp().analyze_pipes(keys=["assigns", "requires", "scores", "retokenizes"])
    assert analysis["summary"]["universal_ner"] == {
        "assigns": ["doc.ents", "token.ent_iob", "token.ent_type", "doc.spans"],
        "requires": [],
        "scores": [
            *(f"ents_{score}" for score in ("f", "p", "r", "per_type")),
            *(f"spans_universal_ner_{score}" for score in ("f", "p", "r", "per_type")),
        ],
        "retokenizes": False,
    }
    assert analysis["problems"]["universal_ner"] == []


def test_analysis_sees_that_others_need_what_is_assigned():
    nlp = make_nlp()
    nlp.add_pipe("merge_entities")
    assert nlp.analyze_pipes()["problems"]["merge_entities"] == []


def make_example(nlp: Language, text: str, *ents: tuple[int, int, str], key: str | None = None) -> Example:
    reference = make_annotated(nlp, text, *ents)
    if key:
        reference.spans[key] = [Span(reference, *ent) for ent in ents]
    return Example(make_doc(nlp, text), reference)


def test_evaluation_scores_entities_by_type():
    nlp = make_nlp(labels=["person", "city", "food"])
    examples = [
        make_example(nlp, "Alan Bean left Paris", (0, 2, "person"), (3, 4, "city")),
        make_example(nlp, "Bean left York", (0, 1, "food"), (2, 3, "person")),
    ]
    scores = nlp.evaluate(examples)
    assert (scores["ents_p"], scores["ents_r"]) == (pytest.approx(2 / 3), pytest.approx(1 / 2))
    assert scores["ents_f"] == pytest.approx(4 / 7)
    assert scores["ents_per_type"]["person"] == {"p": 1.0, "r": 0.5, "f": pytest.approx(2 / 3)}
    assert scores["spans_universal_ner_f"] is None, "There is no gold group to hold against."


@pytest.mark.parametrize("key", ["universal_ner", "open"])
def test_evaluation_scores_overlapping_spans(key):
    nlp = make_nlp(labels=["person", "astronaut"], overlap="any", spans_key=key)
    reference = make_doc(nlp, "Alan Bean")
    reference.spans[key] = [Span(reference, 0, 2, "person"), Span(reference, 0, 2, "astronaut")]
    scores = nlp.evaluate([Example(make_doc(nlp, "Alan Bean"), reference)])
    assert scores[f"spans_{key}_f"] == 1.0
    assert scores[f"spans_{key}_per_type"]["astronaut"]["f"] == 1.0


def test_component_without_scorer_has_no_scores():
    nlp = make_nlp(labels=["city"], scorer=None)
    assert "ents_f" not in nlp.evaluate([make_example(nlp, "Paris", (0, 1, "city"))])


def test_two_components_work_side_by_side():
    nlp = make_nlp(labels=["city"])
    model = {"@architectures": "tests.Fake.v1"}
    config = {"model": model, "labels": ["person"], "spans_key": "second", "ents": "extend"}
    nlp.add_pipe("universal_ner", name="second", config=config)
    doc = nlp(TEXT)
    assert ents_of(doc) == [("Alan Bean", "person"), ("Paris", "city")]
    assert (spans_of(doc), spans_of(doc, "second")) == ([("Paris", "city")], [("Alan Bean", "person")])
    doc = nlp(TEXT, component_cfg={"second": {"labels": ["astronaut"]}})
    assert ents_of(doc) == [("Alan Bean", "astronaut"), ("Paris", "city")]


# Bad settings


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"overlap": "crossing"}, "overlap is 'crossing', expected one of: flat, nested, any"),
        ({"ents": "append"}, "ents is 'append', expected one of: overwrite, extend, off"),
        ({"threshold": 1.5}, r"threshold for all labels is 1.5, expected a score in \[0, 1\]"),
        ({"threshold": -0.1}, "threshold for all labels is -0.1"),
        ({"threshold": {"city": 2.0}}, "threshold for city is 2.0"),
        ({"threshold": {"town": 0.5}}, "a threshold is given for 'town', which is not a label. Labels: city, person"),
        ({"threshold": {"town": 0.5}, "labels": []}, "'town', which is not a label. Labels: none"),
        ({"labels": ["city", " "]}, "label ' ' or its description is blank"),
        ({"labels": {"city": ""}}, "label 'city' or its description is blank"),
        ({"labels": ["city", "city"]}, "label 'city' is given twice. Give every label once"),
        ({"labels": {"a": "town", "b": "town"}}, "several labels are described by 'town'. Tell them apart"),
        ({"labels": {"a": "b", "b": "b"}}, "several labels are described by 'b'"),
    ],
)
def test_bad_setting_is_refused_with_the_components_name(settings, message):
    with pytest.raises(ValueError, match=f"'universal_ner': .*{message}"):
        make_nlp(**{"labels": ["city", "person"], **settings})


@pytest.mark.parametrize("labels", ["city", 3, None, b"city", iter(["city"])])
def test_labels_must_be_a_list_or_a_mapping(labels):
    component = make_nlp(labels=["person"]).get_pipe("universal_ner")
    with pytest.raises(ValueError, match=r"'universal_ner': label"):
        component.labels = labels
    assert component.labels == ("person",), "What was there stays."


def test_bad_label_is_not_added():
    component = make_nlp(labels={"GPE": "city"}).get_pipe("universal_ner")
    with pytest.raises(ValueError, match="label '' or its description is blank"):
        component.add_label("")
    with pytest.raises(ValueError, match="several labels are described by 'city'"):
        component.add_label("city")
    assert component.labels == ("GPE",)


def test_bad_types_of_a_call_are_refused():
    nlp = make_nlp()
    with pytest.raises(ValueError, match="label 'city' is given twice"):
        nlp("Paris", component_cfg={"universal_ner": {"labels": ["city", "city"]}})
    with pytest.raises(ValueError, match="labels must be a list or a mapping"):
        list(nlp.pipe(["Paris"], component_cfg={"universal_ner": {"labels": "city"}}))


def test_unknown_setting_is_refused():
    with pytest.raises(ConfigValidationError, match="treshold"):
        make_nlp(treshold=0.5)


def test_component_can_be_made_without_a_config():
    component = UniversalNER(spacy.blank("en").vocab, make_fake(), labels=("city",))
    doc = component(Doc(component.vocab, words=["Paris"]))
    assert ents_of(doc) == [("Paris", "city")]
    assert component.cfg["threshold"] == 0.15


def test_labels_are_checked_by_themselves():
    assert check_labels(["b", "a"], "here") == {"b": "b", "a": "a"}
    assert check_labels({"a": "x"}, "here") == {"a": "x"}
    check_threshold({"a": 0.0}, {"a": "x"}, "here")
    check_threshold(1, {}, "here")
    with pytest.raises(ValueError, match="'here': the threshold for all labels is nan"):
        check_threshold(math.nan, {}, "here")
