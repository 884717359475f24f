"""The models as spaCy-llm calls them: its own NER task over both, one bad Doc, kills at any moment, costs and keys."""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import spacy
import spacy_llm.registry  # noqa: F401 - makes the registry of models
from servers import Asked, Handler, TeacherServer, echo, serving
from spacy.language import Language

from spacy_uniner.teacher.cache import Question, Reply, ReplyCache, read_replies
from spacy_uniner.teacher.models import OpenAICompatible, Recorded
from spacy_uniner.teacher.usage import Usage

KEY = "sk-THIS-is-the-secret-0123456789"
URL = "http://127.0.0.1:1/v1"  # where nobody listens


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replies.jsonl"


def make_model(server: TeacherServer | str, **settings):
    base_url = server if isinstance(server, str) else server.url
    defaults = {"name": "teacher", "api_key_env": None, "max_tries": 2, "max_wait_s": 0.02, "concurrency": 4}
    return OpenAICompatible(base_url=base_url, **{**defaults, **settings})


def refuse(status: int, *prompts: str):
    """Answer some prompts, or all if none are given, by a status, and echo the others."""

    def behave(handler: Handler, asked: Asked) -> None:
        if not prompts or asked.prompt in prompts:
            handler.send(status, b"nope")
        else:
            echo(handler, asked)

    return behave


# In a pipeline

PEOPLE = "1. {} | True | PER | a person\n2. {} | True | PER | a person\n3. Paris | True | LOC | a city"
TEXTS = {
    "John met Mary in Paris.": PEOPLE.format("John", "Mary"),
    "Mary met John in Paris.": PEOPLE.format("Mary", "John"),  # the same words
    "It rained.": "1. It | False | ==NONE== | a pronoun",
    "Rome lies on the Tiber.": "1. Rome | True | LOC | a city\n2. Tiber | True | LOC | a river",
}
ENTITIES = [
    [("John", "PER"), ("Mary", "PER"), ("Paris", "LOC")],
    [("Mary", "PER"), ("John", "PER"), ("Paris", "LOC")],
    [],
    [("Rome", "LOC"), ("Tiber", "LOC")],
]


def annotate(handler: Handler, asked: Asked) -> None:
    (reply,) = (reply for text, reply in TEXTS.items() if asked.prompt.count(text))
    handler.answer(reply)


def annotate_all_but_rain(handler: Handler, asked: Asked) -> None:
    handler.send(400, b"too long") if "It rained." in asked.prompt else annotate(handler, asked)


def make_nlp(**model) -> Language:
    nlp = spacy.blank("en")
    task = {"@llm_tasks": "spacy.NER.v3", "labels": ["PER", "LOC"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that of a missing context length
        nlp.add_pipe("llm", config={"task": task, "model": model})
    return nlp


def make_server_nlp(server: TeacherServer, **settings) -> Language:
    defaults = {"name": "teacher", "base_url": server.url, "api_key_env": None, "max_tries": 1}
    return make_nlp(**{"@llm_models": "spacy_uniner.OpenAICompatible.v1"}, **{**defaults, **settings})


def entities_of(docs) -> list[list[tuple[str, str]]]:
    return [[(ent.text, ent.label_) for ent in doc.ents] for doc in docs]


def test_ner_over_a_server_and_over_its_recording(path):
    with serving(annotate) as server:
        nlp = make_server_nlp(server, cache=str(path))
        assert entities_of(nlp.pipe(TEXTS)) == ENTITIES
        assert entities_of([nlp("Rome lies on the Tiber.")]) == ENTITIES[3:]
    assert len(server.asked) == len(path.read_bytes().splitlines()) == 4
    replay = make_nlp(**{"@llm_models": "spacy_uniner.Recorded.v1", "path": str(path)})
    assert entities_of(replay.pipe(TEXTS)) == ENTITIES
    with pytest.raises(ValueError, match="has no reply"):
        replay("Somebody else.")


def test_a_batch_is_asked_at_once():
    together = threading.Barrier(4, timeout=10)

    def behave(handler: Handler, asked: Asked) -> None:
        together.wait()
        annotate(handler, asked)

    with serving(behave) as server:
        assert entities_of(make_server_nlp(server).pipe(TEXTS)) == ENTITIES


def test_one_bad_doc_does_not_lose_its_batch(path, tmp_path):
    with serving(annotate_all_but_rain) as server:
        nlp = make_server_nlp(server, cache=str(path), report=str(tmp_path / "report.json"))
        assert entities_of(nlp.pipe(TEXTS)) == ENTITIES
        assert entities_of(nlp.pipe(TEXTS)) == ENTITIES
        assert entities_of([nlp("It rained.")]) == [[]], "Alone it is a batch too."
    report = json.loads((tmp_path / "report.json").read_text("utf8"))
    assert report["failures"] == {"status 400: too long": 3}
    assert len(server.asked) == 4 + 1 + 1, "Only the bad one is asked again."


def test_processes_share_the_cache(path):
    with serving(annotate) as server:
        nlp = make_server_nlp(server, cache=str(path))
        assert entities_of(nlp.pipe(list(TEXTS) * 4, n_process=2, batch_size=2)) == ENTITIES * 4
    assert len(list(read_replies(path))) == 4


def test_a_saved_pipeline_holds_no_key_and_works_again(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with serving(annotate) as server:
        nlp = make_server_nlp(server, cache=str(path), api_key_env="TEACHER_KEY")
        nlp("It rained.")
        nlp.to_disk(tmp_path / "pipeline")
        assert entities_of(spacy.load(tmp_path / "pipeline").pipe(TEXTS)) == ENTITIES
    assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    contents = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b"TEACHER_KEY" in content for content in contents)
    assert not any(KEY.encode() in content for content in [*contents, nlp.to_bytes()])


def test_models_of_spacy_llm_stand_beside_ours():
    names = set(spacy.registry.llm_models.get_all())
    assert {"spacy_uniner.OpenAICompatible.v1", "spacy_uniner.Recorded.v1", "spacy.GPT-4.v3"} <= names
    assert entities_of(make_nlp(**{"@llm_models": "spacy.NoOp.v1"}).pipe(TEXTS)) == [[], [], [], []]


# Order and nesting


def test_replies_keep_order_and_nesting():
    def shuffled(handler: Handler, asked: Asked) -> None:
        time.sleep(random.Random(asked.prompt).random() * 0.05)
        echo(handler, asked)

    nested = [["a", "b"], [], ["c"], *([f"prompt {n}"] for n in range(30)), ["d", "e", "f"]]
    with serving(shuffled) as server:
        replies = make_model(server)(iter(of_doc) for of_doc in nested)  # as spaCy-llm gives them: one pass only
        assert replies == [[f"re: {prompt}" for prompt in of_doc] for of_doc in nested]
        assert make_model(server)([]) == []


def test_the_same_prompt_is_asked_once():
    with serving(echo) as server:
        model = make_model(server)
        assert model([["a"], ["b", "a"], ["a"]]) == [["re: a"], ["re: b", "re: a"], ["re: a"]]
    assert sorted(asked.prompt for asked in server.asked) == ["a", "b"]
    assert model.usage.n_prompts == 2


# The cache


def test_what_is_asked_depends_on_all_that_changes_the_reply(path):
    settings = [
        {},
        {"config": {"temperature": 0.5}},
        {"system": "Be brief."},
        {"name": "other"},
        {"config": {"temperature": 0.5, "seed": 1}},
    ]
    same = [{"concurrency": 2}, {"max_tries": 1}, {"config": {"seed": 1, "temperature": 0.5}}, {"timeout_s": 1.0}]
    with serving(echo) as server:
        for setting in settings:
            make_model(server, cache=path, **setting)([["a"]])
        assert len(server.asked) == len(settings)
        for setting in settings + same:
            assert make_model(server, cache=path, **setting)([["a"]]) == [["re: a"]]
        assert len(server.asked) == len(settings)


def test_a_key_is_only_needed_for_what_is_not_known(path, monkeypatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with serving(echo) as server:
        make_model(server, cache=path)([["a"]])
        model = make_model(server, cache=path, api_key_env="TEACHER_KEY")
        assert model([["a"]]) == [["re: a"]]
        with pytest.raises(ValueError, match="TEACHER_KEY"):
            model([["b"]])


def test_failures_are_not_kept(path):
    with serving(refuse(500, "b")) as server:
        assert make_model(server, cache=path)([["a"], ["b"]]) == [["re: a"], [""]]
    with serving(echo) as server:
        assert make_model(server, cache=path)([["a"], ["b"]]) == [["re: a"], ["re: b"]]
    assert [asked.prompt for asked in server.asked] == ["b"]


def test_a_reply_without_text_is_paid_and_kept(path):
    with serving(lambda handler, _: handler.answer(None, finish_reason="length")) as server:
        model = make_model(server, cache=path)
        assert model([["a"]]) == model([["a"]]) == [[""]]
    assert len(server.asked) == 1
    assert (model.usage.n_empty_replies, model.usage.n_cut_replies, model.usage.n_cached) == (1, 1, 1)


def test_a_reply_is_written_while_others_are_under_way(path):
    def behave(handler: Handler, asked: Asked) -> None:
        deadline = time.monotonic() + 10
        while asked.prompt == "late" and time.monotonic() < deadline:
            if path.is_file() and path.read_bytes().endswith(b"\n"):
                return handler.answer("it was there")
        return handler.answer("early")

    with serving(behave) as server:
        assert make_model(server, cache=path)([["early"], ["late"]]) == [["early"], ["it was there"]]


RUN = """
import sys
from spacy_uniner.teacher.models import OpenAICompatible

model = OpenAICompatible(name="teacher", base_url=sys.argv[1], api_key_env=None, cache=sys.argv[2], concurrency=4)
prompts = [[f"prompt {n}"] for n in range(int(sys.argv[3]))]
batches = [prompts[n : n + 40] for n in range(0, len(prompts), 40)]
replies = [reply for batch in batches for (reply,) in model(batch)]
assert replies == [f"re: {prompt}" + "." * 50_000 for (prompt,) in prompts]
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_points_nothing_received_is_lost_or_asked_twice(path, seed):
    rng = random.Random(seed)
    n_prompts, n_kills = 120, 0

    def behave(handler: Handler, asked: Asked) -> None:
        time.sleep(rng.random() * 0.01)
        handler.answer(f"re: {asked.prompt}" + "." * 50_000)

    def read_prompts() -> list[str]:
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        return [json.loads(line)["prompt"] for line in lines]

    with serving(behave) as server:
        for _ in range(100):
            known, n_before = set(read_prompts()), len(server.asked)
            process = subprocess.Popen([sys.executable, "-c", RUN, server.url, str(path), str(n_prompts)])
            n_until_kill = rng.randrange(1, 40)
            while process.poll() is None and len(server.asked) < n_before + n_until_kill:
                time.sleep(0.0005)
            time.sleep(rng.random() * 0.01)
            if len(server.asked) >= n_before + n_until_kill:
                process.kill()
            n_kills += process.wait(60) == -9
            assert process.returncode in (0, -9)
            while server.n_open:
                time.sleep(0.001)
            assert known.isdisjoint(asked.prompt for asked in server.asked[n_before:]), "What was received is kept."
            assert known <= set(read_prompts())
            if process.returncode == 0:
                break
    everything = [f"prompt {n}" for n in range(n_prompts)]
    assert sorted(read_prompts()) == sorted(everything), "Each has one line."
    assert [reply.text for _, reply in read_replies(path)] == [
        f"re: {prompt}" + "." * 50_000 for prompt in read_prompts()
    ]
    assert n_kills >= 4
    assert len(server.asked) - n_prompts <= 4 * n_kills, "Only what was under way is asked again."


# Failures of all


@pytest.mark.parametrize(
    "status, prompts", [(401, "a"), (403, "ab"), (404, "abc"), (400, "ab"), (307, "a")], ids=lambda value: f"{value}"
)
def test_a_batch_that_can_have_no_reply_is_an_error(status, prompts, tmp_path):
    report = tmp_path / "report.json"
    with serving(refuse(status)) as server:
        model = make_model(server, report=report)
        with pytest.raises(
            RuntimeError, match=rf"No prompt of {len(prompts)} got a reply from .*: status {status}.*Check"
        ):
            model([[prompt] for prompt in prompts])
    assert len(server.asked) == len(prompts)
    assert json.loads(report.read_text("utf8"))["n_failed"] == len(prompts)


def test_a_server_that_is_not_there_is_an_error():
    with serving(echo) as server:
        url = server.url
    with pytest.raises(RuntimeError, match=r"ConnectError.*that the server runs"):
        make_model(url)([["a"], ["b"]])


def test_an_overloaded_server_is_no_error(caplog):
    with serving(refuse(503)) as server:
        assert make_model(server)([["a"], ["b"]]) == [[""], [""]]
    assert len(server.asked) == 4
    assert "2 of 2 prompts got no reply from 'teacher'" in caplog.text
    assert "status 503: nope" in caplog.text


def test_known_replies_keep_a_batch_alive(path):
    """What came from the cache counts: else a batch with two bad Docs would be lost when it is run again."""
    with serving(refuse(400, "b", "c")) as server:
        for _ in range(2):
            assert make_model(server, cache=path)([["a"], ["b"], ["c"]]) == [["re: a"], [""], [""]]


# Settings


@pytest.mark.parametrize("name", ["model", "messages", "system", "stream", "n"])
def test_config_cannot_hold_what_is_set_elsewhere(name):
    with pytest.raises(ValueError, match=f"config holds {name}. The model and the messages are sent anyway"):
        make_model(URL, config={name: 1, "temperature": 0.0})


@pytest.mark.parametrize("value", [{1, 2}, float("nan")])
def test_config_must_be_json(value):
    with pytest.raises(ValueError, match="config cannot be sent as JSON"):
        make_model(URL, config={"stop": value})


# Usage


def test_usage_is_counted_and_priced(path, tmp_path):
    def behave(handler: Handler, asked: Asked) -> None:
        if asked.prompt == "bad":
            handler.send(400, b"too long")
        elif asked.prompt == "again" and not asked.n_before:
            handler.send(500, b"")
        elif asked.prompt == "silent":
            handler.answer("no usage", usage=None)
        else:
            handler.answer("yes", finish_reason="length" if asked.prompt == "long" else "stop")

    ReplyCache(path).add(Question("teacher", "known"), Reply("yes", {"prompt_tokens": 1000, "completion_tokens": 1000}))
    report = tmp_path / "folder" / "report.json"
    with serving(behave) as server:
        model = make_model(server, cache=path, report=report, prices={"prompt": 2.0, "completion": 10.0})
        model([["known"], ["bad"], ["again"]])
        model([["silent"], ["long"]])
    found = json.loads(report.read_text("utf8"))
    seconds, rate = found.pop("seconds"), found.pop("replies_per_second")
    assert 0.0 < seconds < 10.0
    assert rate == pytest.approx(3 / seconds, rel=0.05)
    assert found == {
        "n_prompts": 5,
        "n_cached": 1,
        "n_requests": 5,
        "n_retries": 1,
        "n_replies": 3,
        "n_cut_replies": 1,
        "n_empty_replies": 0,
        "n_replies_without_usage": 1,
        "n_failed": 1,
        "prompt_tokens": 20,
        "completion_tokens": 6,
        "prices": {"prompt": 2.0, "completion": 10.0},
        "dollars": pytest.approx(20 * 2e-6 + 6 * 1e-5),
        "failures": {"status 400: too long": 1},
    }
    assert len(server.asked) == 5
    assert sorted(file.name for file in report.parent.iterdir()) == ["report.json"]


def test_without_prices_no_cost_is_guessed():
    assert Usage().report()["dollars"] is None
    assert "cost" not in Usage().postfix()


@pytest.mark.parametrize("prices", [{}, {"prompt": 1.0}, {"prompt": 1.0, "completion": -1.0}, {"in": 1.0, "out": 1.0}])
def test_prices_are_checked(prices):
    with pytest.raises(ValueError, match="Give both 'prompt' and 'completion'"):
        make_model(URL, prices=prices)


def test_progress_shows_the_counts(capsys):
    prices = {"prompt": 1000.0, "completion": 1000.0}
    with serving(refuse(400, "b")) as server:
        model = make_model(server, progress=True, prices=prices)
        model([["a"], ["b"]])
        model([["c"]])
        shown = capsys.readouterr().err
        make_model(server, prices=prices)([["a"], ["b"]])
    assert capsys.readouterr().err == "", "Unless asked, nothing is shown."
    last = shown.split("\r")[-1]
    assert last.startswith("teacher: 100%")
    assert "3/3" in last, "One bar for all batches."
    assert "requests=3, retries=0, cached=0, failed=1, tokens=20+6, replies/s=" in last
    assert "cost=$0.0260" in last


# Keys


def test_the_key_shows_up_nowhere(path, tmp_path, monkeypatch, caplog):
    """Not in what is written, logged, shown or raised, even if the server repeats it."""
    monkeypatch.setenv("TEACHER_KEY", KEY)

    def gossip(handler: Handler, asked: Asked) -> None:
        told = f"{asked.prompt} {handler.headers['Authorization']}"
        handler.send(400, told.encode()) if "bad" in asked.prompt else handler.answer(told)

    with caplog.at_level(logging.DEBUG), serving(gossip) as server:
        settings = {"cache": path, "report": tmp_path / "report.json", "api_key_env": "TEACHER_KEY"}
        model = make_model(server, **settings)
        assert model([["good"], ["bad"]]) == [["good Bearer ***"], [""]]
        with pytest.raises(RuntimeError, match=r"bad Bearer \*\*\*") as caught:
            make_model(server, **settings)([["bad"], ["also bad"]])
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    written = [file.read_text("utf8") for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) >= 2
    shown = [*written, caplog.text, repr(model), repr(vars(model)), repr(caught.value), str(caught.getrepr())]
    assert not any(KEY in text for text in shown)


# Recordings


def record(path: Path, *lines: tuple[str, str, dict, str]) -> Path:
    cache = ReplyCache(path)
    for model, prompt, parameters, reply in lines:
        cache.add(Question(model, prompt, parameters), Reply(reply))
    return path


@pytest.mark.parametrize(
    "settings, reply",
    [
        ({}, "one"),
        ({"name": "large"}, "one"),
        ({"name": "small"}, "three"),
        ({"parameters": {"seed": 2}}, "two"),
        ({"name": "small", "parameters": {"seed": 1}}, "three"),
    ],
)
def test_the_first_reply_that_fits_is_replayed(path, settings, reply):
    record(
        path,
        ("large", "Who?", {"seed": 1}, "one"),
        ("large", "Who?", {"seed": 2}, "two"),
        ("small", "Who?", {"seed": 1}, "three"),
    )
    assert Recorded(path=path, **settings)([["Who?"], ["Who?", "Who?"], []]) == [[reply], [reply, reply], []]


def test_a_prompt_without_a_reply_is_named_by_its_first_line(path):
    record(path, ("large", "Who?", {}, "one"))
    expected = (
        r"replies.jsonl has no reply \(1 prompts, name 'large'\) to the prompt that begins 'Where is it\?'. "
        r"To record, run once with the model spacy_uniner.OpenAICompatible.v1 and cache = \".*replies.jsonl\""
    )
    with pytest.raises(ValueError, match=expected):
        Recorded(path=path, name="large")([["Who?"], ["\n\nWhere is it?\nSay."]])
    with pytest.raises(ValueError, match=r"has no reply \(0 prompts, parameters {'seed': 3}\)"):
        Recorded(path=path, parameters={"seed": 3})([["Who?"]])


def test_a_recording_that_is_not_there_is_named(path):
    with pytest.raises(ValueError, match=r"There is no recording .*replies.jsonl\. To record, run once"):
        Recorded(path=path)([["Who?"]])


def test_an_empty_reply_is_a_reply(path):
    record(path, ("large", "Who?", {}, ""))
    assert Recorded(path=path)([["Who?"]]) == [[""]]
