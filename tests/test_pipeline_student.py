"""The component with the tiny encoder student: texts of every kind and size, processes, saving, spaCy's commands."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.cli._util import app
from spacy.cli.find_threshold import find_threshold
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

from spacy_uniner.docs import register_extensions

TEXTS = [
    "Sally met Alan in Rome .",
    "It was the mission to the moon .",
    "",
    "The crew of Sally Ride landed near Rome",
    "Paris",
    "Alan Bean flew from Paris to the moon .",
]

# The same student, asked for much and saying all that it thinks of it.
TALKATIVE = {"labels": ["city", "person", "astronaut", "company"], "overlap": "any", "threshold": 0.02}


def make_nlp(folder: Path, **settings: Any) -> Language:
    """Make a pipeline with the student in a folder."""
    nlp = spacy.blank("en")
    model = {"name": str(folder), "precision": "float32"}
    nlp.add_pipe("universal_ner", config={"model": model, "labels": ["city", "person"], "threshold": 0.3, **settings})
    return nlp


@pytest.fixture(scope="module")
def nlp(tiny_folder: Path) -> Language:
    """A pipeline that the tests of this module share: do not change it."""
    return make_nlp(tiny_folder)


@pytest.fixture(scope="module")
def talkative(tiny_folder: Path) -> Language:
    """A pipeline with scores of every height; shared."""
    return make_nlp(tiny_folder, **TALKATIVE)


@pytest.fixture
def saved(nlp: Language, tmp_path: Path) -> Path:
    """The shared pipeline, saved."""
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def found_in(doc: Doc) -> dict[tuple[int, int, str], float]:
    """Give the score of every span that was found."""
    group = doc.spans["universal_ner"]
    return {
        (span.start, span.end, span.label_): pytest.approx(float(score), abs=1e-5)
        for span, score in zip(group, group.attrs["scores"], strict=True)
    }


def all_found(nlp: Language, texts: list[str] = TEXTS, **settings: Any) -> list[dict[tuple[int, int, str], float]]:
    return [found_in(doc) for doc in nlp.pipe(texts, **settings)]


def ents_of(doc: Doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


def run_script(script: str, *arguments: str, timeout_seconds: float = 300.0, **environment: str) -> str:
    """Run a script in an interpreter of its own, and end it with its workers if it takes too long.

    RETURNS: what it printed.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"The script was not done after {timeout_seconds} seconds.")
    if process.returncode:
        pytest.fail(f"The script failed:\n{errors}")
    return output


# What is found


def test_component_works_right_after_it_is_added(nlp):
    assert ents_of(nlp("Sally met Alan in Rome .")) == [("Sally", "person"), ("Alan", "person"), ("Rome", "city")]


def test_specific_type_wins_unless_all_are_wanted(tiny_folder):
    labels = ["person", "astronaut"]
    flat, both = make_nlp(tiny_folder, labels=labels), make_nlp(tiny_folder, labels=labels, overlap="any")
    text = "Alan Bean flew from Paris to the moon ."
    assert ents_of(flat(text)) == [("Alan Bean", "astronaut")]
    doc = both(text)
    spans = [(span.text, span.label_) for span in doc.spans["universal_ner"]]
    assert spans == [("Alan Bean", "astronaut"), ("Alan Bean", "person")]


def test_descriptions_change_what_is_read_and_not_the_label(tiny_folder):
    plain, described = make_nlp(tiny_folder, labels=["city"]), make_nlp(tiny_folder, labels={"GPE": "city"})
    for text in TEXTS:
        expected = {(start, end, "GPE"): score for (start, end, _), score in found_in(plain(text)).items()}
        assert found_in(described(text)) == expected


def test_types_asked_again_are_not_encoded_again(tiny_folder):
    nlp = make_nlp(tiny_folder)
    nlp(TEXTS[0])
    student = nlp.get_pipe("universal_ner").model.shims[0]._model.get()
    n_encoded = student.n_types_encoded
    list(nlp.pipe(TEXTS))
    nlp.get_pipe("universal_ner").labels = ["person", "city"]
    nlp(TEXTS[0])
    assert student.n_types_encoded == n_encoded == 2


# What must not matter


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_batch_size_changes_nothing(talkative, batch_size):
    alone = [found_in(talkative(text)) for text in TEXTS]
    assert all_found(talkative, batch_size=batch_size) == alone
    assert any(alone)


def test_order_and_neighbours_of_texts_change_nothing(talkative):
    alone = [found_in(talkative(text)) for text in TEXTS]
    assert all_found(talkative, TEXTS[::-1]) == alone[::-1]
    assert all_found(talkative, [*TEXTS, "a long neighbour " * 50])[:-1] == alone


def test_order_of_labels_changes_nothing(talkative):
    for labels in (TALKATIVE["labels"][::-1], sorted(TALKATIVE["labels"])):
        assert all_found(talkative, component_cfg={"universal_ner": {"labels": labels}}) == all_found(talkative)


def test_other_labels_change_no_score(talkative):
    together = all_found(talkative)
    for label in TALKATIVE["labels"]:
        alone = all_found(talkative, component_cfg={"universal_ner": {"labels": [label]}})
        assert alone == [{span: s for span, s in of_one.items() if span[2] == label} for of_one in together]


def test_neighbours_with_other_types_change_nothing(talkative):
    docs = []
    for n, text in enumerate([*TEXTS, *TEXTS]):
        docs.append(talkative.make_doc(text))
        if n % 3 == 1:
            docs[-1]._.entity_types = ["moon", "person", f"type {n}"]
    mixed = [found_in(doc) for doc in talkative.pipe(docs)]
    alone = [found_in(talkative(text)) for text in TEXTS]
    assert all(mixed[n] == alone[n % len(TEXTS)] for n in range(len(mixed)) if n % 3 != 1)


# Texts of every kind and size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\t \n\n",
        "x" * 100_000,
        "!" * 1_000,
        "😀 🎉🎉 👩‍🚀 🇫🇷",
        "e\u0301 a\u0308 Z\u0351\u036b\u0343\u036a Rome",
        "שלום עולם Rome القاهرة",
        "東京 は 首都",
        "İstanbul ẞ ŉ",
        "\u200b \u200d \ufeff \u202e Rome",
        "\x00 \x7f Rome \ud7ff \U0010ffff",
    ],
)
def test_no_text_is_too_strange(talkative, text):
    doc = talkative(text)
    assert doc.text == text
    assert all(text[ent.start_char : ent.end_char] == ent.text.strip() for ent in doc.ents)


def test_entity_is_found_among_strange_words(nlp):
    words = TEXTS[3].split()
    strange = ["x" * 10_000, "👩‍🚀", "שלום", "\n\n", *("." for _ in range(40))]
    doc = nlp(Doc(nlp.vocab, words=[*strange, *words, *reversed(strange)]))
    assert [ent.text for ent in doc.ents if ent.label_ == "person"] == ["Sally Ride"]


def test_words_read_only_in_part_are_counted_and_reported_once(tiny_folder, caplog):
    nlp = make_nlp(tiny_folder)
    list(nlp.pipe(["x1" * 49, "short", "y2" * 49], batch_size=1))
    assert nlp.get_pipe("universal_ner").n_cut == 2
    (record,) = caplog.records
    assert "'universal_ner': 1 words or type descriptions are so long" in record.getMessage()


@given(st.text(max_size=200))
@settings(max_examples=40, deadline=None)
def test_any_text_comes_back_as_it_was_with_entities_that_lie_in_it(talkative, text):
    doc = talkative(text)
    assert doc.text == text
    assert all(not (span[0].is_space or span[-1].is_space) for span in doc.spans["universal_ner"])
    assert all(0.02 <= score <= 1.0 for score in doc.spans["universal_ner"].attrs["scores"])


LONG = """
import resource, sys, spacy
from spacy.tokens import Doc

def peak():
    n_units = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, or bytes on a Mac
    return n_units / (1e9 if sys.platform == "darwin" else 1e6)

nlp = spacy.blank("en")
model = {"name": sys.argv[1], "precision": "float32"}
nlp.add_pipe("universal_ner", config={"model": model, "labels": ["city", "person"], "threshold": 0.3})
words = "The crew of Sally Ride landed near Rome and it was Alan Bean from Paris .".split()
doc = Doc(nlp.vocab, words=(words * 6667)[:100_000])
nlp(Doc(nlp.vocab, words=words * 100))
before = peak()
nlp(doc)
print(len(doc), peak() - before, len(doc.ents), doc.ents[-1].start)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no module `resource`")
def test_doc_of_100_000_words_takes_little_memory_and_is_read_to_its_end(tiny_folder):
    n_words, n_gigabytes, n_ents, start_of_last = run_script(LONG, str(tiny_folder)).split()
    assert n_words == "100000"
    assert float(n_gigabytes) < 0.1, "It needs 0.015; all windows at once would need 0.3."
    assert int(n_ents) >= 2 * 6666, "There are four in each repetition."
    assert int(start_of_last) > 100_000 - 2 * 15


# Processes

PROCESSES = """
import json, sys
import spacy, torch

def make_docs(nlp):
    for n, text in enumerate(json.loads(sys.argv[2]) * 5):
        doc = nlp.make_doc(text)
        if n % 2:
            doc._.entity_types = {"GPE": "city"}
        yield doc, n

def found(docs):
    return [
        [n, doc.text, [(e.start, e.end, e.label_, round(e._.entity_score, 4)) for e in doc.spans["universal_ner"]]]
        for doc, n in docs
    ]

torch.set_num_threads(2)
torch.randn(500, 500) @ torch.randn(500, 500)
nlp = spacy.blank("en")
model = {"name": sys.argv[1], "precision": "float32"}
nlp.add_pipe("universal_ner", config={"model": model, "labels": ["city", "person"], "threshold": 0.3})
one, two = (found(nlp.pipe(make_docs(nlp), as_tuples=True, batch_size=4, n_process=n)) for n in (1, 2))
texts = json.loads(sys.argv[2])
settings = {"universal_ner": {"labels": ["person"]}}
plain = [[(e.text, e.label_) for e in doc.ents] for doc in nlp.pipe(texts, n_process=2, component_cfg=settings)]
print(json.dumps({"one": one, "two": two, "plain": plain}))
"""


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="processes are not forked there")
def test_two_processes_find_what_one_finds_in_order(tiny_folder):
    found = json.loads(run_script(PROCESSES, str(tiny_folder), json.dumps(TEXTS)))
    assert found["two"] == found["one"]
    assert [n for n, _, _ in found["two"]] == list(range(5 * len(TEXTS)))
    assert {label for _, _, spans in found["two"] for *_, label, _ in spans} == {"city", "person", "GPE"}
    assert found["plain"][0] == [["Sally", "person"], ["Alan", "person"]]


# Saving and copying


def make_orphan(tiny_folder: Path, folder: Path, **settings: Any) -> Language:
    """Make a pipeline whose student's folder is gone as soon as it was read."""
    shutil.copytree(tiny_folder, folder)
    nlp = make_nlp(folder, **settings)
    nlp("Read it now.")
    shutil.rmtree(folder)
    return nlp


def copy_by_disk(nlp: Language, tmp_path: Path) -> Language:
    nlp.to_disk(tmp_path / "saved")
    return spacy.load(tmp_path / "saved")


def copy_by_bytes(nlp: Language, tmp_path: Path) -> Language:
    config = nlp.config.copy()
    return spacy.util.load_model_from_config(config).from_bytes(nlp.to_bytes())


def copy_by_pickle(nlp: Language, tmp_path: Path) -> Language:
    return pickle.loads(pickle.dumps(nlp))


def copy_by_model(nlp: Language, tmp_path: Path) -> Language:
    copied = spacy.util.load_model_from_config(nlp.config.copy())
    copied.get_pipe("universal_ner").model = nlp.get_pipe("universal_ner").model.copy()
    return copied


def copy_by_source(nlp: Language, tmp_path: Path) -> Language:
    copied = spacy.blank("en")
    copied.add_pipe("universal_ner", source=nlp)
    return copied


@pytest.mark.parametrize("copy", [copy_by_disk, copy_by_bytes, copy_by_pickle, copy_by_model, copy_by_source])
def test_copy_finds_the_same_when_the_students_folder_is_gone(tiny_folder, tmp_path, talkative, copy):
    nlp = make_orphan(tiny_folder, tmp_path / "student", **TALKATIVE)
    assert all_found(copy(nlp, tmp_path)) == all_found(talkative)


def test_pipeline_is_saved_before_its_student_was_needed(tiny_folder, tmp_path, nlp):
    shutil.copytree(tiny_folder, tmp_path / "student")
    make_nlp(tmp_path / "student").to_disk(tmp_path / "pipeline")
    shutil.rmtree(tmp_path / "student")
    assert all_found(spacy.load(tmp_path / "pipeline")) == all_found(nlp)


def test_saved_pipeline_may_be_moved(saved, tmp_path, nlp):
    saved.rename(tmp_path / "elsewhere")
    moved = spacy.load(tmp_path / "elsewhere")
    moved.to_disk(tmp_path / "again")
    assert all_found(spacy.load(tmp_path / "again")) == all_found(nlp)


def test_settings_survive_saving(tiny_folder, tmp_path):
    nlp = make_nlp(tiny_folder, overlap="nested", ents="extend", spans_key="open")
    component = nlp.get_pipe("universal_ner")
    component.labels = {"GPE": "city: a big town", "PER": "person"}
    component.add_label("astronaut")
    component.cfg["threshold"] = {"GPE": 0.75}
    nlp.to_disk(tmp_path / "pipeline")
    assert spacy.load(tmp_path / "pipeline").get_pipe("universal_ner").cfg == component.cfg


def test_saved_weights_are_no_pickle(saved):
    content = (saved / "universal_ner" / "model").read_bytes()
    assert b'"format":"spacy_uniner.Encoder.v1"' in content
    assert b"torch" not in content


@pytest.mark.parametrize(
    "settings",
    [
        {"labels": ["person", 'a "quoted" type', "50 % off", "été"]},
        {"labels": {"person": "a human being, also: a hero", "Dr. Who": "the doctor", "true": "12"}},
        {"labels": ["city", "person"], "threshold": {"city": 0.25}},
        {"overlap": "any", "ents": "off", "spans_key": "other"},
        {"scorer": None},
    ],
)
def test_config_round_trips(tiny_folder, settings):
    nlp = make_nlp(tiny_folder, **settings)
    text = nlp.config.to_str()
    again = spacy.util.load_model_from_config(spacy.util.load_config_from_str(text))
    assert again.config.to_str() == text
    assert again.get_pipe("universal_ner").cfg == nlp.get_pipe("universal_ner").cfg


def test_default_config_names_every_setting():
    nlp = spacy.blank("en")
    nlp.add_pipe("universal_ner")  # the student is not read yet, so it may be missing
    section = dict(nlp.config["components"]["universal_ner"])
    assert section.pop("model") == {
        "@architectures": "spacy_uniner.Encoder.v1",
        "name": "en_uniner_sm",
        "precision": "auto",
    }
    assert section == {
        "factory": "universal_ner",
        "labels": [],
        "threshold": 0.15,
        "overlap": "flat",
        "ents": "overwrite",
        "spans_key": "universal_ner",
        "scorer": {"@scorers": "spacy_uniner.universal_ner_scorer.v1"},
    }


def test_sourced_component_may_have_another_name_and_be_saved(saved, tmp_path, nlp):
    sourced = spacy.blank("de")
    sourced.add_pipe("universal_ner", name="open_ner", source=spacy.load(saved))
    sourced.to_disk(tmp_path / "sourced")
    loaded = spacy.load(tmp_path / "sourced")
    assert loaded.pipe_names == ["open_ner"]
    assert all_found(loaded) == all_found(sourced) == all_found(nlp)


def test_component_is_sourced_by_a_config(saved, nlp):
    config = {
        "nlp": {"lang": "en", "pipeline": ["universal_ner"]},
        "components": {"universal_ner": {"source": str(saved)}},
    }
    assert all_found(spacy.util.load_model_from_config(config, auto_fill=True)) == all_found(nlp)


@pytest.mark.parametrize("n_bytes", [0, 50, -100])
def test_cut_weights_of_a_pipeline_are_refused_by_their_folder(saved, n_bytes):
    weights = saved / "universal_ner" / "model"
    weights.write_bytes(weights.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=r"'universal_ner' cannot be loaded from .*universal_ner: .* A file is cut"):
        spacy.load(saved)


def test_cut_student_in_a_whole_file_is_refused(saved):
    weights = saved / "universal_ner" / "model"
    content = srsly.msgpack_loads(weights.read_bytes())
    shim = srsly.msgpack_loads(content["shims"][0][0])
    content["shims"][0][0] = srsly.msgpack_dumps({**shim, "state": shim["state"][:-64]})
    weights.write_bytes(srsly.msgpack_dumps(content))
    with pytest.raises(ValueError, match="no whole safetensors file"):
        spacy.load(saved)


def test_weights_of_another_architecture_are_refused(saved):
    other = spacy.blank("en")
    other.add_pipe("textcat").add_label("a")
    other.get_pipe("textcat").add_label("b")
    other.initialize()
    (saved / "universal_ner" / "model").write_bytes(other.get_pipe("textcat").model.to_bytes())
    with pytest.raises(ValueError, match="the weights are of another architecture than the config says"):
        spacy.load(saved)


def test_missing_student_is_said_when_it_is_needed(tmp_path):
    nlp = make_nlp(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"No encoder student '.*nowhere'"):
        nlp("Now it is needed.")


def test_cut_student_is_said_when_it_is_needed(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "student")
    weights = tmp_path / "student" / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ValueError, match="The file is cut or was changed"):
        make_nlp(tmp_path / "student")("Now it is needed.")


# Memory zones


def test_strings_of_a_memory_zone_are_gone_after_it(tiny_folder):
    nlp = make_nlp(tiny_folder)
    expected = all_found(nlp)
    n_strings = len(nlp.vocab.strings)
    for n in range(3):
        with nlp.memory_zone():
            texts = [*TEXTS, *(f"Unheard{n}of{i} met Alan in Rome ." for i in range(20))]
            assert all_found(nlp, texts)[: len(TEXTS)] == expected
            all_found(nlp, texts, component_cfg={"universal_ner": {"labels": [f"type {n}"]}})
    assert len(nlp.vocab.strings) == n_strings
    assert all_found(nlp) == expected


# spaCy's commands


@pytest.fixture
def gold(nlp: Language, lessons: list, tmp_path: Path) -> Path:
    """A file with the lessons; of their types, "city" and "person"."""
    docs = []
    for lesson in lessons:
        doc = Doc(nlp.vocab, words=list(lesson.words))
        spans = [Span(doc, m.start, m.end, m.type) for m in lesson.mentions if m.type != "astronaut"]
        doc.set_ents(spans)
        doc.spans["universal_ner"] = spans
        docs.append(doc)
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "gold.spacy")
    return tmp_path / "gold.spacy"


def run_command(*arguments: object) -> str:
    """Run a command of spaCy in this process.

    RETURNS: what it printed.
    """
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_spacy_evaluate_scores_a_saved_pipeline(saved, gold, tmp_path):
    run_command("evaluate", saved, gold, "--output", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf8"))
    assert scores["ents_f"] == scores["spans_universal_ner_f"] == 1.0
    assert set(scores["ents_per_type"]) == {"city", "person"}


def test_spacy_benchmark_accuracy_is_the_same(saved, gold):
    assert "100.00" in run_command("benchmark", "accuracy", saved, gold)


def test_spacy_benchmark_speed_measures_a_saved_pipeline(saved, gold):
    output = run_command("benchmark", "speed", saved, gold, "--batches", 30, "--batch-size", 1, "--warmup", 0)
    assert "words/s" in output


@pytest.mark.parametrize("scores_key", ["ents_f", "spans_universal_ner_f"])
def test_spacy_find_threshold_tries_thresholds(saved, gold, scores_key):
    _, best_score, scores = find_threshold(saved, gold, "universal_ner", "threshold", scores_key, n_trials=3)
    assert best_score == scores[0.5] == 1.0
    assert scores[1.0] == 0.0


def test_spacy_apply_annotates_a_file(saved, gold, tmp_path):
    run_command("apply", saved, gold, tmp_path / "found.spacy")
    register_extensions()
    docs = list(DocBin().from_disk(tmp_path / "found.spacy").get_docs(spacy.blank("en").vocab))
    assert ents_of(docs[1]) == [("Sally", "person"), ("Alan", "person"), ("Rome", "city")]
    assert all(ent._.entity_score > 0.9 for ent in docs[1].ents)
