"""Texts become rows with offsets in characters; one text that fails does not take others with it."""

from __future__ import annotations

import subprocess
import sys

import pandas
import pytest
import spacy
from scale_world import NAMES
from spacy.tokens import Doc

from spacy_uniner.scale.rows import FindEntities, PipelineFails, find_components, load_pipeline, take_fingerprint


@pytest.fixture
def saved(tiny_nlp, tmp_path):
    tiny_nlp.to_disk(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def test_entities_of_a_pipeline_without_universal_ner_have_no_scores(rules):
    find = FindEntities(str(rules))
    text = "\tSally  flew to São Tomé 😀 and Rome"
    (doc,) = find.read([text])
    rows = find.entities_of(doc)
    assert [(row["label"], row["text"], row["score"]) for row in rows] == [
        ("person", "Sally", None),
        ("island", "São Tomé", None),
        ("city", "Rome", None),
    ]
    assert all(text[row["start"] : row["end"]] == row["text"] for row in rows)


def test_entities_of_universal_ner_are_those_of_its_span_group_with_scores(saved):
    find = FindEntities(saved, ["city", "astronaut"], threshold=0.0)
    text = "Sally met Alan in Rome ."
    (doc,) = find.read([text])
    rows = find.entities_of(doc)
    group = doc.spans["universal_ner"]
    assert rows
    assert {row["label"] for row in rows} <= {"city", "astronaut"}
    assert [(row["start"], row["end"]) for row in rows] == [(span.start_char, span.end_char) for span in group]
    assert [row["score"] for row in rows] == [round(float(score), 4) for score in group.attrs["scores"]]


def test_the_component_is_found_by_what_made_it(tiny_nlp):
    tiny_nlp.rename_pipe("universal_ner", "mine")
    assert [component.name for component in find_components(tiny_nlp)] == ["mine"]
    assert find_components(spacy.blank("en")) == []


def test_a_batch_gets_columns_and_keeps_the_others(rules):
    batch = pandas.DataFrame({"body": ["Paris", None, "", "no", 7], "n": [1, 2, 3, 4, 5]}, index=[9, 8, 7, 6, 5])
    found = FindEntities(str(rules), text_key="body")(batch)
    assert list(found.columns) == ["body", "n", "entities", "problem"]
    assert list(found.index) == [9, 8, 7, 6, 5]
    paris = [{"start": 0, "end": 5, "label": "city", "score": None, "text": "Paris"}]
    assert list(found["entities"]) == [paris, [], [], [], []]
    assert [problem[:16] for problem in found["problem"]] == [
        "",
        "there is no text",
        "the text is empt",
        "",
        "the text is of t",
    ]


def test_a_batch_larger_than_those_of_the_pipeline_keeps_its_order(rules, monkeypatch):
    monkeypatch.setattr("spacy_uniner.scale.rows.BATCH_SIZE", 3)
    texts = [f"{n} {list(NAMES)[n % 5]}" if n % 4 else "" for n in range(20)]
    found = FindEntities(str(rules))(pandas.DataFrame({"text": texts}))
    expected = [[list(NAMES)[n % 5]] if n % 4 else [] for n in range(20)]
    assert [[row["text"] for row in rows] for rows in found["entities"]] == expected


def test_words_of_texts_do_not_stay_in_memory(rules):
    find = FindEntities(str(rules))
    find(pandas.DataFrame({"text": ["warm up"]}))
    n_strings = len(find.nlp.vocab.strings)
    find(pandas.DataFrame({"text": [f"unheardof{n}" for n in range(200)]}))
    assert len(find.nlp.vocab.strings) == n_strings


def test_one_text_that_fails_does_not_take_the_others_with_it(trouble):
    find = FindEntities(str(trouble()))
    found = find.read(["Paris", "Rome FAIL", "Alan"])
    assert [isinstance(one, Doc) for one in found] == [True, False, True]
    assert found[1] == "'trouble' raised ValueError: it says FAIL"
    assert isinstance(find.read(["Paris"])[0], Doc)  # what failed before is forgotten


def test_a_component_that_gives_up_whole_batches_is_asked_text_by_text(rules):
    find = FindEntities(str(rules))

    class GivesUp:
        def __call__(self, doc):
            return self.give_up([doc], str(doc)) if "FAIL" in doc.text else doc

        def pipe(self, stream, **_):
            docs = list(stream)
            if any("FAIL" in doc.text for doc in docs):
                self.handle("gives_up", self, docs, ValueError("batch"))
            else:
                yield from docs

        def set_error_handler(self, handle):
            self.handle = handle

    spacy.Language.component("gives_up", func=GivesUp())
    find.nlp.add_pipe("gives_up")
    find.nlp.set_error_handler(find._take_note)
    found = find.read(["Paris", "FAIL", "Rome"])
    assert [one.text if isinstance(one, Doc) else one for one in found] == [
        "Paris",
        "'gives_up' raised ValueError: batch",
        "Rome",
    ]


def test_a_pipeline_that_fails_on_everything_stops(trouble):
    find = FindEntities(str(trouble()))
    with pytest.raises(
        PipelineFails, match=r"fails on all 8 texts of a batch\. The first: 'trouble' raised ValueError"
    ):
        find.read(["FAIL"] * 8)
    assert all(isinstance(one, str) for one in find.read(["FAIL"] * 7))


# Loading


def test_types_need_universal_ner(rules):
    with pytest.raises(
        ValueError, match=r"has no universal_ner that types or a threshold could be for\. It has: entity_r"
    ):
        load_pipeline(str(rules), ["city"], None)
    with pytest.raises(ValueError, match="has no universal_ner"):
        load_pipeline(str(rules), [], 0.5)


def test_universal_ner_needs_types():
    with pytest.raises(ValueError, match="'universal_ner' was given no types to find"):
        load_pipeline("", [], None)


def test_a_threshold_is_a_score(saved):
    with pytest.raises(ValueError, match=r"The threshold is 1\.5, expected a score in \[0, 1\]"):
        load_pipeline(saved, [], 1.5)


def test_types_and_threshold_of_the_pipeline_stay_if_none_are_given(saved):
    (component,) = find_components(load_pipeline(saved, [], None))
    assert (component.labels, component.cfg["threshold"]) == (("city", "person"), pytest.approx(0.3))
    (component,) = find_components(load_pipeline(saved, ["moon"], 0.7))
    assert (component.labels, component.cfg["threshold"]) == (("moon",), 0.7)


def test_the_fingerprint_tells_pipelines_apart(saved, rules):
    marks = [
        take_fingerprint(load_pipeline(*setting))
        for setting in ((saved, [], None), (saved, ["moon"], None), (saved, [], 0.7), (str(rules), [], None))
    ]
    assert len(set(marks)) == 4


def test_the_fingerprint_is_the_same_in_every_process(saved, monkeypatch):
    code = f"from spacy_uniner.scale.rows import *; print(take_fingerprint(load_pipeline({saved!r}, [], None)))"
    marks = set()
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        marks.add(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        )
    assert marks == {take_fingerprint(load_pipeline(saved, [], None))}


def test_a_server_that_is_down_sets_no_text_aside(rules):
    find = FindEntities(str(rules))

    @spacy.Language.component("no_server")
    def no_server(doc):
        raise ConnectionError("no server at that address")

    find.nlp.add_pipe("no_server")
    with pytest.raises(ConnectionError, match="no server at that address"):
        find.read(["Mary sang."])
