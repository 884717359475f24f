"""Replies of a teacher in an append-only file: what was asked and paid once is not asked again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """What a reply answers.

    model: the name of the model.
    prompt: the text of the user's turn.
    parameters: all else that is sent and may change the reply, such as the temperature and the system prompt.
    """

    model: str
    prompt: str
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The SHA-256 of the question as JSON: keys sorted, no white space, ASCII."""
        question = {"model": self.model, "prompt": self.prompt, "parameters": self.parameters}
        return hashlib.sha256(json.dumps(question, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Reply:
    """What a teacher answered.

    text: the reply, unchanged.
    usage: "prompt_tokens" and "completion_tokens", as far as the server told.
    finish_reason: why the model stopped, in the server's words: "stop", or "length" if the reply was cut.
    """

    text: str
    usage: dict[str, int] = field(default_factory=dict)
    finish_reason: str = ""


class ReplyCache:
    """A file of replies, one JSON object a line, and the same in memory.

    A reply is on the disk when `add` returns. Several processes may share a file: a lock beside it (PATH.lock) lets
    one write at a time, and each takes up what the others have written. The first reply to a question is the one that
    all of them keep.

    path: the file; made, with its folder, by the first reply.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.n_torn = 0  # lines that a kill or a full disk left unfinished, and that were cut off
        self._replies: dict[str, Reply] = {}
        self._n_bytes = 0  # how much of the file has been read

    def __len__(self) -> int:
        return len(self._replies)

    def refresh(self) -> None:
        """Take up the replies that other processes have written, and those of former runs.

        RAISES: ValueError with file and line if a line is no reply.
        """
        n_bytes = self.path.stat().st_size if self.path.is_file() else 0
        if n_bytes < self._n_bytes:
            self._n_bytes = 0  # somebody removed the file, or put another in its place
        if n_bytes == self._n_bytes:
            return
        for question, reply, end in _read_from(self.path, self._n_bytes):
            self._replies.setdefault(question.key, reply)
            self._n_bytes = end

    def get(self, question: Question) -> Reply | None:
        """Give the reply to a question, as far as `refresh` and `add` have seen it."""
        return self._replies.get(question.key)

    def add(self, question: Question, reply: Reply) -> Reply:
        """Write a reply to the disk, unless the file has one to this question by now.

        RETURNS: the reply that the file has.
        RAISES: OSError if the disk refuses.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock", poll_interval=0.01):
            self.refresh()
            is_new = not self.path.is_file()
            with self.path.open("ab") as file:
                self._mend(file.fileno())
                if question.key not in self._replies:
                    file.write(to_line(question, reply))
                    file.flush()
                    os.fsync(file.fileno())
                    self._replies[question.key] = reply
                    self._n_bytes = file.tell()
            if is_new:
                _sync_folder(self.path.parent)
        return self._replies[question.key]

    def _mend(self, descriptor: int) -> None:
        """Cut off a last line without an end: whoever holds the lock knows that nobody is writing it."""
        n_bytes = os.fstat(descriptor).st_size
        if n_bytes > self._n_bytes:
            os.ftruncate(descriptor, self._n_bytes)
            self.n_torn += 1
            logger.warning("%s: cut off an unfinished last line (%d bytes).", self.path, n_bytes - self._n_bytes)


def read_replies(path: Path) -> Iterator[tuple[Question, Reply]]:
    """Read a file of replies without changing it; a last line without an end is left out, and logged.

    RAISES: ValueError with file and line if a line is no reply.
    """
    n_bytes = 0
    for question, reply, end in _read_from(path, 0):
        n_bytes = end
        yield question, reply
    if path.stat().st_size > n_bytes:
        logger.warning("%s: the last line is unfinished and was left out.", path)


def to_line(question: Question, reply: Reply) -> bytes:
    """Write a question and its reply as a line of the file."""
    record = {
        "key": question.key,
        "model": question.model,
        "prompt": question.prompt,
        "parameters": question.parameters,
        "reply": reply.text,
        "usage": reply.usage,
        "finish_reason": reply.finish_reason,
    }
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf8")
    except UnicodeEncodeError:  # half of a surrogate pair, as a cut reply may have one
        return (json.dumps(record) + "\n").encode("ascii")


def _read_from(path: Path, start: int) -> Iterator[tuple[Question, Reply, int]]:
    """Read the finished lines from an offset in bytes on; with each the offset behind it."""
    end = start
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                question, reply = _from_line(line)
            except (KeyError, TypeError, ValueError) as err:
                with path.open("rb") as again:
                    n_line = again.read(end).count(b"\n") + 1
                raise ValueError(
                    f"{path}, line {n_line}: not a reply ({type(err).__name__}: {err}). Expected a JSON object with "
                    "model, prompt, parameters and reply. Remove the line to have its prompt asked again."
                ) from err
            end += len(line)
            yield question, reply, end


def _from_line(line: bytes) -> tuple[Question, Reply]:
    """Read a line. Its key is not trusted, but computed anew when it is needed."""
    record = json.loads(line)
    for name, kind in (("model", str), ("prompt", str), ("parameters", dict), ("reply", str)):
        if not isinstance(record[name], kind):
            raise TypeError(f"'{name}' is {record[name]!r}")
    question = Question(record["model"], record["prompt"], record["parameters"])
    return question, Reply(record["reply"], record.get("usage", {}), record.get("finish_reason", ""))


def _sync_folder(folder: Path) -> None:
    """Let a new file's name survive a power cut too, where a folder can be synced."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
