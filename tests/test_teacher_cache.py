"""The file of replies: what is written is there, whoever is killed, and whoever else writes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spacy_uniner.teacher.cache import Question, Reply, ReplyCache, read_replies, to_line

QUESTION = Question("teacher", "Who met Alan?", {"temperature": 0.0})
REPLY = Reply("Sally", {"prompt_tokens": 10, "completion_tokens": 3}, "stop")


def ask(n: int) -> tuple[Question, Reply]:
    return Question("teacher", f"prompt {n}", {"seed": n}), Reply(f"reply {n}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "replies.jsonl"


# Keys


def test_key_is_the_hash_of_canonical_json():
    # printf '%s' '{"model":"teacher","parameters":{"temperature":0.0},"prompt":"Who met Alan?"}' | sha256sum
    assert QUESTION.key == "ca527e7c5be43614de77dc1e2e62b7a9bf196e4c6bbe05114e7fb118a7ba7c2f"


def test_key_ignores_the_order_of_parameters():
    assert Question("m", "p", {"a": 1, "b": 2}).key == Question("m", "p", {"b": 2, "a": 1}).key


@pytest.mark.parametrize(
    "other",
    [
        Question("other", "Who met Alan?", {"temperature": 0.0}),
        Question("teacher", "Who met Sally?", {"temperature": 0.0}),
        Question("teacher", "Who met Alan?", {"temperature": 1.0}),
        Question("teacher", "Who met Alan?", {}),
        Question("teacher", "Alan Who met?", {"temperature": 0.0}),  # the same words
    ],
)
def test_key_tells_questions_apart(other):
    assert other.key != QUESTION.key


# Lines


def test_a_line_holds_the_question_and_the_reply(path):
    ReplyCache(path).add(QUESTION, REPLY)
    assert json.loads(path.read_text("utf8")) == {
        "key": QUESTION.key,
        "model": "teacher",
        "prompt": "Who met Alan?",
        "parameters": {"temperature": 0.0},
        "reply": "Sally",
        "usage": {"prompt_tokens": 10, "completion_tokens": 3},
        "finish_reason": "stop",
    }


@pytest.mark.parametrize(
    "text",
    ["", "two\nlines\r\nand more", "line\u2028separator\x85", "İstanbul 宇宙 🚀", "half a pair \ud83d", '"\\'],
    ids=ascii,
)
def test_any_text_comes_back_unchanged(path, text):
    question = Question("teacher", text)
    ReplyCache(path).add(question, Reply(text))
    assert list(read_replies(path)) == [(question, Reply(text))]


def test_a_text_is_readable_in_the_file(path):
    ReplyCache(path).add(Question("teacher", "宇宙?"), Reply("İstanbul"))
    assert "宇宙?" in path.read_text("utf8")
    assert "İstanbul" in path.read_text("utf8")


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"{", "JSONDecodeError"),
        (b"[]", "TypeError"),
        (b'{"model": "m", "prompt": "p", "parameters": {}}', "KeyError: 'reply'"),
        (b'{"model": "m", "prompt": "p", "parameters": {}, "reply": null}', "'reply' is None"),
        (b"\xff", "UnicodeDecodeError"),
        (b"", "JSONDecodeError"),
    ],
)
def test_a_broken_line_is_named(path, line, reason):
    path.parent.mkdir()
    path.write_bytes(to_line(*ask(1)) + line + b"\n" + to_line(*ask(2)))
    with pytest.raises(ValueError, match=rf"replies.jsonl, line 2: not a reply .*{reason}.*Remove the line"):
        ReplyCache(path).refresh()


# The cache


def test_a_new_object_finds_what_another_wrote(path):
    first = ReplyCache(path)
    for n in range(3):
        first.add(*ask(n))
    second = ReplyCache(path)
    assert second.get(ask(1)[0]) is None  # nothing is read before it is needed
    second.refresh()
    assert [second.get(ask(n)[0]) for n in range(4)] == [Reply("reply 0"), Reply("reply 1"), Reply("reply 2"), None]
    assert len(second) == 3


def test_a_reply_is_on_the_disk_before_add_returns(path, monkeypatch):
    synced = []
    sync = os.fsync

    def spy(descriptor: int) -> None:
        sync(descriptor)
        synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", spy)
    cache = ReplyCache(path)
    cache.add(*ask(1))
    assert synced == [to_line(*ask(1))] * 2, "The file, and the folder with its name."
    cache.add(*ask(2))
    assert synced[2:] == [to_line(*ask(1)) + to_line(*ask(2))]


def test_the_first_reply_stays(path):
    one, other = ReplyCache(path), ReplyCache(path)
    other.refresh()
    assert one.add(QUESTION, Reply("first")) == Reply("first")
    assert other.add(QUESTION, Reply("second")) == Reply("first")
    assert one.add(QUESTION, Reply("third")) == Reply("first")
    assert [reply.text for _, reply in read_replies(path)] == ["first"]


def test_an_unfinished_line_is_cut_off_wherever_it_ends(path, caplog):
    path.parent.mkdir()
    whole, torn, new = (to_line(*ask(n)) for n in range(3))
    for n_bytes in range(len(torn)):
        path.write_bytes(whole + torn[:n_bytes])
        cache = ReplyCache(path)
        cache.refresh()
        assert len(cache) == 1
        cache.add(*ask(2))
        assert path.read_bytes() == whole + new
        assert cache.n_torn == (n_bytes > 0)
    assert f"cut off an unfinished last line ({len(torn) - 1} bytes)" in caplog.text


def test_reading_leaves_an_unfinished_line_where_it_is(path, caplog):
    path.parent.mkdir()
    content = to_line(*ask(1)) + to_line(*ask(2))[:-5]
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert list(read_replies(path)) == [ask(1)]
    assert path.read_bytes() == content
    assert "the last line is unfinished" in caplog.text


@pytest.mark.parametrize("size", [1, 1000])
def test_a_file_that_was_removed_meanwhile_is_begun_anew(path, size):
    cache = ReplyCache(path)
    cache.add(*ask(1))
    path.unlink()
    question = Question("teacher", "long " * size)
    assert cache.add(question, REPLY) == REPLY
    assert list(read_replies(path)) == [(question, REPLY)]
    other = Question("teacher", "other")
    ReplyCache(path).add(other, REPLY)
    cache.refresh()
    assert cache.get(other) == REPLY


def test_a_disk_that_refuses_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ReplyCache(tmp_path / "file" / "replies.jsonl").add(QUESTION, REPLY)


WRITER = """
import sys
from spacy_uniner.teacher.cache import Question, Reply, ReplyCache

cache = ReplyCache(sys.argv[1])
for n in range(int(sys.argv[2]), int(sys.argv[3])):
    kept = cache.add(Question("teacher", f"prompt {n}"), Reply(f"by {sys.argv[2]}" + "." * 20_000))
    print(n, kept.text.rstrip("."))
"""


def test_processes_share_a_file(path):
    bounds = [(0, 60), (20, 80), (40, 100)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(start), str(end)], stdout=subprocess.PIPE, text=True
        )
        for start, end in bounds
    ]
    outputs = [writer.communicate(timeout=60)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    lines = [(question.prompt, reply.text.rstrip(".")) for question, reply in read_replies(path)]
    assert sorted(prompt for prompt, _ in lines) == sorted(f"prompt {n}" for n in range(100)), "Each once."
    kept = {
        (f"prompt {n}", text) for output in outputs for n, text in (line.split(" ", 1) for line in output.splitlines())
    }
    assert kept == set(lines), "All processes keep the reply that the file has."
