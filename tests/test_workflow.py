"""The workflow of project.yml: from texts to a corpus, killed on the way, and not repeated when it is done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.tokens import DocBin

ROOT = Path(__file__).parent.parent
pytest.importorskip("spacy_llm")
pytest.importorskip("weasel")


@pytest.fixture
def project(tmp_path):
    """The project in a folder of its own, with fewer texts."""
    for name in ("configs", "project.yml", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    news = tmp_path / "assets" / "teacher" / "news"
    news.mkdir(parents=True)
    texts = list(srsly.read_jsonl(ROOT / "assets" / "teacher" / "news" / "texts.jsonl"))[:90]
    srsly.write_jsonl(news / "texts.jsonl", texts)
    ids = {text["id"] for text in texts}
    for name in ("standard.jsonl", "reasoned.jsonl"):
        recorded = srsly.read_jsonl(ROOT / "assets" / "teacher" / "news" / name)
        srsly.write_jsonl(news / name, [record for record in recorded if record["id"] in ids])
    (news.parent / "examples.jsonl").symlink_to(ROOT / "assets" / "teacher" / "examples.jsonl")
    return tmp_path


def start(project: Path, command: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "weasel", "run", command, ".", "--vars.corpus", "assets/teacher/news/texts.jsonl"]
    return subprocess.Popen(
        words, cwd=project, text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def run(project: Path, command: str) -> str:
    process = start(project, command)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_texts_become_a_corpus_and_a_kill_costs_nothing(project):
    run(project, "record")
    annotations = project / "annotations" / "standard.jsonl"
    rng = random.Random(0)
    for _ in range(2):  # killed when a part is written, wherever it is then
        process = start(project, "annotate")
        size = annotations.stat().st_size if annotations.exists() else 0
        while process.poll() is None and (annotations.stat().st_size if annotations.exists() else 0) <= size:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    run(project, "annotate")
    found = list(srsly.read_jsonl(annotations))
    assert [line["id"] for line in found] == [
        text["id"] for text in srsly.read_jsonl(project / "assets" / "teacher" / "news" / "texts.jsonl")
    ]
    run(project, "curate")
    docs = list(DocBin().from_disk(project / "corpus/distilled/train.spacy").get_docs(spacy.blank("en").vocab))
    recorded = {r["id"]: r["entities"] for r in srsly.read_jsonl(project / "assets/teacher/news/standard.jsonl")}
    assert len(docs) == len(recorded)
    for doc in docs:
        surfaces = {"".join(ent.text.split()) for ent in doc.ents}
        assert surfaces <= {
            "".join(s.split()) for of_label in recorded[doc.user_data["source"]].values() for s in of_label
        }
    again = run(project, "annotate")
    assert "Skipping 'annotate'" in again
