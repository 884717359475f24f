"""The tasks inside of spacy-llm's component `llm`, with a teacher that answers what it was told to."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Iterable  # noqa: UP035 - spacy-llm does not know the one of collections.abc

import pytest
import spacy
import spacy_llm.util
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy_llm.registry import registry

from spacy_uniner.teacher.prompts import OPEN_SYSTEM
from spacy_uniner.teacher.tasks import LOSSES_KEY, NER, REPLY_KEY, OpenNER

TEXT = "John Smith and Johnathan met Mary in Paris, Texas."
REPLY = '{"PER": ["John Smith", "Johnathan", "Mary", "Bob"], "LOC": ["Paris, Texas"], "ORG": ["Johna"]}'
EXAMPLE = {"text": "Bean left.", "items": [{"mention": "Bean", "label": "PER", "reason": "a name"}]}


@registry.llm_models("tests.Teacher.v1")
def make_teacher(reply: str) -> Callable[[Iterable[Iterable[str]]], Iterable[Iterable[str]]]:
    def answer(prompts: Iterable[Iterable[str]]) -> Iterable[Iterable[str]]:
        return [[reply for _ in of_doc] for of_doc in prompts]

    return answer


def make_nlp(task: dict[str, Any], reply: str = REPLY, **settings: Any) -> spacy.Language:
    nlp = spacy.blank("en")
    task = {"@llm_tasks": "spacy_uniner.NER.v1", "labels": ["PER", "LOC"], **task}
    nlp.add_pipe("llm", config={"task": task, "model": {"@llm_models": "tests.Teacher.v1", "reply": reply}, **settings})
    return nlp


def ents_of(doc: Doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


def test_entities_are_set_and_losses_counted():
    doc = make_nlp({})(TEXT)
    assert ents_of(doc) == [("John Smith", "PER"), ("Johnathan", "PER"), ("Mary", "PER"), ("Paris, Texas", "LOC")]
    assert doc.user_data[REPLY_KEY] == REPLY
    assert doc.user_data[LOSSES_KEY] == {"unknown label": 1, "not in the text": 1}


def test_spacy_llm_has_no_warning_for_the_task():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(make_nlp({"style": "reasoned"}).pipe([TEXT, TEXT]))
        assert find_open("[]").user_data[REPLY_KEY] == "[]"


def test_prompt_and_reply_reach_the_log_of_spacy_llm():
    doc = make_nlp({"labels": {"PER": "people"}}, save_io=True)(TEXT)
    io = doc.user_data["llm_io"]["llm"]
    assert "- PER: people\n" in io["prompt"]
    assert TEXT in io["prompt"]
    assert REPLY[:20] in io["response"]


@pytest.mark.parametrize("reply, iob", [("", 0), ("What?", 0), ('{"PER": ["Ma', 0), ('{"PER": []}', 2)])
def test_words_are_of_unknown_annotation_where_the_reply_is_of_no_use(reply, iob):
    assert {token.ent_iob for token in make_nlp({}, reply)(TEXT)} == {iob}


def test_labels_are_those_of_the_component():
    nlp = make_nlp({"labels": {"PER": "people", "LOC": ""}})
    assert nlp.get_pipe("llm").labels == ("PER", "LOC")
    assert nlp.get_pipe("llm").add_label("ORG", "companies") == 1
    assert nlp.get_pipe("llm").add_label("ORG", "companies") == 0
    assert "- ORG: companies\n" in nlp.get_pipe("llm").task.prompt_of(TEXT)
    nlp.get_pipe("llm").clear()
    assert nlp.get_pipe("llm").labels == ()


def test_spacy_scores_the_entities():
    nlp = make_nlp({}, '{"PER": ["Mary"]}')
    reference = nlp.make_doc(TEXT)
    reference.set_ents([Span(reference, 0, 2, label="PER"), Span(reference, 5, 6, label="PER")], default="outside")
    scores = nlp.evaluate([Example(nlp.make_doc(TEXT), reference)])
    assert (scores["ents_p"], scores["ents_r"]) == (1.0, 0.5)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".yml"])
def test_examples_come_from_a_file_and_are_saved_with_the_pipeline(tmp_path, suffix):
    path = tmp_path / f"examples{suffix}"
    path.write_text(json.dumps([EXAMPLE] if suffix != ".jsonl" else EXAMPLE) + "\n", encoding="utf8")
    nlp = make_nlp({"style": "reasoned", "examples": {"@misc": "spacy.FewShotReader.v1", "path": str(path)}})
    expected = nlp.get_pipe("llm").task.prompt_of(TEXT)
    assert '{"mention": "Bean", "reason": "a name", "label": "PER"}' in expected
    nlp.to_disk(tmp_path / "pipeline")
    path.unlink()
    loaded = spacy.load(tmp_path / "pipeline")
    assert loaded.get_pipe("llm").task.prompt_of(TEXT) == expected
    assert ents_of(loaded(TEXT)) == ents_of(nlp(TEXT))


def test_task_comes_back_from_bytes():
    items = [*EXAMPLE["items"], {"mention": "left", "reason": "a verb"}]
    task = NER({"PER": "people"}, "reasoned", [{**EXAMPLE, "items": items}])
    copy = NER(["LOC"]).from_bytes(task.to_bytes())
    assert copy.prompt_of(TEXT) == task.prompt_of(TEXT)
    assert copy.labels == ("PER",)


def test_entities_survive_several_processes():
    docs = list(make_nlp({}).pipe([TEXT] * 4, n_process=2, batch_size=2))
    assert [len(doc.ents) for doc in docs] == [4] * 4


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"labels": []}, r"labels are \[\]. Give at least one"),
        ({"labels": ["PER", "PER"]}, "Give at least one, and each once"),
        ({"labels": [" "]}, "' ' is no label"),
        ({"labels": ["none"]}, "'none' is no label"),
        ({"labels": ["PER"], "style": "poetic"}, "Style 'poetic' is unknown. Choose one of standard, reasoned"),
        ({"labels": ["LOC"], "examples": [EXAMPLE]}, "Example 1: Label 'PER' of 'Bean' was not asked"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NER(**settings)


def test_examples_of_a_file_are_checked_when_they_are_read():
    task = NER(["LOC"], examples=lambda: [EXAMPLE])
    with pytest.raises(ValueError, match="Example 1: Label 'PER'"):
        task.prompt_of(TEXT)


# Open types


def find_open(reply: str, style: str = "type") -> Doc:
    nlp = spacy.blank("en")
    task = {"@llm_tasks": "spacy_uniner.OpenNER.v1", "style": style}
    nlp.add_pipe("llm", config={"task": task, "model": {"@llm_models": "tests.Teacher.v1", "reply": reply}})
    return nlp(TEXT)


def test_open_types_are_spans_that_may_overlap():
    reply = '[("John Smith", "person"), ("John", "first name"), ("Mary", "person"), ("Bob", "person")]'
    doc = find_open(reply)
    spans = [(span.text, span.label_) for span in doc.spans["universal_ner"]]
    assert spans == [("John", "first name"), ("John Smith", "person"), ("Mary", "person")]
    assert doc.user_data[REPLY_KEY] == reply
    assert doc.user_data[LOSSES_KEY] == {"not in the text": 1}


def test_open_style_is_checked():
    with pytest.raises(ValueError, match=r"Style 'open' is unknown\. Choose one of type, definition"):
        OpenNER("open")  # type: ignore[arg-type]


# The configs of the package


@pytest.mark.parametrize("style", ["standard", "reasoned"])
def test_config_of_the_package_assembles(style, monkeypatch):
    root = Path(__file__).parent.parent
    monkeypatch.chdir(root)
    nlp = spacy_llm.util.assemble(root / "configs" / f"teacher_{style}.cfg")
    task = nlp.get_pipe("llm").task
    definitions = json.loads((root / "assets" / "teacher" / "definitions.json").read_text(encoding="utf8"))
    assert task.style == style
    assert task.labels == tuple(definitions)
    assert all(f"- {label}: {definition}\n" in task.prompt_of(TEXT) for label, definition in definitions.items())
    assert task.prompt_of(TEXT).count("\nText: ") == 6
    assert OPEN_SYSTEM not in task.prompt_of(TEXT)
