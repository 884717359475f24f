"""Texts become annotations, in a file that survives a kill, and annotations become passages."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Iterable  # noqa: UP035 - spacy-llm does not know the one of collections.abc

import pytest
import spacy
from spacy_llm.registry import registry

from spacy_uniner.passages import Mention, Passage
from spacy_uniner.teacher.annotations import (
    Text,
    annotate,
    find_task,
    read_annotations,
    read_open_annotations,
    read_records,
    read_texts,
)

TEXTS = [Text(f"t{n}", f"Mary met John in room {n}.") for n in range(5)]
asked: list[str] = []  # the prompts of this module's teacher


@registry.llm_models("tests.Patient.v1")
def make_patient(
    without: str = "no such text", name: str = "", reply: str = '{"PER": ["Mary", "Bob"]}'
) -> Callable[[Iterable[Iterable[str]]], Iterable[Iterable[str]]]:
    """Make a teacher that says the same of all texts, but nothing to prompts that hold `without`."""

    def answer(prompts: Iterable[Iterable[str]]) -> Iterable[Iterable[str]]:
        nested = [list(of_doc) for of_doc in prompts]
        asked.extend(prompt for of_doc in nested for prompt in of_doc)
        return [["" if without in prompt else reply for prompt in of_doc] for of_doc in nested]

    return answer


def make_nlp(task: dict[str, Any] | None = None, **model: Any) -> spacy.Language:
    nlp = spacy.blank("en")
    nlp.batch_size = 2
    task = task or {"@llm_tasks": "spacy_uniner.NER.v1", "labels": ["PER", "LOC"]}
    nlp.add_pipe("llm", config={"task": task, "model": {"@llm_models": "tests.Patient.v1", **model}})
    return nlp


@pytest.fixture(scope="module")
def nlp():
    return make_nlp()


def write_lines(path: Path, *records: Any) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
    return path


def read_ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf8").splitlines()]


# Texts


def test_texts_have_an_id_or_get_one(tmp_path):
    path = write_lines(tmp_path / "t.jsonl", {"id": "a", "text": "Hi."}, "", {"tokens": ["Hi", "."]})
    assert read_texts(path, "x-") == [Text("a", "Hi."), Text("x-00002", "Hi .")]


@pytest.mark.parametrize(
    "record, message",
    [
        ({"id": "b", "text": " "}, r"t\.jsonl, line 2: the text is ' '"),
        ({"id": "b", "text": 3}, "line 2: the text is 3"),
        ({"id": "b"}, "line 2: the text is None"),
        ({"id": "b", "tokens": ["a", 3]}, "line 2: the text is None"),
        ({"id": 7, "text": "x"}, "line 2: the id is 7"),
        ({"id": "", "text": "x"}, "line 2: the id is ''"),
        ({"id": "a", "text": "x"}, "line 2: the id 'a' stands twice"),
        ("{", "line 2: not JSON"),
        ('["x"]', r"line 2: a JSON list\. Expected an object"),
    ],
)
def test_bad_text_is_an_error_with_file_and_line(tmp_path, record, message):
    with pytest.raises(ValueError, match=message):
        read_texts(write_lines(tmp_path / "t.jsonl", {"id": "a", "text": "Hi."}, record))


def test_line_that_is_no_utf8_is_named(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(ValueError, match="line 1: not JSON"):
        list(read_records(tmp_path / "t.jsonl"))


def test_corpus_without_texts_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="has no texts"):
        read_texts(write_lines(tmp_path / "t.jsonl", ""))


# Annotating


def test_raw_reply_is_kept_with_its_text(tmp_path, nlp):
    (annotation,) = annotate(nlp, TEXTS[:1], tmp_path / "out" / "a.jsonl")
    record = json.loads((tmp_path / "out" / "a.jsonl").read_text(encoding="utf8"))
    assert record == {
        "id": "t0",
        "text": TEXTS[0].text,
        "style": "standard",
        "reply": '{"PER": ["Mary", "Bob"]}',
        "model": "tests.Patient.v1",
        "prompt": hashlib.sha256(find_task(nlp)[1].prompt_of(TEXTS[0].text).encode("utf8")).hexdigest(),
    }
    assert annotation is not None
    assert annotation.reply == record["reply"]


def test_what_was_asked_by_another_prompt_is_asked_again(tmp_path, nlp, caplog):
    output = tmp_path / "a.jsonl"
    list(annotate(nlp, TEXTS, output))
    lines = output.read_text(encoding="utf8").splitlines()
    records = [json.loads(line) for line in lines]
    records[0]["prompt"] = "0" * 64  # as before a definition was changed
    del records[1]["prompt"]  # not known: it stays
    output.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    again = list(annotate(nlp, TEXTS, output))
    assert [annotation.id for annotation in again] == [TEXTS[0].id]
    assert "1 texts were asked by another prompt, and are asked again." in caplog.text
    assert [json.loads(line)["id"] for line in output.read_text(encoding="utf8").splitlines()] == [t.id for t in TEXTS]


def test_run_that_was_killed_at_any_byte_goes_on_to_the_same_file(tmp_path, nlp):
    output = tmp_path / "a.jsonl"
    assert len(list(annotate(nlp, TEXTS[:2], output))) == 2
    whole = output.read_bytes()
    for n_bytes in range(len(whole)):
        output.write_bytes(whole[:n_bytes])
        n_new = len(list(annotate(nlp, TEXTS[:2], output)))
        assert output.read_bytes() == whole
        assert n_new == 2 - whole[:n_bytes].count(b"\n")


def test_reply_is_on_the_disk_when_it_is_given(tmp_path, nlp):
    for n, _ in enumerate(annotate(nlp, TEXTS, tmp_path / "a.jsonl"), start=1):
        assert read_ids(tmp_path / "a.jsonl") == [text.id for text in TEXTS[:n]]


def test_texts_that_are_done_are_not_asked_again(tmp_path, nlp):
    list(annotate(nlp, TEXTS[:3], tmp_path / "a.jsonl"))
    asked.clear()
    list(annotate(nlp, TEXTS, tmp_path / "a.jsonl"))
    assert [prompt.splitlines()[-2] for prompt in asked] == [f"Text: {text.text}" for text in TEXTS[3:]]


def test_text_without_a_reply_is_asked_again_and_comes_to_its_place(tmp_path):
    output = tmp_path / "a.jsonl"
    first = list(annotate(make_nlp(without="room 1", name="n"), TEXTS, output))
    assert [annotation is None for annotation in first] == [False, True, False, False, False]
    assert read_ids(output) == ["t0", "t2", "t3", "t4"]
    (second,) = annotate(make_nlp(name="n"), TEXTS, output)
    assert second is not None
    assert second.model == "n"
    assert read_ids(output) == ["t0", "t1", "t2", "t3", "t4"]


def test_half_of_a_surrogate_pair_in_a_reply_is_no_reason_to_stop(tmp_path):
    nlp = make_nlp()
    nlp.get_pipe("llm")._model = make_patient(reply="PER: \ud83d")
    list(annotate(nlp, TEXTS[:1], tmp_path / "a.jsonl"))
    assert json.loads((tmp_path / "a.jsonl").read_bytes())["reply"] == "PER: \ud83d"
    assert read_annotations(tmp_path / "a.jsonl", ["PER"], nlp)[1] == {"not in the text": 1}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"text": "Other."}, "line 1: the annotation of 't0' in the standard style by tests"),
        ({"id": "other"}, "the annotation of 'other'"),
        ({"style": "reasoned"}, "in the reasoned style by"),
        ({"model": "gpt"}, r"by gpt is none of these texts in the standard style by tests\.Patient\.v1\. Write to"),
        ({"reply": None}, "line 1: not an annotation. Expected the fields id, text, style, reply, model"),
        ({"more": "x"}, "not an annotation"),
    ],
)
def test_file_of_another_run_is_refused(tmp_path, nlp, change, message):
    output = tmp_path / "a.jsonl"
    list(annotate(nlp, TEXTS[:1], output))
    write_lines(output, {**json.loads(output.read_text(encoding="utf8")), **change})
    with pytest.raises(ValueError, match=message):
        list(annotate(nlp, TEXTS, output))


def test_pipeline_needs_one_of_our_tasks():
    with pytest.raises(ValueError, match=r"No component of the pipeline \(it is empty\) has the task"):
        find_task(spacy.blank("en"))


# Annotations as passages


def write_annotations(path: Path, style: str, *replies: str, text: str = "Mary met Mary in Paris, Texas.") -> Path:
    records = (
        {"id": f"t{n}", "text": text, "style": style, "reply": reply, "model": "m"} for n, reply in enumerate(replies)
    )
    return write_lines(path, *records)


WORDS = ("Mary", "met", "Mary", "in", "Paris", ",", "Texas", ".")


def test_annotations_become_passages_with_all_labels_asked(tmp_path, nlp):
    path = write_annotations(
        tmp_path / "a.jsonl",
        "reasoned",
        '{"candidates": [{"mention": "Mary", "reason": "a name", "label": "PER"}, {"mention": "Bob", "label": "PER"}, '
        '{"mention": "met", "reason": "a verb", "label": "NONE"}, {"mention": "Texas", "label": "STATE"}]}',
        "LOC: Paris, Texas\nPER: Mar",
        "{}",
    )
    passages, losses = read_annotations(path, ["PER", "LOC"], nlp)
    assert passages == [
        Passage(WORDS, ("PER", "LOC"), (Mention(0, 1, "PER"), Mention(2, 3, "PER")), source="t0"),
        Passage(WORDS, ("PER", "LOC"), (Mention(4, 7, "LOC"),), source="t1"),
        Passage(WORDS, ("PER", "LOC"), (), source="t2"),
    ]
    assert losses == Counter({"not in the text": 1, "unknown label": 1, "inside a word": 1})


@pytest.mark.parametrize(
    "reply, reason", [("", "empty reply"), ("What?", "not parseable"), ('{"PER": ["Mary", "Jo', "cut off")]
)
def test_reply_of_no_use_is_no_passage_but_counted(tmp_path, nlp, reply, reason):
    path = write_annotations(tmp_path / "a.jsonl", "standard", reply, '{"PER": ["Mary"]}')
    passages, losses = read_annotations(path, ["PER"], nlp)
    assert [passage.source for passage in passages] == ["t1"]
    assert losses == Counter({reason: 1})


def test_open_annotations_ask_the_types_that_their_reply_names(tmp_path, nlp):
    replies = ['[("Mary", "person"), ("Paris, Texas", "town"), ("Bob", "dog")]', "What?"]
    passages, losses = read_open_annotations(write_annotations(tmp_path / "a.jsonl", "type", *replies), nlp)
    mentions = (Mention(0, 1, "person"), Mention(2, 3, "person"), Mention(4, 7, "town"))
    assert passages == [Passage(WORDS, ("person", "town"), mentions, source="t0")]
    assert losses == Counter({"not in the text": 1, "not parseable": 1})


def test_open_annotations_are_made_by_the_open_task(tmp_path):
    nlp = make_nlp({"@llm_tasks": "spacy_uniner.OpenNER.v1", "style": "definition"})
    (annotation,) = annotate(nlp, TEXTS[:1], tmp_path / "a.jsonl")
    assert annotation is not None
    assert annotation.style == "definition"


def test_labels_and_open_types_are_not_mixed_up(tmp_path, nlp):
    with pytest.raises(ValueError, match=r"line 1: the style is 'type', expected standard or reasoned\. Read open"):
        read_annotations(write_annotations(tmp_path / "a.jsonl", "type", "[]"), ["PER"], nlp)
    with pytest.raises(ValueError, match="the style is 'standard', expected type or definition"):
        read_open_annotations(write_annotations(tmp_path / "a.jsonl", "standard", "{}"), nlp)


def test_file_without_annotations_is_an_error(tmp_path, nlp):
    with pytest.raises(ValueError, match="has no annotations"):
        read_annotations(write_lines(tmp_path / "a.jsonl"), ["PER"], nlp)
