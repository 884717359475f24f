"""`uniner serve` as processes of their own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import spacy
from serving import make_nlp, wait_until
from typer.testing import CliRunner

from spacy_uniner.cli import app

ROOT = Path(__file__).parent.parent.parent
TEXTS = ["Alan Bean flew from Paris to the moon .", "Sally met Alan in Rome .", "Sally " * 300]


@pytest.fixture(scope="module")
def saved(tiny_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "pipeline"
    make_nlp(tiny_folder).to_disk(folder)
    return folder


@contextmanager
def run_process(saved, *options):
    """Run the command, and give the process and a client when it is well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "spacy", "uniner", "serve", "--model", str(saved), "--port", str(port)]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until(lambda: process.poll() is not None or is_well(client), seconds=120)
            assert process.poll() is None, process.stderr.read()
            yield process, client
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def is_well(client):
    try:
        return client.get("/health").status_code == 200
    except httpx.ConnectError:
        return False


def ask(client, text):
    return client.post("/entities", json={"texts": [text], "types": ["person", "city"], "overlap": "any"})


def test_two_processes_at_once_give_the_same_answers(saved):
    with run_process(saved) as (_, one), run_process(saved) as (_, other), ThreadPoolExecutor(2) as threads:
        answers, others = threads.map(lambda client: [ask(client, text) for text in TEXTS * 3], (one, other))
    assert all(answer.status_code == 200 for answer in answers)
    assert [answer.json() for answer in answers] == [answer.json() for answer in others]
    assert [entity["text"] for entity in answers[0].json()["entities"][0]] == ["Alan Bean", "Paris"]
    assert [(e["start"], e["end"], e["label"]) for e in answers[2].json()["entities"][0]] == find_alone(saved, TEXTS[2])


def find_alone(saved, text):
    nlp = spacy.load(saved)
    nlp.get_pipe("universal_ner").cfg["overlap"] = "any"
    doc = nlp(text, component_cfg={"universal_ner": {"labels": ["person", "city"]}})
    return [(span.start_char, span.end_char, span.label_) for span in doc.spans["universal_ner"]]


def test_sigterm_lets_requests_in_flight_be_answered(saved):
    with run_process(saved, "--max-characters", "60000") as (process, client):
        text = TEXTS[0] * 1200
        threads = ThreadPoolExecutor(6)
        answers = [threads.submit(ask, client, text) for _ in range(6)]
        wait_until(lambda: "uniner_queue_texts 0.0" not in client.get("/metrics").text)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert [answer.result().status_code for answer in answers] == [200] * 6
        assert process.wait(timeout=30) in (0, -signal.SIGTERM)
        assert time.monotonic() - started < 30
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--max-texts", "300"], "max_queue_texts is 256, but one request may bring 300 texts"),
        (["--timeout", "0"], "timeout_seconds is 0.0, expected a number above 0"),
        (["--model", "no_such_pipeline"], "no_such_pipeline"),
    ],
)
def test_what_cannot_be_served_is_said(options, message):
    result = CliRunner().invoke(app, ["serve", *options])
    assert result.exit_code == 1
    assert "The service cannot start" in result.output
    assert message in result.output


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(app, ["serve"])
    assert result.exit_code == 1
    assert 'pip install "spacy-uniner[serve]"' in result.output


def test_the_command_imports_nothing_of_the_service_before_it_runs():
    code = "import sys, json, spacy_uniner.cli; json.dump(sorted(sys.modules), sys.stdout)"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert {"fastapi", "uvicorn", "prometheus_client"}.isdisjoint(loaded)
