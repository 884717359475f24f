"""`uniner record` and `uniner annotate`, from recordings to a table of what was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Iterable  # noqa: UP035 - spacy-llm does not know the one of collections.abc

import pytest
from spacy_llm.registry import registry
from typer.testing import CliRunner

from spacy_uniner.cli import app

ROOT = Path(__file__).parent.parent
runner = CliRunner()


@registry.llm_models("tests.Silent.v1")
def make_silent(name: str = "", reply: str = "") -> Callable[[Iterable[Iterable[str]]], Iterable[Iterable[str]]]:
    """Make a teacher that says nothing, or always the same."""

    def answer(prompts: Iterable[Iterable[str]]) -> Iterable[Iterable[str]]:
        return [[reply for _ in of_doc] for of_doc in prompts]

    return answer


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    write_lines(tmp_path / "texts.jsonl", {"tokens": ["Mary", "left", "Rome", "."]}, {"tokens": ["It", "rained", "."]})
    write_lines(
        tmp_path / "said.jsonl",
        {"id": "x-00000", "entities": {"PER": ["Mary", "Bob"], "LOC": ["Rome"]}},
        {"id": "x-00001", "entities": {}},
    )
    return tmp_path


def write_lines(path: Path, *records: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")


def run(*words: str | Path) -> str:
    result = runner.invoke(app, [*map(str, words), "--id-prefix", "x-"])
    assert result.exit_code == 0, f"{result.output}{result.exception!r}"
    return result.output


def squeeze(output: str) -> str:
    return " ".join(output.split())


CONFIG = ROOT / "configs" / "teacher_standard.cfg"


def test_recordings_are_replayed_and_counted(folder):
    texts, replies, output = folder / "texts.jsonl", folder / "replies.jsonl", folder / "a.jsonl"
    assert "2 replies written" in run("record", folder / "said.jsonl", texts, replies, "--config", CONFIG)
    told = squeeze(run("annotate", texts, output, "--config", CONFIG, "--paths.replies", replies))
    assert "annotated now 2 before 0 without a reply 0" in told
    assert "PER 1 ORG 0 LOC 1 MISC 0" in told
    assert "not in the text 1" in told
    records = [json.loads(line) for line in output.read_text(encoding="utf8").splitlines()]
    assert [record["id"] for record in records] == ["x-00000", "x-00001"]
    assert records[0]["reply"] == '{"PER": ["Mary", "Bob"], "ORG": [], "LOC": ["Rome"], "MISC": []}'
    told = squeeze(run("annotate", texts, output, "--config", CONFIG, "--paths.replies", replies))
    assert "annotated now 0 before 2 without a reply 0" in told


def test_labels_and_style_are_overridden(folder):
    items = [{"mention": "Mary", "is_entity": True, "label": "person", "reason": "a name"}]
    write_lines(folder / "said.jsonl", {"id": "x-00000", "items": items})
    config = folder / "own.cfg"
    config.write_text(OPEN.replace("OpenNER", "NER").replace('"type"', '"standard"'), encoding="utf8")
    changes = ("--components.llm.task.labels", '["person"]', "--components.llm.task.style", "reasoned")
    run("record", folder / "said.jsonl", folder / "texts.jsonl", folder / "r.jsonl", "--config", config, *changes)
    record = json.loads((folder / "r.jsonl").read_text(encoding="utf8"))
    assert record["reply"] == '{"candidates": [{"mention": "Mary", "reason": "a name", "label": "person"}]}'
    assert "Text: Mary left Rome .\n" in record["prompt"]


def test_another_model_leaves_the_settings_of_the_former_one_behind(folder):
    output = folder / "a.jsonl"
    model = ("--components.llm.model.@llm_models", "tests.Silent.v1", "--components.llm.model.name", "silent")
    told = run("annotate", folder / "texts.jsonl", output, "--config", CONFIG, *model)
    assert "annotated now 0 before 0 without a reply 2" in squeeze(told)
    assert "2 texts got no reply. Run the command again" in squeeze(told)
    assert output.read_bytes() == b""


def test_open_types_are_counted_by_how_often_they_are_found(folder):
    model = ("--components.llm.model.@llm_models", "tests.Silent.v1", "--components.llm.model.reply")
    config = folder / "open.cfg"
    config.write_text(OPEN, encoding="utf8")
    reply = '\'[("Mary", "person"), ("It", "thing")]\''
    told = squeeze(run("annotate", folder / "texts.jsonl", folder / "a.jsonl", "--config", config, *model, reply))
    assert "person 1" in told
    assert "thing 1" in told
    assert "not in the text 2" in told


def test_recordings_are_not_for_open_types(folder):
    config = folder / "open.cfg"
    config.write_text(OPEN, encoding="utf8")
    words = ["record", folder / "said.jsonl", folder / "texts.jsonl", folder / "r.jsonl", "--config", config]
    result = runner.invoke(app, list(map(str, words)))
    assert result.exit_code == 2
    assert "This config asks for open types" in result.output


OPEN = """
[nlp]
lang = "en"
pipeline = ["llm"]

[components]

[components.llm]
factory = "llm"

[components.llm.task]
@llm_tasks = "spacy_uniner.OpenNER.v1"
style = "type"

[components.llm.model]
@llm_models = "spacy_uniner.Recorded.v1"
path = "nowhere.jsonl"
"""
