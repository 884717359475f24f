"""Services around the tiny student."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from serving import Gate, make_nlp, run_server
from spacy.language import Language

from spacy_uniner.service.app import create_app
from spacy_uniner.service.limits import Limits
from spacy_uniner.students.heads import HEAD_GAIN
from spacy_uniner.students.weights import write_student


@pytest.fixture(scope="session")
def hesitant_folder(tiny_student, tmp_path_factory) -> Path:
    """The tiny student with scores of all heights, so that thresholds and overlap make a difference."""
    student = copy.deepcopy(tiny_student)
    with torch.no_grad():
        student.offsets[0] -= 1.0 / HEAD_GAIN
        student.offsets[1] += 4.0 / HEAD_GAIN
    folder = tmp_path_factory.mktemp("hesitant_student")
    write_student(student, folder, {"name": "hesitant"})
    return folder


@pytest.fixture(scope="session")
def service_nlp(tiny_folder) -> Language:
    """A pipeline with the tiny student and no labels of its own. Shared: only for apps that leave it as it is."""
    return make_nlp(tiny_folder)


@pytest.fixture(scope="session")
def service(service_nlp) -> Iterator[httpx.Client]:
    """A client of a service with usual limits."""
    with run_server(create_app(service_nlp)) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def gated(tiny_folder, gate) -> Iterator[Callable[..., Any]]:
    """Makes a client of a service that answers one text after the other when `gate` is open; takes its limits."""
    nlp = make_nlp(tiny_folder)
    Language.component("service_test_gate", func=gate)
    nlp.add_pipe("service_test_gate", first=True)

    @contextmanager
    def make(**limits: Any) -> Iterator[httpx.Client]:
        settings = {"max_batch_texts": 1, "max_texts": 3, "max_queue_texts": 3} | limits
        app = create_app(nlp, Limits(**settings))
        with run_server(app) as server, httpx.Client(base_url=server.url, timeout=30) as client:
            client.batcher = app.state.batcher  # type: ignore[attr-defined]
            client.server = server  # type: ignore[attr-defined]
            try:
                yield client
            finally:
                gate.is_open.set()

    yield make
    gate.is_open.set()
