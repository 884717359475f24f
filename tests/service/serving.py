"""Servers on loopback for tests, and a gate that holds a pipeline up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import spacy
import uvicorn
from fastapi import FastAPI
from spacy.language import Language
from spacy.tokens import Doc


@contextmanager
def run_server(app: FastAPI) -> Iterator[uvicorn.Server]:
    """Run a server in a thread, on a free port of loopback, `server.url`; stop it as SIGTERM would."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server: Any = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10))
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
        assert not thread.is_alive()


def wait_until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class Gate:
    """A component in front of `universal_ner` that lets texts pass when it is open, and fails on "fail!"."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.is_open.set()
        self.seen: list[str] = []

    def __call__(self, doc: Doc) -> Doc:
        self.seen.append(doc.text)
        if not self.is_open.wait(timeout=30):
            raise TimeoutError
        if "fail!" in doc.text:
            raise ValueError("a text that no pipeline can read")
        return doc


def make_nlp(folder: Any) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe("universal_ner", config={"model": {"name": str(folder), "precision": "float32"}, "threshold": 0.3})
    return nlp
