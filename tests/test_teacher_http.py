"""Asking a server: what is tried again and how often, what is not, and that the key shows up nowhere."""

from __future__ import annotations

import _thread
import itertools
import json
import logging
import re
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from servers import Asked, Handler, echo, make_completion, serving

from spacy_uniner.teacher import http
from spacy_uniner.teacher.cache import Question, Reply
from spacy_uniner.teacher.http import Outcome, Server, read_reply, read_retry_after

KEY = "sk-THIS-is-the-secret-0123456789"
USAGE = {"prompt_tokens": 10, "completion_tokens": 3}


def make_server(base_url: str, **settings) -> Server:
    defaults = {
        "api_key_env": None,
        "key_header": "Authorization",
        "api_version": None,
        "concurrency": 4,
        "max_tries": 3,
        "timeout_s": 5.0,
        "max_wait_s": 0.02,
    }
    return Server(base_url, **{**defaults, **settings})


def ask(server: Server, *prompts: str, parameters: dict | None = None) -> list[Outcome]:
    """Ask prompts and give the outcomes in their order."""
    questions = [Question("teacher", prompt, parameters or {}) for prompt in prompts]
    outcomes: dict[str, Outcome] = {}
    server.ask_all(questions, lambda question, outcome: outcomes.update({question.prompt: outcome}))
    return [outcomes[prompt] for prompt in prompts]


# What is sent


def test_a_request_holds_model_turns_and_parameters():
    parameters = {"system": "Be brief.", "temperature": 0.0, "response_format": {"type": "json_object"}}
    with serving(echo) as server:
        (outcome,) = ask(make_server(server.url), "Who? 宇宙 \ud83d", parameters=parameters)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert "Authorization" not in asked.headers
    assert asked.body == {
        "model": "teacher",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who? 宇宙 \ud83d"}],
        "temperature": 0.0,
        "response_format": {"type": "json_object"},
    }
    assert outcome == Outcome(1, Reply("re: Who? 宇宙 \ud83d", USAGE, "stop"))


def test_the_key_is_sent_as_a_bearer(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", f" {KEY}\n")  # as `export TEACHER_KEY=$(cat file)` may leave it
    with serving(echo) as server:
        ask(make_server(server.url + "/", api_key_env="TEACHER_KEY"), "Who?")
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    assert server.asked[0].path == "/v1/chat/completions"


def test_azure_gets_its_header_and_version(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    settings = {"api_key_env": "TEACHER_KEY", "key_header": "api-key", "api_version": "2024-10-21"}
    with serving(echo) as server:
        url = server.url.replace("/v1", "/openai/deployments/ours")
        (outcome,) = ask(make_server(url, **settings), "Who?")
    assert outcome.reply is not None
    assert server.asked[0].path == "/openai/deployments/ours/chat/completions?api-version=2024-10-21"
    assert server.asked[0].headers["api-key"] == KEY
    assert "Authorization" not in server.asked[0].headers


# What comes back, and when


def test_requests_run_at_once_but_not_more_than_allowed():
    def slow(handler: Handler, asked: Asked) -> None:
        time.sleep(0.1)
        echo(handler, asked)

    prompts = [f"prompt {n}" for n in range(20)]
    with serving(slow) as server:
        start = time.monotonic()
        outcomes = ask(make_server(server.url, concurrency=5), *prompts)
        seconds = time.monotonic() - start
    assert [outcome.reply.text for outcome in outcomes] == [f"re: {prompt}" for prompt in prompts]
    assert server.most_open == 5
    assert seconds < 1.5, "One by one they would take 2 seconds."


def test_outcomes_are_kept_as_they_come():
    """A prompt is answered only when all later ones have been kept."""
    kept: list[str] = []

    def backwards(handler: Handler, asked: Asked) -> None:
        while len(kept) < 3 - int(asked.prompt):
            time.sleep(0.001)
        echo(handler, asked)

    with serving(backwards) as server:
        questions = [Question("teacher", str(n)) for n in range(4)]
        make_server(server.url).ask_all(questions, lambda question, _: kept.append(question.prompt))
    assert kept == ["3", "2", "1", "0"]


def test_who_has_asked_asks_no_more_before_the_outcome_is_kept():
    """Else a kill could lose any number of replies that wait to be written."""
    n_kept = 0
    at_stake = []

    def keep(question: Question, outcome: Outcome) -> None:
        nonlocal n_kept
        time.sleep(0.02)  # a slow disk
        at_stake.append(len(server.asked) - n_kept)
        n_kept += 1

    with serving(echo) as server:
        make_server(server.url, concurrency=3).ask_all([Question("teacher", str(n)) for n in range(20)], keep)
    assert n_kept == 20
    assert max(at_stake) == 3


def test_a_server_that_answers_twice_answers_no_other_question():
    def twice(handler: Handler, asked: Asked) -> None:
        response = handler.make_response(200, make_completion(f"re: {asked.prompt}"))
        handler.wfile.write(response + response)

    prompts = [f"prompt {n}" for n in range(12)]
    with serving(twice) as server:
        outcomes = ask(make_server(server.url, concurrency=2), *prompts)
    assert [outcome.reply.text for outcome in outcomes] == [f"re: {prompt}" for prompt in prompts]
    assert len(server.asked) == 12


@pytest.mark.parametrize(
    "text, others, expected",
    [
        ("cut", {"finish_reason": "length"}, Reply("cut", USAGE, "length")),
        (None, {"finish_reason": "content_filter"}, Reply("", USAGE, "content_filter")),
        ("free", {"usage": None}, Reply("free", {}, "stop")),
        ("odd", {"usage": {"prompt_tokens": "ten", "completion_tokens": -1}}, Reply("odd", {}, "stop")),
        ("odd", {"finish_reason": 3}, Reply("odd", USAGE, "")),
    ],
)
def test_reply_is_read(text, others, expected):
    assert read_reply(make_completion(text, **others)) == expected


# What is tried again


def once(misbehave) -> object:
    """Misbehave at the first request for a prompt, then echo."""

    def behave(handler: Handler, asked: Asked) -> None:
        (echo if asked.n_before else misbehave)(handler, asked)

    return behave


BAD_ONCE = {
    **{f"status {n}": lambda handler, _, n=n: handler.send(n, b"{}") for n in (408, 409, 429, 500, 502, 503, 504, 529)},
    "connection dropped": lambda handler, _: handler.drop(),
    "body cut": lambda handler, asked: handler.cut(asked.prompt),
    "silence": lambda handler, _: time.sleep(1.0),
    "dripping": lambda handler, asked: handler.drip(asked.prompt, 0.02),
    "no JSON": lambda handler, _: handler.send(200, b"<html>"),
    "half a JSON": lambda handler, _: handler.send(200, make_completion("half")[:50]),
    "other JSON": lambda handler, _: handler.send(200, b'{"error": {"message": "overloaded"}}'),
    "a list": lambda handler, _: handler.send(200, b"[]"),
    "no choices": lambda handler, _: handler.send(200, b'{"choices": []}'),
    "null choice": lambda handler, _: handler.send(200, b'{"choices": [null]}'),
    "deep JSON": lambda handler, _: handler.send(200, b"[" * 100_000),
    "no UTF-8": lambda handler, _: handler.send(200, b'{"choices": [{"message": {"content": "\xff"}}]}'),
    "bad gzip": lambda handler, _: handler.send(200, b"no gzip", Content_Encoding="gzip"),
    "no HTTP": lambda handler, _: handler.wfile.write(b"HELLO\r\n\r\n"),
}


@pytest.mark.parametrize("misbehave", BAD_ONCE.values(), ids=BAD_ONCE)
def test_a_server_that_misbehaves_once_is_asked_again(misbehave):
    with serving(once(misbehave)) as server:
        good, bad = ask(make_server(server.url, timeout_s=0.5), "good", "bad")
    assert [outcome.reply and outcome.reply.text for outcome in (good, bad)] == ["re: good", "re: bad"]
    assert [good.n_tries, bad.n_tries] == [2, 2]
    assert len(server.asked) == 4


def test_a_burst_of_429_is_sat_out():
    """Of twelve questions the first ten requests are refused, whatever they ask."""

    def burst(handler: Handler, asked: Asked) -> None:
        with handler.server.lock:
            n_asked = len(handler.server.asked)
        handler.send(429, b"{}") if n_asked <= 10 else echo(handler, asked)

    prompts = [f"prompt {n}" for n in range(12)]
    with serving(burst) as server:
        outcomes = ask(make_server(server.url, max_tries=11), *prompts)
    assert [outcome.reply.text for outcome in outcomes] == [f"re: {prompt}" for prompt in prompts]
    assert sum(outcome.n_tries for outcome in outcomes) == len(server.asked) == 22


@pytest.mark.parametrize(
    "misbehave, reason",
    [
        (BAD_ONCE["status 500"], r"^status 500: \{\}$"),
        (BAD_ONCE["connection dropped"], "^ReadError|^RemoteProtocolError"),
        (BAD_ONCE["body cut"], "^RemoteProtocolError: peer closed connection without sending complete message body"),
        (BAD_ONCE["silence"], "^ReadTimeout"),
        (BAD_ONCE["dripping"], "^the answer took longer than 0.2 s$"),
        (BAD_ONCE["no JSON"], "^status 200, but no chat completion: <html>$"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_after_max_tries_there_is_a_reason(misbehave, reason):
    with serving(misbehave) as server:
        (outcome,) = ask(make_server(server.url, timeout_s=0.2), "bad")
    assert outcome.reply is None
    assert not outcome.is_permanent
    assert outcome.n_tries == len(server.asked) == 3
    assert re.search(reason, outcome.reason)


def test_content_that_is_no_text_is_not_asked_for_again():
    with serving(lambda handler, _: handler.send(200, b'{"choices": [{"message": {"content": 3}}]}')) as server:
        (outcome,) = ask(make_server(server.url), "bad")
    assert outcome.is_permanent
    assert outcome.n_tries == len(server.asked) == 1
    assert outcome.reason.startswith("status 200, but the content is no text")


def test_content_in_parts_is_put_together():
    parts = [{"type": "text", "text": '["John"]'}, {"type": "refusal"}, {"type": "text", "text": " ."}]
    body = json.dumps({"choices": [{"message": {"content": parts}}]}).encode("utf8")
    assert read_reply(body).text == '["John"] .'


def test_a_server_that_is_not_there():
    with serving(echo) as server:
        url = server.url
    (outcome,) = ask(make_server(url), "Who?")
    assert outcome.reply is None
    assert outcome.n_tries == 3
    assert outcome.is_setup
    assert not outcome.is_permanent
    assert outcome.reason.startswith("ConnectError: ")


def test_waits_grow_and_vary(monkeypatch):
    waits = []
    monkeypatch.setattr(threading.Event, "wait", lambda _, timeout=None: waits.append(timeout))
    server = make_server("http://127.0.0.1:1/v1", max_tries=8, max_wait_s=20.0)
    monkeypatch.setattr(Server, "_try_once", fail_always)
    for _ in range(50):
        server._ask(None, "", threading.Event(), Question("teacher", "Who?"))
    by_try = [waits[n::7] for n in range(7)]
    for n, some in enumerate(by_try):
        most = min(2.0**n, 20.0)
        assert max(some) <= most
        assert max(some) > most / 2
        assert len(set(some)) > 40


def fail_always(*_) -> Reply:
    raise http._Failed("no")


# Retry-After


@pytest.mark.parametrize(
    "header, seconds",
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("", 0.0),
        ("-3", 0.0),
        ("nan", 0.0),
        ("soon", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read(header, seconds):
    assert read_retry_after(header) == seconds


@pytest.mark.parametrize("form", [format_datetime, lambda date: date.strftime("%a, %d %b %Y %H:%M:%S")])
def test_retry_after_as_a_date_is_read(form):
    assert 8.0 < read_retry_after(form(datetime.now(timezone.utc) + timedelta(seconds=10))) <= 10.0


@pytest.mark.parametrize("header", ["1", lambda: format_datetime(datetime.now(timezone.utc) + timedelta(seconds=2))])
def test_the_server_says_when_to_come_back(header):
    said = header if isinstance(header, str) else header()
    with serving(once(lambda handler, _: handler.send(429, b"{}", Retry_After=said))) as server:
        ask(make_server(server.url, max_wait_s=3.0, max_tries=2), "Who?")
    first, second = server.asked
    assert 0.9 < second.at - first.at < 3.0


def test_the_server_cannot_make_us_wait_forever():
    with serving(once(lambda handler, _: handler.send(503, b"{}", Retry_After="inf"))) as server:
        (outcome,) = ask(make_server(server.url, max_wait_s=0.1), "Who?")
    assert outcome.reply is not None
    assert 0.1 <= server.asked[1].at - server.asked[0].at < 1.0


# What is not tried again


@pytest.mark.parametrize(
    "status, body, is_setup, reason",
    [
        (400, b'{"error": "too\\n  long"}', False, r'status 400: {"error": "too\n long"}'),
        (401, b"Incorrect key: sk-12...89", True, "status 401"),
        (403, b"forbidden", True, "status 403"),
        (404, b"no such model", True, "status 404: no such model"),
        (422, b"", False, "status 422: "),
        (307, b"", True, "status 307: "),
        (429, b'{"code": "insufficient_quota"}', True, 'status 429: {"code": "insufficient_quota"}'),
    ],
)
def test_what_will_not_get_better_is_asked_once(status, body, is_setup, reason):
    location = {"Location": "http://127.0.0.1:1/elsewhere"} if status == 307 else {}
    with serving(lambda handler, _: handler.send(status, body, **location)) as server:
        (outcome,) = ask(make_server(server.url), "Who?")
    assert outcome == Outcome(1, None, reason, is_permanent=True, is_setup=is_setup)
    assert len(server.asked) == 1


def test_a_body_without_end_is_not_read():
    def flood(handler: Handler, asked: Asked) -> None:
        handler.wfile.write(b"HTTP/1.1 200 -\r\nContent-Length: 99999999999\r\n\r\n")
        for _ in itertools.count():
            handler.wfile.write(b" " * 1_000_000)

    with serving(flood) as server:
        (outcome,) = ask(make_server(server.url), "Who?")
    assert outcome == Outcome(1, None, "the answer is longer than 8388608 bytes", is_permanent=True)


def test_a_header_that_cannot_be_is_asked_once(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with serving(echo) as server:
        (outcome,) = ask(make_server(server.url, api_key_env="TEACHER_KEY", key_header="api key"), "Who?")
    assert outcome.n_tries == 1
    assert outcome.reason.startswith("LocalProtocolError: Illegal header name")
    assert outcome.is_setup
    assert server.asked == []


def test_a_bad_question_does_not_harm_the_others():
    def behave(handler: Handler, asked: Asked) -> None:
        handler.send(400, b"too long") if asked.prompt == "bad" else echo(handler, asked)

    with serving(behave) as server:
        good, bad, also_good = ask(make_server(server.url), "good", "bad", "also good")
    assert [outcome.reply and outcome.reply.text for outcome in (good, bad, also_good)] == [
        "re: good",
        None,
        "re: also good",
    ]


# Interrupts


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupt_keeps_what_is_under_way_and_starts_no_more(error):
    """Four are under way when the first is kept; six are not begun."""
    all_there = threading.Barrier(4, timeout=10)

    def behave(handler: Handler, asked: Asked) -> None:
        if int(asked.prompt) < 4:
            all_there.wait()
        time.sleep(0.0 if asked.prompt == "0" else 0.3)
        echo(handler, asked)

    kept = []

    def keep(question: Question, outcome: Outcome) -> None:
        assert outcome.reply is not None
        kept.append(question.prompt)
        if question.prompt == "0" and error is KeyboardInterrupt:
            _thread.interrupt_main()  # as Ctrl-C does
        elif question.prompt == "0":
            raise error("disk full")

    with serving(behave) as server:
        with pytest.raises(error):
            make_server(server.url).ask_all([Question("teacher", str(n)) for n in range(10)], keep)
        asked = {asked.prompt for asked in server.asked}
    assert {"0", "1", "2", "3"} <= set(kept) == asked
    assert len(asked) <= 5, "The worker that was done first may have begun another."


def test_an_interrupt_ends_the_waits():
    outcomes = []

    def behave(handler: Handler, asked: Asked) -> None:
        echo(handler, asked) if asked.prompt == "good" else handler.send(503, b"{}", Retry_After="60")

    def keep(question: Question, outcome: Outcome) -> None:
        outcomes.append((question.prompt, outcome.n_tries))
        if outcome.reply:
            time.sleep(0.2)
            _thread.interrupt_main()

    with serving(behave) as server:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            make_server(server.url, max_wait_s=60.0).ask_all(
                [Question("teacher", prompt) for prompt in ("bad", "good")], keep
            )
    assert time.monotonic() - start < 5.0
    assert ("good", 1) in outcomes
    assert sum(n_tries for _, n_tries in outcomes) == len(server.asked) <= 3


# Settings and keys


@pytest.mark.parametrize(
    "settings", [{"concurrency": 0}, {"max_tries": 0}, {"timeout_s": 0.0}, {"max_wait_s": -1.0}], ids=str
)
def test_numbers_are_checked(settings):
    with pytest.raises(ValueError, match="A server needs concurrency >= 1, max_tries >= 1"):
        make_server("http://127.0.0.1:1/v1", **settings)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000/v1",
        "ftp://host/v1",
        "http://",
        "http://host:port/v1",
        f"http://user:{KEY}@host/v1",
        f"https://host/v1?api-key={KEY}",
    ],
)
def test_addresses_are_checked_and_not_shown(url):
    with pytest.raises(ValueError, match="base_url must be an address such as") as caught:
        make_server(url)
    assert KEY not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_missing_key_is_named_by_its_variable(monkeypatch, value):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TEACHER_KEY", value)
    with pytest.raises(
        ValueError, match=r"The environment variable TEACHER_KEY holds no key for http.*set api_key_env"
    ):
        ask(make_server("http://127.0.0.1:1/v1", api_key_env="TEACHER_KEY"), "Who?")


@pytest.mark.parametrize("key", [f"{KEY}\n{KEY}", f"{KEY}é"], ids=ascii)
def test_a_key_that_no_header_can_carry_is_not_shown(monkeypatch, key):
    monkeypatch.setenv("TEACHER_KEY", key)
    with pytest.raises(ValueError, match="The key in TEACHER_KEY has characters that no header can carry") as caught:
        ask(make_server("http://127.0.0.1:1/v1", api_key_env="TEACHER_KEY"), "Who?")
    assert KEY not in str(caught.value)


GOSSIPS = {
    "reply": lambda handler, _: handler.answer(f"your key is {handler.headers['Authorization']}"),
    "error": lambda handler, _: handler.send(400, f"bad {handler.headers['Authorization']}".encode()),
    "cut error": lambda handler, _: handler.send(500, b"x" * 180 + handler.headers["Authorization"].encode()),
    "wrong key": lambda handler, _: handler.send(401, f"no {handler.headers['Authorization']}".encode()),
    "no completion": lambda handler, _: handler.send(200, handler.headers["Authorization"].encode()),
    "header": lambda handler, _: handler.send(400, b"{}", X_Key=handler.headers["Authorization"]),
    "no HTTP": lambda handler, _: handler.wfile.write(handler.headers["Authorization"].encode() + b"\r\n\r\n"),
}


@pytest.mark.parametrize("gossip", GOSSIPS.values(), ids=GOSSIPS)
def test_a_server_that_repeats_the_key_is_not_quoted(monkeypatch, caplog, gossip):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with caplog.at_level(logging.DEBUG, "spacy_uniner"), serving(gossip) as server:
        server_ = make_server(server.url, api_key_env="TEACHER_KEY")
        (outcome,) = ask(server_, "Who?")
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    shown = repr((outcome, server_)) + caplog.text
    assert KEY[:8] not in shown


@pytest.mark.parametrize("gossip", [GOSSIPS["error"], GOSSIPS["no completion"]])
def test_a_short_key_is_hidden_from_errors_too(monkeypatch, gossip):
    monkeypatch.setenv("TEACHER_KEY", "hush-hush")
    with serving(gossip) as server:
        (outcome,) = ask(make_server(server.url, api_key_env="TEACHER_KEY"), "Who?")
    assert "Bearer ***" in outcome.reason


def test_a_placeholder_for_a_key_leaves_replies_as_they_are(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "EMPTY")
    with serving(lambda handler, _: handler.answer("The list is EMPTY.")) as server:
        (outcome,) = ask(make_server(server.url, api_key_env="TEACHER_KEY"), "Who?")
    assert outcome.reply.text == "The list is EMPTY."
