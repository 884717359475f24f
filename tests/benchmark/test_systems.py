"""Systems that are measured."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import spacy

from spacy_uniner.benchmark.systems import ClosedPipeline, Gliner, OpenPipeline, ask, load_system
from spacy_uniner.passages import Mention, Passage

TEXT = ("Sally", "met", "Alan", "in", "Rome", ".")


@pytest.fixture
def ruled_nlp():
    """A pipeline whose labels are its own."""
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PER", "pattern": "Sally"}, {"label": "GPE", "pattern": "Rome"}])
    return nlp


@pytest.fixture
def tiny_pipeline(tiny_nlp, tmp_path):
    tiny_nlp.to_disk(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def test_open_pipeline_is_asked_for_each_passages_own_types(tiny_pipeline):
    system = load_system(tiny_pipeline)
    found = system.find([Passage(TEXT, ("city",)), Passage(TEXT, ("person",)), Passage(TEXT, ())])
    runs = [[(m.start, m.end, m.type) for m in mentions] for mentions in found]
    assert runs == [[(4, 5, "city")], [(0, 1, "person"), (2, 3, "person")], []]
    assert all(0.3 <= mention.score <= 1.0 for mentions in found for mention in mentions)


def test_threshold_of_a_call_does_not_stay(tiny_nlp):
    system = OpenPipeline(tiny_nlp, tiny_nlp.get_pipe("universal_ner"), "tiny")
    passages = [Passage(TEXT, ("city", "person"))]
    own = system.find(passages)
    assert system.find(passages, 1.0) == [()]
    assert len(system.find(passages, 0.01)[0]) >= len(own[0])
    assert system.find(passages) == own


def test_every_threshold_gives_what_it_gives_alone(tiny_nlp):
    system = OpenPipeline(tiny_nlp, tiny_nlp.get_pipe("universal_ner"), "tiny")
    passages = [Passage(TEXT, ("city", "person")), Passage(TEXT, ("astronaut", "person"))]
    thresholds = (0.05, 0.3, 0.8)
    assert system.find_at(passages, thresholds) == [system.find(passages, threshold) for threshold in thresholds]


def test_fingerprint_changes_with_settings_and_not_by_use(tiny_nlp):
    component = tiny_nlp.get_pipe("universal_ner")
    system = OpenPipeline(tiny_nlp, component, "tiny")
    before = system.fingerprint()
    system.find([Passage(TEXT, ("city",))])
    assert system.fingerprint() == before
    component.cfg["threshold"] = 0.7
    assert system.fingerprint() != before


def test_closed_pipeline_answers_for_mapped_labels_and_counts_the_others(ruled_nlp):
    system = ClosedPipeline(ruled_nlp, "ruled", {"PER": "person"})
    assert system.find([Passage(TEXT, ("person", "city"))]) == [(Mention(0, 1, "person"),)]
    assert system.left_out == {"label 'GPE' not mapped": 1}
    assert system.find([Passage(TEXT, ("city",))]) == [()]
    with pytest.raises(ValueError, match="'ruled' gives entities without scores"):
        system.find([], 0.5)
    with pytest.raises(ValueError, match="'ruled' gives entities without scores"):
        system.find_at([], [0.5])


def test_closed_pipeline_is_loaded_with_a_label_map(ruled_nlp, tmp_path):
    ruled_nlp.to_disk(tmp_path / "ruled")
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"PER": "person", "GPE": "city"}), encoding="utf8")
    system = load_system(str(tmp_path / "ruled"), labels)
    assert [m.type for m in system.find([Passage(TEXT, ("person", "city"))])[0]] == ["person", "city"]
    assert "GPE" in system.fingerprint()
    with pytest.raises(ValueError, match=r"has no 'universal_ner' among its pipes \(entity_ruler\).*Give a label map"):
        load_system(str(tmp_path / "ruled"))


@pytest.mark.parametrize(
    "content, reason", [("{", "is not JSON"), ("[]", "is a JSON object"), ('{"PER": 1}', "is a JSON object")]
)
def test_label_map_that_is_none_is_refused(ruled_nlp, tmp_path, content, reason):
    ruled_nlp.to_disk(tmp_path / "ruled")
    (tmp_path / "labels.json").write_text(content, encoding="utf8")
    with pytest.raises(ValueError, match=rf"labels.json.*{reason}"):
        load_system(str(tmp_path / "ruled"), tmp_path / "labels.json")


def test_pipeline_is_assembled_from_a_config(tiny_nlp, tmp_path):
    tiny_nlp.config.to_disk(tmp_path / "tiny.cfg")
    system = load_system(str(tmp_path / "tiny.cfg"))
    assert [m.type for m in system.find([Passage(TEXT, ("city",))])[0]] == ["city"]


@pytest.mark.parametrize("name", ["missing", "missing.cfg"])
def test_unknown_system_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"No system .*Name 'en_uniner_sm', a pipeline, a .cfg file, or gliner:NAME"):
        load_system(str(tmp_path / name))


def test_gliner_is_asked_in_characters_and_answers_in_words():
    def predict_entities(text, labels, threshold):
        assert (text, labels, threshold) == ("Sally met Alan in Rome .", ["person", "city"], 0.5)
        return [
            {"start": 0, "end": 5, "label": "person", "score": 0.9},
            {"start": 18, "end": 22, "label": "city", "score": 0.8},
            {"start": 10, "end": 12, "label": "person", "score": 0.6},  # ends inside a word
        ]

    system = Gliner(SimpleNamespace(predict_entities=predict_entities), "gliner:fake")
    assert [len(at[0]) for at in system.find_at([Passage(TEXT, ("person", "city"))], (0.5, 0.85))] == [2, 1]
    system.left_out.clear()
    found = system.find([Passage(TEXT, ("person", "city"))])
    assert found == [(Mention(0, 1, "person", 0.9), Mention(4, 5, "city", 0.8))]
    assert system.left_out == {"not at the borders of words": 1}
    assert "gliner:fake" in system.fingerprint()


def test_gliner_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gliner", None)
    with pytest.raises(ValueError, match=r"'gliner' is not installed. Install it with"):
        load_system("gliner:some/model")


def test_gliner_is_loaded_by_its_name(monkeypatch):
    loaded = SimpleNamespace(from_pretrained=lambda name: f"model {name}")
    monkeypatch.setitem(sys.modules, "gliner", SimpleNamespace(GLiNER=loaded))
    system = load_system("gliner:some/model")
    assert (system.name, system.model) == ("gliner:some/model", "model some/model")


def test_passages_are_asked_by_other_names_and_for_more():
    passage = Passage(TEXT, ("person", "city"), (Mention(0, 1, "person"),))
    assert ask([passage], {"person": "human"}, ["river"]) == [Passage(TEXT, ("human", "city", "river"))]
