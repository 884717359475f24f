from __future__ import annotations

import asyncio
import json
import logging
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.training import Example

from spacy_uniner.conversation import prefix_of, prompt_of
from spacy_uniner.passages import Mention, Passage
from spacy_uniner.students import server
from spacy_uniner.students.answers import Asking
from spacy_uniner.students.server import ServerError, ServerSettings, ServerStudent, read_logprobs

PASSAGE = Passage(("Karel", "Čapek", "saw", "Rome", "."), ("writer", "city"))
KEY = "sk-very-secret"


class Fake:
    """A server that answers as told, and remembers what it was asked.

    answer: gives status, headers and body for a request of completions.
    models: the same for the list of models.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]) -> None:
        self.answer = answer
        self.models: tuple[int, dict[str, str], bytes] = (200, {}, b'{"data": []}')
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.n_models = self.n_open = self.n_most = 0
        self.lock = threading.Lock()
        self.url = ""

    @property
    def prompts(self) -> list[str]:
        return [request["prompt"] for request in self.requests]


@contextmanager
def run(fake: Fake) -> Iterator[Fake]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.n_models += 1
            fake.keys.add(self.headers.get("authorization"))
            self.send(*fake.models)

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with fake.lock:
                fake.requests.append(request)
                fake.n_open += 1
                fake.n_most = max(fake.n_most, fake.n_open)
            fake.keys.add(self.headers.get("authorization"))
            try:
                self.send(*fake.answer(request))
            finally:
                with fake.lock:
                    fake.n_open -= 1

        def send(self, status: int, headers: dict[str, str], body: Any) -> None:
            try:
                if callable(body):
                    body(self.wfile)
                    return
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # the other side has gone

        def log_message(self, *_: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    try:
        yield fake
    finally:
        httpd.shutdown()
        httpd.server_close()


def complete(text: str, finish: str = "stop", **more: Any) -> tuple[int, dict[str, str], bytes]:
    choice = {"index": 0, "text": text, "finish_reason": finish, **more}
    return 200, {"content-type": "application/json"}, json.dumps({"choices": [choice]}).encode()


def tell(request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Answer by the type asked."""
    answers = {"writer": ' ["Karel Čapek"]', "city": ' ["Rome"]</s>'}
    return complete(
        next((text for type_, text in answers.items() if f"describes {type_} in" in request["prompt"]), "[]")
    )


def make_student(url: str, **settings: Any) -> ServerStudent:
    quick = {"timeout_s": 10.0, "max_tries": 2, "scores": False, **settings}
    return ServerStudent(ServerSettings(url, "tiny", **quick), Asking(max_new_tokens=64))


# What is asked


def test_every_type_is_asked_in_the_conversation():
    with run(Fake(tell)) as fake:
        output = make_student(fake.url, scores=True).predict([PASSAGE], 0.0)
    assert output.mentions == [(Mention(0, 2, "writer"), Mention(3, 4, "city"))]
    assert sorted(fake.prompts) == sorted(prompt_of(PASSAGE, type_) for type_ in PASSAGE.types)
    expected = {"model": "tiny", "max_tokens": 64, "temperature": 0.0, "stop": ["</s>"], "logprobs": 5}
    assert all({**request, "prompt": None} == {**expected, "prompt": None} for request in fake.requests)
    assert fake.keys == {None}


def test_the_first_prompt_of_a_passage_is_answered_before_the_others_are_sent():
    answered: list[str] = []
    too_early = []

    def answer(request):
        prefix = request["prompt"].partition("What describes")[0]
        if fake.prompts.count(request["prompt"]) and prefix not in answered:
            too_early.extend(p for p in fake.prompts if p.startswith(prefix) and p != request["prompt"])
        time.sleep(0.02)
        answered.append(prefix)
        return tell(request)

    types = tuple(f"type {n}" for n in range(6))
    passages = [Passage((f"w{n}", "saw", "Rome"), types) for n in range(5)]
    with run(Fake(answer)) as fake:
        make_student(fake.url, max_concurrency=3).predict(passages, 0.0)
    assert not too_early
    assert len(fake.prompts) == 30
    for n, prompt in enumerate(fake.prompts):  # at no time more passages are open than requests are allowed
        later = {p.partition("What")[0] for p in fake.prompts[n:]}
        before = {p.partition("What")[0] for p in fake.prompts[:n]}
        assert len(later & before) <= 3, prompt


def test_requests_at_once_are_bounded():
    def answer(request):
        time.sleep(0.05)
        return tell(request)

    passages = [Passage((f"w{n}",), ("a", "b", "c", "d")) for n in range(4)]
    with run(Fake(answer)) as fake:
        make_student(fake.url, max_concurrency=3).predict(passages, 0.0)
    assert 2 <= fake.n_most <= 3


def test_a_long_text_is_asked_in_windows():
    passage = Passage(tuple(f"w{n}" for n in range(450)), ("city",))
    with run(Fake(lambda _: complete('["w100", "w449"]'))) as fake:
        output = make_student(fake.url).predict([passage], 0.0)
    assert len(fake.prompts) == 3
    assert output.mentions == [(Mention(100, 101, "city"), Mention(449, 450, "city"))]
    assert output.n_cut == 0


def test_a_word_that_fills_windows_is_cut_and_counted():
    with run(Fake(lambda _: complete("[]"))) as fake:
        output = make_student(fake.url).predict([Passage(("a" * 9000, "b"), ("city",))], 0.0)
    assert output.n_cut == 1
    assert all(len(prompt) < 2500 for prompt in fake.prompts)


def test_nothing_to_ask_asks_nothing():
    student = make_student("http://127.0.0.1:9/v1")  # nobody is there
    assert student.predict([Passage(()), Passage(("a",)), Passage((" ",), ("city",))], 0.0).mentions == [(), (), ()]


def test_it_runs_where_a_loop_runs_already():
    async def inside():
        return make_student(fake.url).predict([PASSAGE], 0.0)

    with run(Fake(tell)) as fake:
        assert len(asyncio.run(inside()).mentions[0]) == 2


# Scores


def test_log_probabilities_of_completions_become_scores():
    tokens = [' ["', "Rome", '", "', "Karel", " Čapek", '"]']
    probabilities = [0.9, 0.8, 0.3, 1.0, 0.5, 0.6]
    tops = [{token: math.log(p)} for token, p in zip(tokens, probabilities)]
    tops[2]['"]'] = math.log(0.6)
    logprobs = {"tokens": tokens, "token_logprobs": [math.log(p) for p in probabilities], "top_logprobs": tops}
    with run(Fake(lambda _: complete("".join(tokens), logprobs=logprobs))) as fake:
        (mentions,) = make_student(fake.url, scores=True).predict([Passage(PASSAGE.words, ("any",))], 0.0).mentions
    assert [m.score for m in mentions] == pytest.approx([0.3 / 0.9 * 0.5 * 0.6, 0.9 * 0.8 * 0.9])


def test_tokens_that_are_parts_of_a_sign_are_put_together():
    steps = [(b'["', -0.1), (b"\xc4", -0.2), (b"\x8c", -0.3), (b'"]', -0.4)]
    content = [{"token": "?", "bytes": list(token), "logprob": value, "top_logprobs": []} for token, value in steps]
    ends, logprobs, closes = read_logprobs({"content": content}, '["Č"]')
    assert ends == (2, 2, 3, 5)
    assert logprobs == (-0.1, -0.2, -0.3, -0.4)
    assert closes == pytest.approx(logprobs)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        [],
        {"tokens": ["x"], "token_logprobs": [-0.1]},
        {"tokens": ["[]"], "token_logprobs": [None]},
        {"tokens": ["[", "]"], "token_logprobs": [-0.1]},
        {"tokens": ["[]"], "token_logprobs": [math.nan]},
        {"tokens": ["[]"], "token_logprobs": [-math.inf]},
        {"content": [{"token": "[]"}]},
    ],
)
def test_log_probabilities_that_do_not_fit_are_none(logprobs):
    assert read_logprobs(logprobs, "[]") is None


def test_without_log_probabilities_mentions_score_one_and_this_is_said_once(caplog):
    with run(Fake(tell)) as fake, caplog.at_level(logging.WARNING):
        student = make_student(fake.url, scores=True)
        mentions = student.predict([PASSAGE], 0.99).mentions + student.predict([PASSAGE], 0.99).mentions
    assert [mention.score for of_one in mentions for mention in of_one] == [1.0] * 4
    (record,) = caplog.records
    assert "gives no log-probabilities that fit its text: its mentions score 1.0" in record.getMessage()


# A server that misbehaves


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(status):
    def answer(request):
        return tell(request) if len(fake.requests) > 2 else (status, {"retry-after": "0"}, b"busy")

    with run(Fake(answer)) as fake:
        output = make_student(fake.url, max_tries=5).predict([PASSAGE], 0.0)
    assert len(output.mentions[0]) == 2


def test_a_server_that_keeps_failing_is_given_up():
    with run(Fake(lambda _: (503, {}, b"still loading"))) as fake, pytest.raises(ServerError) as caught:
        make_student(fake.url, max_tries=3).predict([Passage(("a",), ("city",))], 0.0)
    assert len(fake.requests) == 3
    assert "gave no answer in 3 tries; the last one: status 503, still loading" in str(caught.value)


def test_the_wait_that_a_server_asks_for_is_kept():
    def answer(request):
        times.append(time.monotonic())
        return tell(request) if len(times) > 1 else (429, {"retry-after": "1"}, b"")

    times: list[float] = []
    with run(Fake(answer)) as fake:
        make_student(fake.url).predict([Passage(("a",), ("city",))], 0.0)
    assert times[1] - times[0] >= 1.0


def test_a_server_that_is_not_there_is_an_error():
    with pytest.raises(ServerError, match=r"gave no answer in 2 tries; the last one: ConnectError: .*Is it running"):
        make_student("http://127.0.0.1:9/v1").predict([PASSAGE], 0.0)


def drip(*first: bytes) -> Callable[[Any], None]:
    """Send a byte after another for ever."""

    def write(file: Any) -> None:
        for chunk in first:
            file.write(chunk)
        for _ in range(600):
            file.write(b"x")
            file.flush()
            time.sleep(0.05)

    return write


@pytest.mark.parametrize(
    "body",
    [
        lambda _: time.sleep(5),
        drip(b"HTTP/1.1 200 OK\r\nx-endless: "),
        drip(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n"),
    ],
    ids=["silent", "endless header", "dripping body"],
)
def test_a_server_that_takes_too_long_is_given_up(body):
    start = time.monotonic()
    with run(Fake(lambda _: (200, {}, body))) as fake:
        student = make_student(fake.url, timeout_s=0.5)
        student._is_checked = True
        with pytest.raises(ServerError, match=r"no whole answer within 0\.5 s"):
            student.predict([Passage(("a",), ("city",))], 0.0)
    assert time.monotonic() - start < 5


def test_a_server_that_hangs_up_is_an_error():
    with (
        run(Fake(lambda _: (200, {"content-length": "500"}, b"{"))) as fake,
        pytest.raises(ServerError, match="Protocol"),
    ):
        make_student(fake.url, timeout_s=3).predict([Passage(("a",), ("city",))], 0.0)


def test_an_answer_without_end_is_an_error(monkeypatch):
    monkeypatch.setattr(server, "MAX_REPLY_BYTES", 1_000_000)
    with (
        run(Fake(lambda _: (200, {}, b" " * 2_000_000))) as fake,
        pytest.raises(ValueError, match="sent more than 1 MB for one request"),
    ):
        make_student(fake.url).predict([PASSAGE], 0.0)


@pytest.mark.parametrize(
    "body, reason",
    [
        (b'{"choices": [{"text": "\xff\xfe"}]}', "sent what is no UTF-8 .at byte 23"),
        (b"<html>hello</html>", "sent what is no JSON: <html>hello"),
        (b'{"choices": []}', r"sent no completion, but \{'choices': \[\]\}"),
        (b'{"choices": [{"message": {"content": "hi"}}]}', "sent no completion"),
        (b'{"choices": [{"text": 3}]}', "sent no completion"),
        (b"[1, 2]", r"sent no completion, but \[1, 2\]"),
        (b"null", "sent no completion, but None"),
    ],
)
def test_what_is_no_completion_is_an_error(body, reason):
    with run(Fake(lambda _: (200, {}, body))) as fake, pytest.raises(ValueError, match=reason):
        make_student(fake.url).predict([PASSAGE], 0.0)


def test_a_refused_request_says_what_the_server_says():
    said = b'{"error": "maximum context length is 128 tokens"}'
    with (
        run(Fake(lambda _: (400, {}, said))) as fake,
        pytest.raises(
            ValueError, match=r"refuses a request for 'tiny' \(status 400\): .*128 tokens.* lower max_window_words"
        ),
    ):
        make_student(fake.url).predict([PASSAGE], 0.0)
    assert len(fake.requests) == 1  # not tried again


def test_an_endless_answer_is_cut_by_the_server_and_counted():
    with run(Fake(lambda _: complete('["Rome", "Rom', finish="length"))) as fake:
        student = make_student(fake.url)
        output = student.predict([Passage(PASSAGE.words, ("city",))], 0.0)
    assert output.mentions == [(Mention(3, 4, "city"),)]
    assert (student.heard.n_endless, student.heard.problems) == (1, {"cut off": 1})


def test_half_a_sign_in_json_does_no_harm():
    body = b'{"choices": [{"text": "[\\"\\ud800\\", \\"Rome\\"]"}]}'
    with run(Fake(lambda _: (200, {}, body))) as fake:
        output = make_student(fake.url).predict([Passage(PASSAGE.words, ("city",))], 0.0)
    assert output.mentions == [(Mention(3, 4, "city"),)]


# Health and keys


def test_the_server_is_checked_once():
    with run(Fake(tell)) as fake:
        student = make_student(fake.url)
        student.predict([PASSAGE], 0.0)
        student.predict([PASSAGE], 0.0)
    assert fake.n_models == 1


def test_a_server_without_a_list_of_models_is_fine():
    with run(Fake(tell)) as fake:
        fake.models = (404, {}, b"")
        assert len(make_student(fake.url).predict([PASSAGE], 0.0).mentions[0]) == 2


def test_the_key_is_sent(monkeypatch):
    monkeypatch.setenv("OUR_KEY", f" {KEY}\n")
    with run(Fake(tell)) as fake:
        make_student(fake.url, api_key_env="OUR_KEY").predict([PASSAGE], 0.0)
    assert fake.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_an_error_that_does_not_show_it(status, monkeypatch, caplog):
    monkeypatch.setenv("OUR_KEY", KEY)
    said = f"Incorrect API key provided: {KEY}".encode()
    with run(Fake(tell)) as fake, caplog.at_level(logging.DEBUG):
        fake.models = (status, {}, said)
        student = make_student(fake.url, api_key_env="OUR_KEY")
        with pytest.raises(ValueError, match="refuses the key in OUR_KEY") as caught:
            student.predict([PASSAGE], 0.0)
    assert f"refuses the key in OUR_KEY (status {status}): Incorrect API key provided: …" in str(caught.value)
    assert KEY not in str(caught.value)
    assert all(KEY not in record.getMessage() for record in caplog.records)
    assert not fake.requests


def test_a_missing_key_is_told_from_a_wrong_one():
    with run(Fake(tell)) as fake:
        fake.models = (401, {}, b"")
        with pytest.raises(ValueError, match="refuses a request without a key"):
            make_student(fake.url).predict([PASSAGE], 0.0)


@pytest.mark.parametrize("key", [None, "", "clé", "two\nlines"])
def test_a_variable_without_a_key_is_an_error(key, monkeypatch):
    monkeypatch.delenv("OUR_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OUR_KEY", key)
    with pytest.raises(ValueError, match="the environment variable OUR_KEY is not set or holds no key"):
        make_student("http://127.0.0.1:9/v1", api_key_env="OUR_KEY").predict([PASSAGE], 0.0)


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"url": "http://me:secret@localhost/v1"}, r"holds a user or password\. Put"),
        ({"url": "localhost:8000"}, "needs a URL such as .*, got 'localhost:8000'"),
        ({"url": "http://localhost:port/v1"}, "needs a URL such as .*, got 'http://localhost:port/v1'"),
        ({"model": " "}, "the model's name is blank"),
        ({"max_concurrency": 0}, "max_concurrency is 0, expected more than 0"),
        ({"max_tries": 0}, "max_tries is 0"),
        ({"timeout_s": math.nan}, "timeout_s is nan"),
        ({"max_window_words": -1}, "max_window_words is -1"),
    ],
)
def test_settings_are_checked(settings, reason):
    with pytest.raises(ValueError, match=reason):
        ServerSettings(**{"url": "http://localhost:8000/v1", "model": "x", **settings})


def test_without_httpx_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=r"pip install 'spacy-uniner\[server\]'"):
        make_student("http://localhost:8000/v1").predict([PASSAGE], 0.0)


# In a pipeline


def make_nlp(url, **settings):
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy_uniner.Server.v1", "url": url, "model": "tiny", "max_tries": 1, **settings}
    nlp.add_pipe("universal_ner", config={"labels": {"PER": "writer", "LOC": "city"}, "model": model})
    return nlp


def test_the_component_asks_and_is_saved_without_a_key(tmp_path, monkeypatch):
    monkeypatch.setenv("OUR_KEY", KEY)
    with run(Fake(tell)) as fake:
        nlp = make_nlp(fake.url, api_key_env="OUR_KEY", scores=False)
        doc = nlp("Karel Čapek saw Rome.")
        nlp.to_disk(tmp_path)
        again = spacy.load(tmp_path)("Karel Čapek saw Rome.")
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("Karel Čapek", "PER"), ("Rome", "LOC")]
    assert again.to_json() == doc.to_json()
    assert list(doc.spans["universal_ner"].attrs["scores"]) == [1.0, 1.0]
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_one_bad_doc_does_not_take_its_batch_with_it():
    def answer(request):
        return (400, {}, b"no") if "poison" in request["prompt"] else tell(request)

    with run(Fake(answer)) as fake:
        nlp = make_nlp(fake.url, scores=False)
        failed = []
        nlp.set_error_handler(lambda name, proc, docs, err: failed.extend(doc.text for doc in docs))
        docs = list(nlp.pipe(["Rome.", "poison in Rome.", "Rome again."]))
    assert [len(doc.ents) for doc in docs] == [1, 1]
    assert failed == ["poison in Rome."]


def test_training_points_to_tuning():
    nlp = make_nlp("http://127.0.0.1:9/v1")
    example = Example.from_dict(nlp.make_doc("Rome."), {"entities": [(0, 4, "LOC")]})
    with pytest.raises(ValueError, match=r"A Server is not trained by nlp\.update .* 'uniner tune'"):
        nlp.update([example], sgd=nlp.initialize())


# llama.cpp's own server


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory):
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp gguf")
    folder = tmp_path_factory.mktemp("gguf")
    command = [sys.executable, str(Path(__file__).parent / "llama_server.py"), str(folder)]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            address = process.stdout.readline().strip()
            assert address, (folder / "log.txt").read_text()
            yield f"{address}/v1"
        finally:
            process.stdin.close()
            process.wait(20)


def test_llama_cpp_answers_with_scores(llama_cpp):
    passages = [PASSAGE, Passage(("Rome", "fell", "."), ("city", "writer", "song"))]
    student = make_student(llama_cpp, scores=True, timeout_s=60.0)
    first, second = student.predict(passages, 0.0).mentions
    # The model says ["Karel Čapek", "Rome"] to everything, each token with probability 0.9.
    assert [(m.start, m.end, m.type) for m in first] == [
        (0, 2, "city"),
        (0, 2, "writer"),
        (3, 4, "city"),
        (3, 4, "writer"),
    ]
    assert [m.score for m in first] == pytest.approx([0.9**5] * 2 + [0.9**3] * 2, abs=0.01)
    assert [(m.start, m.end, m.type) for m in second] == [(0, 1, "city"), (0, 1, "song"), (0, 1, "writer")]
    assert student.heard.n_answers == 5
    assert not student.heard.n_endless
    assert student.heard.n_lost == 3  # Čapek is not in the second text


def test_llama_cpp_reads_what_prompts_share_once(llama_cpp):
    httpx = pytest.importorskip("httpx")
    passage = Passage(("Prague",) * 60, ("city", "writer"))
    n_cached = []
    for type_ in passage.types:
        request = {"model": "tiny", "prompt": prompt_of(passage, type_), "max_tokens": 1, "temperature": 0}
        reply = httpx.post(f"{llama_cpp}/completions", json=request, timeout=60).json()
        n_cached.append(reply["timings"]["cache_n"])
    assert n_cached[0] < 200
    assert n_cached[1] > len(prefix_of(passage)) * 0.9  # its tokens are single letters


def test_llama_cpp_refuses_what_is_longer_than_its_context(llama_cpp):
    passage = Passage(tuple("letters" for _ in range(400)), ("city",))
    with pytest.raises(ValueError, match=r"refuses a request for 'tiny' \(status 400\): .*context size"):
        make_student(llama_cpp, max_window_words=400, timeout_s=60.0).predict([passage], 0.0)
    assert make_student(llama_cpp, max_window_words=60, timeout_s=60.0).predict([passage], 0.0).n_cut == 0


def test_the_component_runs_on_llama_cpp(llama_cpp):
    doc = make_nlp(llama_cpp, timeout_s=60.0)("Karel Čapek saw Rome.")
    assert [ent.text for ent in doc.ents] == ["Karel Čapek", "Rome"]
    assert 0.5 < min(doc.spans["universal_ner"].attrs["scores"]) < 0.75
