"""Recordings become replies that are replayed: the whole way from the news texts of assets/teacher to passages."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import spacy
import spacy_llm.util

from spacy_uniner.spans import locate
from spacy_uniner.teacher.annotations import Text, annotate, read_annotations, read_texts
from spacy_uniner.teacher.cache import Question
from spacy_uniner.teacher.recordings import write_recordings
from spacy_uniner.teacher.tasks import NER

ROOT = Path(__file__).parent.parent
NEWS = ROOT / "assets" / "teacher" / "news"
TEXTS = [Text("a", "Mary left."), Text("b", "Nobody came.")]
ITEM = {"mention": "Mary", "is_entity": True, "label": "PER", "reason": "a name"}


def write_lines(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    return path


def test_reply_stands_with_the_prompt_of_the_task_and_its_key(tmp_path):
    recordings = write_lines(tmp_path / "r.jsonl", {"id": "b", "entities": {"PER": []}}, {"id": "a", "items": [ITEM]})
    output = tmp_path / "out" / "replies.jsonl"
    task = NER(["PER"])
    assert write_recordings(recordings, TEXTS, task, output) == 2
    first, second = map(json.loads, output.read_text(encoding="utf8").splitlines())
    assert (first["prompt"], first["reply"]) == (task.prompt_of("Nobody came."), '{"PER": []}')
    assert (second["prompt"], second["reply"]) == (task.prompt_of("Mary left."), '{"PER": ["Mary"]}')
    assert second["key"] == Question("recorded", second["prompt"], {}).key
    assert (second["model"], second["parameters"]) == ("recorded", {})


@pytest.mark.parametrize(
    "record, style, message",
    [
        ({"id": "c", "items": []}, "standard", r"r\.jsonl, line 1: no text has the id 'c'"),
        ({"items": []}, "standard", "no text has the id None"),
        (
            {"id": "a", "entities": {"PER": []}},
            "reasoned",
            "line 1: It has the fields id, entities, and the reasoned",
        ),
        ({"id": "a", "entities": {"ORG": ["Mary"]}}, "standard", "line 1: Label 'ORG' of 'Mary' was not asked"),
    ],
)
def test_recording_of_another_form_is_an_error_with_file_and_line(tmp_path, record, style, message):
    with pytest.raises(ValueError, match=message):
        write_recordings(write_lines(tmp_path / "r.jsonl", record), TEXTS, NER(["PER"], style), tmp_path / "o.jsonl")
    assert not (tmp_path / "o.jsonl").exists()


def test_file_without_recordings_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="has no recordings"):
        write_recordings(write_lines(tmp_path / "r.jsonl"), TEXTS, NER(["PER"]), tmp_path / "o.jsonl")


@pytest.mark.parametrize("style", ["standard", "reasoned"])
def test_recorded_news_come_back_as_what_was_recorded(style, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    overrides = {"paths.replies": str(tmp_path / "replies.jsonl")}
    nlp = spacy_llm.util.assemble(ROOT / "configs" / f"teacher_{style}.cfg", overrides=overrides)
    texts = read_texts(NEWS / "texts.jsonl")
    assert len(texts) == 223
    task = nlp.get_pipe("llm").task
    assert write_recordings(NEWS / f"{style}.jsonl", texts, task, tmp_path / "replies.jsonl") == 223
    assert sum(annotation is not None for annotation in annotate(nlp, texts, tmp_path / "a.jsonl")) == 223
    passages, losses = read_annotations(tmp_path / "a.jsonl", task.labels, nlp)
    assert losses == Counter()
    recordings = map(json.loads, (NEWS / f"{style}.jsonl").read_text(encoding="utf8").splitlines())
    recorded = {record["id"]: record for record in recordings}
    for passage in passages:
        found = {(" ".join(passage.words[m.start : m.end]), m.type) for m in passage.mentions}
        expected = set()
        for surface, label in list_entities(recorded[passage.source]):
            for start, end in locate([surface], passage.words).runs:
                expected.add((" ".join(passage.words[start:end]), label))
        assert found == expected
    assert [passage.source for passage in passages] == [text.id for text in texts]


def list_entities(record: dict) -> list[tuple[str, str]]:
    if "items" in record:
        return [(item["mention"], item["label"]) for item in record["items"] if item["is_entity"]]
    return [(mention, label) for label, mentions in record["entities"].items() for mention in mentions]


def test_prompts_of_both_styles_differ_for_each_text():
    texts = [text.text for text in read_texts(NEWS / "texts.jsonl")]
    prompts = {NER(["PER"], style).prompt_of(text) for style in ("standard", "reasoned") for text in texts}
    assert len(prompts) == 2 * len(set(texts))


def test_recorded_prompt_is_found_whatever_else_is_in_the_pipeline(tmp_path):
    recordings = write_lines(tmp_path / "r.jsonl", {"id": "a", "items": [ITEM]})
    write_recordings(recordings, TEXTS, NER({"PER": "people"}), tmp_path / "replies.jsonl")
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    task = {"@llm_tasks": "spacy_uniner.NER.v1", "labels": {"PER": "people"}}
    model = {"@llm_models": "spacy_uniner.Recorded.v1", "path": str(tmp_path / "replies.jsonl")}
    nlp.add_pipe("llm", config={"task": task, "model": model})
    assert [(ent.text, ent.label_) for ent in nlp("Mary left.").ents] == [("Mary", "PER")]
