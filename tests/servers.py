"""A server on the loopback that speaks OpenAI's chat completions, and misbehaves as a test wants it to."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request.

    body: its JSON.
    n_before: how often the same prompt was asked before.
    """

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    n_before: int
    at: float  # seconds, monotonic

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])


class Handler(BaseHTTPRequestHandler):
    """The ways to answer, good and bad."""

    protocol_version = "HTTP/1.1"
    server: TeacherServer

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        with self.server.lock:
            prompt = body["messages"][-1]["content"]
            n_before = sum(asked.prompt == prompt for asked in self.server.asked)
            asked = Asked(self.path, dict(self.headers), body, n_before, time.monotonic())
            self.server.asked.append(asked)
            self.server.n_open += 1
            self.server.most_open = max(self.server.most_open, self.server.n_open)
        try:
            self.server.behave(self, asked)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was killed, or has lost its patience
        finally:
            with self.server.lock:
                self.server.n_open -= 1

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.wfile.write(self.make_response(status, body, **headers))

    def make_response(self, status: int, body: bytes, **headers: str) -> bytes:
        lines = [f"HTTP/1.1 {status} -", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def answer(self, text: str | None, **others: Any) -> None:
        self.send(200, make_completion(text, **others))

    def cut(self, text: str) -> None:
        """Promise a whole body, send half of it and hang up."""
        response = self.make_response(200, make_completion(text))
        self.wfile.write(response[: len(response) - 40])
        self.close_connection = True

    def drop(self) -> None:
        """Reset the connection without a word."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        self.wfile = self.rfile = open("/dev/null", "rb+")  # noqa: SIM115 - the base class flushes and closes it

    def drip(self, text: str, seconds: float) -> None:
        """Send a body byte by byte."""
        response = self.make_response(200, make_completion(text))
        head = response.index(b"\r\n\r\n") + 4
        self.wfile.write(response[:head])
        for n in range(head, len(response)):
            self.wfile.write(response[n : n + 1])
            time.sleep(seconds)


Behaviour = Callable[[Handler, Asked], None]


class TeacherServer(ThreadingHTTPServer):
    """Keeps what was asked, and how many requests were under way at once."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, behave: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = behave
        self.asked: list[Asked] = []
        self.lock = threading.Lock()
        self.n_open = 0
        self.most_open = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


@contextmanager
def serving(behave: Behaviour) -> Iterator[TeacherServer]:
    """Run a server for as long as the block takes."""
    server = TeacherServer(behave)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_completion(text: str | None, finish_reason: str = "stop", usage: Any = "default") -> bytes:
    """Make the body of a chat completion; ten tokens in, three out."""
    completion = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13} if usage == "default" else usage,
    }
    return json.dumps(completion).encode()


def echo(handler: Handler, asked: Asked) -> None:
    """Answer a prompt by itself."""
    handler.answer(f"re: {asked.prompt}")
