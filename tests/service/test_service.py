"""The service over HTTP, on loopback."""

from __future__ import annotations

import json
import logging
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import spacy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import make_nlp, run_server, wait_until

from spacy_uniner import __version__
from spacy_uniner.service.app import create_app
from spacy_uniner.service.limits import Limits
from spacy_uniner.service.schema import Found

TEXT = "Alan Bean flew from Paris to the moon ."
ASKED = {"texts": [TEXT], "types": ["city", "person"], "threshold": 0.3}


def post(client, **changes):
    return client.post("/entities", json={**ASKED, **changes})


def read_labels(response):
    assert response.status_code == 200, response.text
    return [[(entity["text"], entity["label"]) for entity in of_one] for of_one in response.json()["entities"]]


# Answers


def test_entities_have_offsets_labels_and_scores(service):
    answer = post(service, texts=[TEXT, "It was the mission .", "🚀 " + TEXT]).json()
    assert list(answer) == ["entities"]
    person, city = answer["entities"][0]
    assert (person["start"], person["end"], person["text"], person["label"]) == (0, 9, "Alan Bean", "person")
    assert (city["start"], city["end"], city["text"], city["label"]) == (20, 25, "Paris", "city")
    assert 0.3 <= person["score"] <= 1.0
    assert answer["entities"][1] == []
    assert all(entity["text"] == ("🚀 " + TEXT)[entity["start"] : entity["end"]] for entity in answer["entities"][2])


def test_types_may_have_descriptions_and_each_label_a_threshold(service):
    types = {"PER": "person", "GPE": "city"}
    assert read_labels(post(service, types=types)) == [[("Alan Bean", "PER"), ("Paris", "GPE")]]
    assert read_labels(post(service, types=types, threshold={"PER": 1.0})) == [[("Paris", "GPE")]]


def test_overlap_and_threshold_are_those_of_the_request(service):
    types = ["person", "astronaut"]
    assert len(read_labels(post(service, types=types, overlap="any"))[0]) == 2
    assert len(read_labels(post(service, types=types, overlap="flat"))[0]) == 1
    assert read_labels(post(service, types=types, threshold=1.0)) == [[]]
    assert read_labels(post(service, types=types, threshold=1)) == [[]]
    assert read_labels(post(service, types=[])) == [[]]


def test_what_a_request_leaves_out_the_pipeline_tells(tiny_nlp):
    tiny_nlp.get_pipe("universal_ner").cfg.update(threshold={"person": 1.0}, overlap="any")
    with run_server(create_app(tiny_nlp)) as server, httpx.Client(base_url=server.url) as client:
        assert read_labels(client.post("/entities", json={"texts": [TEXT]})) == [[("Paris", "city")]]
        health = client.get("/health").json()
    assert health["labels"] == ["city", "person"]
    assert (health["threshold"], health["overlap"]) == ({"person": 1.0}, "any")


def test_two_threads_of_clients_get_the_answers_of_one(service, tiny_folder):
    nlp = make_nlp(tiny_folder)
    texts = [TEXT, "Sally met Alan in Rome .", "The crew of Sally Ride landed near Rome"]
    asked = [
        {"texts": [text] * n, "types": types, "threshold": threshold, "overlap": overlap}
        for n, text in enumerate(texts, start=1)
        for types in (["city"], ["person", "astronaut"])
        for threshold in (0.02, 0.9)
        for overlap in ("flat", "any")
    ]

    def expect(request):
        ner = nlp.get_pipe("universal_ner")
        ner.cfg.update(threshold=request["threshold"], overlap=request["overlap"])
        docs = [nlp(text, component_cfg={"universal_ner": {"labels": request["types"]}}) for text in request["texts"]]
        return [[(span.text, span.label_) for span in doc.spans["universal_ner"]] for doc in docs]

    expected = [expect(request) for request in asked]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda request: service.post("/entities", json=request), asked * 4))
    assert [read_labels(answer) for answer in answers] == expected * 4


# Requests that are refused


@pytest.mark.parametrize(
    "changes, loc, message",
    [
        ({"texts": []}, ["body", "texts"], r"at least 1 item.*got \[\]"),
        ({"texts": "Rome"}, ["body", "texts"], "valid list, got 'Rome'"),
        ({"texts": [7]}, ["body", "texts", "0"], "valid string, got 7"),
        ({"texts": ["x" * 20_001]}, ["body", "texts", "0"], "20001 characters, but no more than 20000"),
        ({"texts": ["x"] * 65}, ["body", "texts"], "65 texts, but no more than 64"),
        ({"types": [f"t{n}" for n in range(201)]}, ["body", "types"], "201 types, but no more than 200"),
        ({"types": {"x": "y" * 501}}, ["body", "types"], "501 characters in a name or description, .* 500"),
        ({"types": "city"}, ["body", "types", "plain"], "valid list, got 'city'"),
        ({"types": ["city", " "]}, ["body", "types"], "label ' ' or its description is blank"),
        ({"types": ["city", "city"]}, ["body", "types"], "label 'city' is given twice"),
        ({"types": {"a": "city", "b": "city"}}, ["body", "types"], "several labels are described by 'city'"),
        ({"types": None}, ["body", "types"], "No types are asked, and the pipeline has no labels of its own"),
        ({"threshold": 1.5}, ["body", "threshold", "plain"], "less than or equal to 1, got 1.5"),
        ({"threshold": True}, ["body", "threshold", "plain"], "valid number, got True"),
        ({"threshold": "0.5"}, ["body", "threshold", "plain"], "valid number, got '0.5'"),
        ({"threshold": {"city": -1}}, ["body", "threshold", "mapping", "city"], "greater than or equal to 0, got -1"),
        ({"threshold": {"river": 0.5}}, ["body", "threshold"], "'river', which is not a label. Labels: city, person"),
        ({"overlap": "some"}, ["body", "overlap"], "'flat', 'nested' or 'any', got 'some'"),
        ({"treshold": 0.5}, ["body", "treshold"], "not permitted, got 0.5"),
    ],
)
def test_what_is_wrong_is_said_with_what_was_found(service, changes, loc, message):
    response = post(service, **changes)
    assert response.status_code == 422
    (problem,) = response.json()["detail"]
    assert problem["loc"] == loc
    assert re.search(message, problem["msg"])


def test_what_was_found_is_cut_short(service):
    response = post(service, overlap="x" * 10_000)
    assert len(response.text) < 300
    assert "xxx…" in response.json()["detail"][0]["msg"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-1e999", "1" * 5000])
def test_numbers_that_are_none_are_refused(service, number):
    body = json.dumps(ASKED).replace("0.3", number)
    response = service.post("/entities", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.json()["detail"]


def test_a_form_of_another_page_is_refused(service):
    """A browser sends text/plain to other sites without asking them first."""
    response = service.post("/entities", content=json.dumps(ASKED), headers={"Content-Type": "text/plain"})
    assert response.status_code == 422


def test_a_body_that_is_too_large_is_refused_whole_or_in_chunks(gated):
    with gated(max_body_bytes=1000) as client:
        whole = post(client, texts=["x" * 1000])
        chunks = client.post("/entities", content=(b"x" * 100_000 for _ in range(100)))
        fitting = post(client, texts=["x" * 500])
    for response, n_bytes in ((whole, len(whole.request.content)), (chunks, 10_000_000)):
        assert response.status_code == 413
        assert response.json()["detail"].startswith(f"The request has {n_bytes} bytes, but no more than 1000")
    assert fitting.status_code == 200


def test_a_body_that_never_ends_is_given_up(gated):
    with gated(timeout_seconds=0.2) as client:
        address = urlsplit(str(client.base_url))
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(b"POST /entities HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            answer = connection.recv(1000)
        assert b" 408 " in answer.splitlines()[0]
        wait_until(lambda: 'status="408"' in client.get("/metrics").text)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.text(st.characters(exclude_categories=()), max_size=12)
plausible = st.fixed_dictionaries(
    {"texts": st.lists(st.text(st.characters(exclude_categories=()), max_size=60), max_size=4) | json_values},
    optional={
        "types": st.lists(names, max_size=4) | st.dictionaries(names, names, max_size=4) | json_values,
        "threshold": st.floats(0, 1) | st.dictionaries(names, st.floats(-0.5, 1.5), max_size=3) | json_values,
        "overlap": st.sampled_from(["flat", "nested", "any"]) | json_values,
    },
)
bodies = st.one_of(plausible.map(json.dumps).map(str.encode), json_values.map(json.dumps).map(str.encode), st.binary())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies)
def test_nothing_that_is_sent_breaks_it(service, body):
    response = service.post("/entities", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 400, 422), response.text
    if response.status_code != 200:
        assert response.json()["detail"]
        return
    asked, found = json.loads(body), response.json()["entities"]
    assert len(found) == len(asked["texts"])
    for text, of_one in zip(asked["texts"], found):
        for entity in of_one:
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert entity["label"] in asked["types"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(max_size=200), min_size=1, max_size=4),
    types=st.lists(st.text(min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=4, unique=True),
    threshold=st.floats(0, 1),
)
def test_every_valid_request_is_answered(service, texts, types, threshold):
    response = post(service, texts=texts, types=types, threshold=threshold, overlap="any")
    assert response.status_code == 200, response.text
    for text, of_one in zip(texts, response.json()["entities"], strict=True):
        for entity in of_one:
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert entity["label"] in types
            assert entity["score"] >= threshold - 1e-6


@pytest.mark.parametrize(
    "raw", [b"\x00\x01\x02\r\n\r\n", b"GET /\r\n\r\n", b"POST /entities HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_raw_bytes_do_not_break_it(service, raw):
    address = urlsplit(str(service.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(raw)
        assert b" 4" in connection.recv(1000).splitlines()[0]
    assert service.get("/health").json()["status"] == "ok"


# Load, time and stopping


def send(client, *requests):
    """Send requests at once; each is in a thread of its own."""
    threads = ThreadPoolExecutor(len(requests))
    answers = [threads.submit(post, client, texts=texts) for texts in requests]
    threads.shutdown(wait=False)
    return answers


def test_a_full_queue_turns_requests_away_and_loses_none(gated, gate):
    gate.is_open.clear()
    with gated() as client:
        (first,) = send(client, ["a"])
        wait_until(lambda: gate.seen == ["a"])
        others = send(client, ["b", "c"], ["d"])
        wait_until(lambda: client.batcher.n_waiting == 3)
        refused = post(client, texts=["e"])
        assert "uniner_queue_texts 3.0" in client.get("/metrics").text
        gate.is_open.set()
        assert [answer.result().status_code for answer in (first, *others)] == [200] * 3
        assert post(client, texts=["f"]).status_code == 200
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "1"
    assert "3 texts are waiting and 1 more came" in refused.json()["detail"]
    assert sorted(gate.seen) == ["a", "b", "c", "d", "f"]


def test_a_request_that_waits_too_long_is_told_so_and_its_texts_are_not_read(gated, gate):
    gate.is_open.clear()
    with gated(timeout_seconds=0.3) as client:
        answers = send(client, ["a"], ["b"])
        assert [answer.result().status_code for answer in answers] == [504, 504]
        assert "No answer within 0.3 seconds" in answers[0].result().json()["detail"]
        assert client.batcher.n_waiting == 0
        stuck = client.get("/health")
        assert (stuck.status_code, stuck.json()["status"]) == (503, "stuck")
        gate.is_open.set()
        wait_until(lambda: client.get("/health").status_code == 200)
        assert post(client, texts=["c"]).status_code == 200
    assert len(gate.seen) == 2
    assert gate.seen[1] == "c"


def test_a_text_that_fails_takes_no_other_with_it(gated, gate, caplog):
    gate.is_open.clear()
    with gated(max_batch_texts=8) as client:
        logging.getLogger("uvicorn.error").addHandler(caplog.handler)  # it does not pass on to the root
        answers = send(client, [TEXT])
        wait_until(lambda: gate.seen)
        answers += send(client, ["fail!"], [TEXT])
        wait_until(lambda: client.batcher.n_waiting == 2)
        gate.is_open.set()
        assert [answer.result().status_code for answer in answers] == [200, 500, 200]
        assert answers[1].result().json() == {"detail": "The pipeline failed on a text; the server's log says how."}
        assert read_labels(answers[2].result()) == read_labels(answers[0].result())
        assert 'uniner_requests_total{path="/entities",status="500"} 1.0' in client.get("/metrics").text
    logging.getLogger("uvicorn.error").removeHandler(caplog.handler)
    assert "a text that no pipeline can read" in caplog.text


def test_requests_in_flight_are_answered_when_it_stops(gated, gate):
    gate.is_open.clear()
    with gated() as client:
        answers = send(client, [TEXT])
        wait_until(lambda: gate.seen)
        answers += send(client, [TEXT, TEXT])
        wait_until(lambda: client.batcher.n_waiting == 2)
        client.server.should_exit = True
        wait_until(lambda: not is_listening(client))
        assert not any(answer.done() for answer in answers)
        gate.is_open.set()
        assert [len(read_labels(answer.result())) for answer in answers] == [1, 2]


def is_listening(client):
    address = urlsplit(str(client.base_url))
    try:
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_who_comes_while_it_stops_is_told_so(gated, gate):
    """As on a connection that is open still."""
    with gated() as client:
        client.batcher.is_stopping = True
        refused, health = post(client), client.get("/health")
        client.batcher.is_stopping = False
    assert refused.status_code == 503
    assert refused.json()["detail"] == "The service is stopping and takes no more texts."
    assert (health.status_code, health.json()["status"]) == (503, "stopping")


def test_many_at_once_share_batches(tiny_folder):
    limits = Limits(batch_seconds=0.05)
    with (
        run_server(create_app(make_nlp(tiny_folder), limits)) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        answers = send(client, *[[TEXT]] * 24)
        assert all(len(read_labels(answer.result())[0]) == 2 for answer in answers)
        metrics = client.get("/metrics").text
    n_batches = float(re.search(r"uniner_batch_texts_count (\S+)", metrics)[1])
    assert n_batches < 24
    assert "uniner_texts_total 24.0" in metrics
    assert "uniner_entities_total 48.0" in metrics


# What else is there


def test_health_tells_version_and_defaults(service):
    assert service.get("/health").json() == {
        "status": "ok",
        "version": __version__,
        "labels": [],
        "threshold": 0.3,
        "overlap": "flat",
    }


def test_metrics_count_by_path_and_status(service):
    def count(path, status):
        found = re.search(
            rf'uniner_requests_total{{path="{path}",status="{status}"}} (\S+)', service.get("/metrics").text
        )
        return float(found[1]) if found else 0.0

    before = count("/entities", 200), count("/entities", 422), count("other", 404)
    post(service)
    post(service, texts=[])
    service.get("/x1")
    service.get("/x2")
    assert (count("/entities", 200), count("/entities", 422), count("other", 404)) == (
        before[0] + 1,
        before[1] + 1,
        before[2] + 2,
    )
    assert service.get("/metrics").headers["Content-Type"].startswith("text/plain")


def test_openapi_describes_it_and_no_page_loads_from_elsewhere(service):
    schema = service.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/entities", "/health", "/metrics"}
    assert {"200", "413", "422", "429", "503", "504"} <= set(schema["paths"]["/entities"]["post"]["responses"])
    assert service.get("/docs").status_code == service.get("/redoc").status_code == 404


def test_what_the_docs_send_with_curl_is_a_request(service):
    page = (Path(__file__).parent.parent.parent / "docs" / "service.md").read_text(encoding="utf8")
    (body,) = re.findall(r"curl .*/entities .* -d '(.*?)'", page, re.DOTALL)
    (answer,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert service.post("/entities", json=json.loads(body)).status_code == 200
    Found.model_validate_json(answer)


def test_options_of_the_docs_have_the_defaults_of_the_code():
    page = (Path(__file__).parent.parent.parent / "docs" / "service.md").read_text(encoding="utf8")
    limits = {"queue": "queue_texts", "texts": "texts", "characters": "characters", "body": "body_bytes"}
    for option, limit in limits.items():
        assert re.search(rf"^\| `--max-{option}` .*\| `{getattr(Limits, f'max_{limit}')}` \|$", page, re.MULTILINE)
    assert re.search(rf"^\| `--timeout` .*\| `{Limits.timeout_seconds:g}` \|$", page, re.MULTILINE)
    for n in (Limits.max_batch_texts, f"{Limits.max_batch_characters:,}", f"{1000 * Limits.batch_seconds:g} milli"):
        assert str(n) in page


def test_page_is_whole_by_itself_and_runs_nothing_else(service):
    response = service.get("/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", response.text)
    assert "innerHTML" not in response.text


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"max_texts": 0}, "max_texts is 0, expected a number above 0"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds is nan, expected a number above 0"),
        ({"max_texts": 10, "max_queue_texts": 9}, "max_queue_texts is 9, but one request may bring 10 texts"),
    ],
)
def test_limits_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Limits(**changes)


def test_limits_above_what_the_pipeline_takes_are_refused():
    with pytest.raises(ValueError, match="max_characters is 2000000, but the pipeline takes 1000000 at most"):
        create_app(spacy.blank("en"), Limits(max_characters=2_000_000))
