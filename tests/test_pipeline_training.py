"""The component is trained as spaCy trains: initialize, update, rehearse, and a whole run of `spacy train`."""

from __future__ import annotations

import copy
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
import torch
from spacy.cli._util import app
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from thinc.api import Adam
from typer.testing import CliRunner

from spacy_uniner.docs import UNKNOWN_SUFFIX, passage_to_example

TEXT = "Sally met Alan in Rome ."


@pytest.fixture
def component(tiny_nlp: Language) -> Any:
    return tiny_nlp.get_pipe("universal_ner")


def weights_of(nlp: Language) -> torch.Tensor:
    """Copy all weights of the student, one behind the other."""
    student = nlp.get_pipe("universal_ner").model.shims[0]._model.get()
    return torch.cat([weights.detach().clone().flatten() for weights in student.parameters()])


def make_example(nlp: Language, text: str, *ents: tuple[int, int, str]) -> Example:
    """Make an Example of words separated by spaces, with entities."""
    reference = Doc(nlp.vocab, words=text.split())
    reference.set_ents([Span(reference, start, end, label=label) for start, end, label in ents])
    return Example(Doc(nlp.vocab, words=text.split()), reference)


def make_spans_example(nlp: Language, text: str, *spans: tuple[int, int, str], key: str = "universal_ner") -> Example:
    """Make an Example with a group of gold spans, and no entities."""
    example = make_example(nlp, text)
    example.reference.spans[key] = [Span(example.reference, *span) for span in spans]
    return example


def ents_of(doc: Doc) -> list[tuple[str, str]]:
    return [(ent.text, ent.label_) for ent in doc.ents]


# Initialize


def test_labels_are_those_configured_and_those_of_the_examples(tiny_nlp, component):
    examples = [
        make_example(tiny_nlp, TEXT, (0, 1, "woman"), (4, 5, "city")),
        make_example(tiny_nlp, TEXT, (2, 3, "astronaut")),
        make_example(tiny_nlp, TEXT),
    ]
    tiny_nlp.initialize(lambda: examples)
    assert component.labels == ("city", "person", "astronaut", "woman")


def test_labels_are_found_in_the_span_group_first(tiny_nlp, component):
    example = make_spans_example(tiny_nlp, TEXT, (0, 1, "woman"), (0, 1, "hero"))
    example.reference.set_ents([Span(example.reference, 4, 5, label="place")])
    tiny_nlp.initialize(lambda: [example])
    assert component.labels == ("city", "person", "hero", "woman")


def test_docs_that_bring_their_own_types_add_no_labels(tiny_nlp, component, lessons):
    tiny_nlp.initialize(lambda: [passage_to_example(lesson, tiny_nlp.vocab) for lesson in lessons])
    assert component.labels == ("city", "person")


@pytest.mark.parametrize("labels", [["moon", "city"], {"MOON": "what circles a planet"}])
def test_given_labels_replace_all_others(tiny_nlp, component, labels):
    examples = [make_example(tiny_nlp, TEXT, (0, 1, "woman"))]
    tiny_nlp.config["initialize"]["components"]["universal_ner"] = {"labels": labels}
    tiny_nlp.initialize(lambda: examples)
    assert component.labels == tuple(labels)
    assert component.label_data == (labels if isinstance(labels, dict) else {label: label for label in labels})


def test_label_data_of_one_pipeline_initializes_another(tiny_nlp, component, tmp_path):
    component.labels = {"GPE": "city", "person": "person"}
    srsly.write_json(tmp_path / "labels.json", component.label_data)
    component.labels = []
    reader = {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / "labels.json"), "require": True}
    tiny_nlp.config["initialize"]["components"]["universal_ner"] = {"labels": reader}
    tiny_nlp.initialize()
    assert component.label_data == {"GPE": "city", "person": "person"}


def test_initialize_keeps_the_weights(tiny_nlp):
    before = weights_of(tiny_nlp)
    tiny_nlp.initialize(lambda: [make_example(tiny_nlp, TEXT, (0, 1, "woman"))])
    assert torch.equal(weights_of(tiny_nlp), before)
    assert ents_of(tiny_nlp(TEXT))


def test_initialize_needs_a_function_that_gives_examples(component):
    with pytest.raises(TypeError, match=r"UniversalNER\.initialize"):
        component.initialize([])


def test_bad_labels_are_refused(tiny_nlp):
    tiny_nlp.config["initialize"]["components"]["universal_ner"] = {"labels": ["city", "city"]}
    with pytest.raises(ValueError, match="label 'city' is given twice"):
        tiny_nlp.initialize()


# Update


def test_one_example_is_learned_by_heart(tiny_nlp, component):
    component.labels = {"SHIP": "space company", "city": "city"}
    text = "Bean flew the Apollo on Rome ."
    gold = [("Apollo", "SHIP")]
    assert ents_of(tiny_nlp(text)) != gold
    optimizer = tiny_nlp.resume_training()
    optimizer.learn_rate = 0.01
    losses = []
    for _ in range(60):
        losses.append(tiny_nlp.update([make_example(tiny_nlp, text, (3, 4, "SHIP"))], sgd=optimizer)["universal_ner"])
    assert ents_of(tiny_nlp(text)) == gold
    assert losses[-1] < 0.1 * losses[0]


def test_label_is_learned_by_its_description(tiny_nlp, component):
    component.labels = ["city", "person"]
    plain = component.update([make_example(tiny_nlp, TEXT, (0, 1, "person"), (4, 5, "city"))])
    component.labels = {"GPE": "city", "PER": "person"}
    described = component.update([make_example(tiny_nlp, TEXT, (0, 1, "PER"), (4, 5, "GPE"))])
    assert described["universal_ner"] == pytest.approx(plain["universal_ner"], rel=1e-6)


def test_types_of_a_reference_are_those_asked(tiny_nlp, component, lessons):
    component.labels = []
    assert component.update([make_example(tiny_nlp, TEXT)]) == {"universal_ner": 0.0}
    examples = [passage_to_example(lesson, tiny_nlp.vocab) for lesson in lessons]
    student = component.model.shims[0]._model.get()
    with torch.no_grad():
        expected = float(student.losses(lessons).sum())
    assert component.update(examples)["universal_ner"] == pytest.approx(expected, rel=1e-4)


def test_span_group_is_gold_before_the_entities(tiny_nlp, component):
    spans = [(0, 1, "person"), (4, 5, "city")]
    of_spans = component.update([make_spans_example(tiny_nlp, TEXT, *spans)])
    of_ents = component.update([make_example(tiny_nlp, TEXT, *spans)])
    of_nothing = component.update([make_example(tiny_nlp, TEXT)])
    assert of_spans == pytest.approx(of_ents, rel=1e-6)
    assert of_nothing["universal_ner"] > of_ents["universal_ner"]


def test_gold_of_labels_not_asked_is_passed_over(tiny_nlp, component):
    plain = component.update([make_example(tiny_nlp, TEXT, (4, 5, "city"))])
    more = component.update([make_example(tiny_nlp, TEXT, (4, 5, "city"), (0, 1, "hero"))])
    assert more == pytest.approx(plain, rel=1e-6)


def test_unknown_spans_are_neither_learned_nor_unlearned(tiny_nlp, component):
    example = make_spans_example(tiny_nlp, TEXT, (4, 5, "city"))
    wrong = component.update([example])["universal_ner"]
    persons = [Span(example.reference, 0, 1, "person"), Span(example.reference, 2, 3, "person")]
    example.reference.spans["universal_ner" + UNKNOWN_SUFFIX] = persons
    assert component.update([example])["universal_ner"] < 0.5 * wrong


def test_example_without_annotation_teaches_nothing(tiny_nlp, component):
    example = Example.from_dict(tiny_nlp.make_doc(TEXT), {"cats": {"a": 1.0}})
    before = weights_of(tiny_nlp)
    assert component.update([example], sgd=Adam(0.01)) == {"universal_ner": 0.0}
    assert torch.equal(weights_of(tiny_nlp), before)
    nothing_there = Example.from_dict(tiny_nlp.make_doc(TEXT), {"entities": []})
    assert component.update([nothing_there])["universal_ner"] > 0.0


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_doc_without_words_teaches_nothing(tiny_nlp, component, text):
    example = Example.from_dict(tiny_nlp.make_doc(text), {"entities": []})
    assert component.update([example, example], sgd=Adam(0.01)) == {"universal_ner": 0.0}


def test_no_examples_are_no_loss(component):
    assert component.update([]) == {"universal_ner": 0.0}


def test_losses_are_added_up_under_the_components_name(tiny_nlp, component):
    examples = [make_example(tiny_nlp, TEXT), make_example(tiny_nlp, TEXT, (4, 5, "city"))]
    first, second = (component.update([example])["universal_ner"] for example in examples)
    losses = {"other": 1.0}
    assert component.update(examples[:1], losses=losses) is losses
    component.update(examples[1:], losses=losses)
    assert losses == {"other": 1.0, "universal_ner": pytest.approx(first + second, rel=1e-6)}
    assert component.update(examples)["universal_ner"] == pytest.approx(first + second, rel=1e-5)


@pytest.mark.parametrize("sgd", [None, False])
def test_weights_move_only_when_the_update_is_finished(tiny_nlp, component, sgd):
    before = weights_of(tiny_nlp)
    for _ in range(2):  # the gradients are added up
        component.update([make_example(tiny_nlp, TEXT)], sgd=sgd)
    assert torch.equal(weights_of(tiny_nlp), before)
    component.finish_update(Adam(0.01))
    assert not torch.equal(weights_of(tiny_nlp), before)


def test_frozen_pipeline_keeps_its_weights(tiny_nlp):
    before = weights_of(tiny_nlp)
    tiny_nlp.update([make_example(tiny_nlp, TEXT)], sgd=Adam(0.01), exclude=["universal_ner"])
    assert torch.equal(weights_of(tiny_nlp), before)


class Watcher:
    """A component that notes which entities the others annotated before it is trained."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[str, str]]] = []

    def __call__(self, doc: Doc) -> Doc:
        return doc

    def update(self, examples: list[Example], **kwargs: Any) -> None:
        self.seen.extend(ents_of(example.predicted) for example in examples)


@Language.factory("tests_watcher")
def make_watcher(nlp: Language, name: str) -> Watcher:
    return Watcher()


def test_annotating_component_annotates_while_it_is_trained(tiny_nlp):
    watcher = tiny_nlp.add_pipe("tests_watcher")
    tiny_nlp.update([make_example(tiny_nlp, TEXT)], sgd=Adam(0.0), annotates=["universal_ner"])
    assert watcher.seen == [[("Sally", "person"), ("Alan", "person"), ("Rome", "city")]]


def test_dropout_is_set_for_the_student(tiny_nlp, component):
    component.update([make_example(tiny_nlp, TEXT)], drop=0.4)
    assert component.model.attrs["dropout_rate"] == 0.4
    dropouts = [m for m in component.model.shims[0]._model.modules() if isinstance(m, torch.nn.Dropout)]
    assert {dropout.p for dropout in dropouts} == {0.4}
    assert ents_of(tiny_nlp(TEXT)) == ents_of(tiny_nlp(TEXT)), "There is no dropout in prediction."


def test_update_refuses_what_is_no_example(component):
    with pytest.raises(TypeError, match=r"UniversalNER\.update"):
        component.update([TEXT])


# Gold that does not align


def test_gold_in_other_words_is_learned_where_its_bounds_fit(tiny_nlp, component):
    words = ["Sally", "'s", "crew", "met", "Alan", "in", "Rome"]
    predicted = Doc(tiny_nlp.vocab, words=words)  # "Sally 's crew", one character longer than the gold text
    reference = Doc(tiny_nlp.vocab, words=["Sally's", "crew", "met", "Alan", "in", "Rome"])
    reference.set_ents([Span(reference, 3, 4, label="person"), Span(reference, 5, 6, label="city")])
    aligned = make_example(tiny_nlp, " ".join(words), (4, 5, "person"), (6, 7, "city"))
    expected = component.update([aligned])
    assert component.update([Example(predicted, reference)]) == pytest.approx(expected, rel=1e-6)
    assert component.n_misaligned == 0


def make_misaligned(nlp: Language, label: str = "city") -> Example:
    """Make an Example in which "York" is gold, and "NewYork" is one word to the pipeline."""
    reference = Doc(nlp.vocab, words=["met", "Alan", "in", "New", "York"], spaces=[True, True, True, False, False])
    reference.set_ents([Span(reference, 1, 2, label="person"), Span(reference, 4, 5, label=label)])
    return Example(nlp.make_doc(reference.text), reference)


def test_misaligned_gold_is_counted_and_reported_once(tiny_nlp, component, caplog):
    with caplog.at_level(logging.WARNING, logger="spacy_uniner"):
        for _ in range(3):
            component.update([make_misaligned(tiny_nlp), make_misaligned(tiny_nlp), make_example(tiny_nlp, TEXT)])
    assert component.n_misaligned == 6
    (record,) = caplog.records
    assert "'universal_ner': gold spans do not align with the pipeline's words" in record.getMessage()
    assert "met Alan in NewYork" in record.getMessage()


def test_aligned_gold_beside_misaligned_gold_is_learned(tiny_nlp, component):
    aligned = make_example(tiny_nlp, "met Alan in NewYork", (1, 2, "person"))
    expected = component.update([aligned])
    assert component.update([make_misaligned(tiny_nlp)]) == pytest.approx(expected, rel=1e-6)


def test_gold_of_labels_not_asked_is_counted_and_reported_once(tiny_nlp, component, caplog):
    for _ in range(3):
        component.update([make_misaligned(tiny_nlp, label="hero"), make_example(tiny_nlp, TEXT)])
    assert (component.n_not_asked, component.n_misaligned) == (3, 0)
    (record,) = caplog.records
    assert "labels that are not the component's and are not learned; the first is 'hero'" in record.getMessage()


def test_types_not_asked_of_a_doc_that_brings_its_own_are_not_counted(tiny_nlp, component, lessons, caplog):
    component.update([passage_to_example(lesson, tiny_nlp.vocab) for lesson in lessons])  # "astronaut" is no label
    assert component.n_not_asked == 0
    assert not caplog.records


# Rehearse and resume


def drift(nlp: Language, n_steps: int = 4) -> Adam:
    """Let the student forget entities: teach it that there are none.

    RETURNS: an optimizer that knows nothing of that yet.
    """
    nlp.resume_training()
    optimizer = Adam(0.005)
    for _ in range(n_steps):
        nlp.update([make_example(nlp, TEXT)], sgd=optimizer)
    return Adam(0.005)


@pytest.mark.parametrize("of", ["pipeline", "component"])
def test_rehearsal_brings_back_what_was_forgotten(tiny_nlp, component, of):
    expected = ents_of(tiny_nlp(TEXT))
    optimizer = drift(tiny_nlp)
    assert ents_of(tiny_nlp(TEXT)) != expected
    rehearse = (tiny_nlp if of == "pipeline" else component).rehearse
    examples = [Example.from_dict(tiny_nlp.make_doc(TEXT), {})]  # it needs no gold
    losses = [rehearse(examples, sgd=optimizer)["universal_ner"] for _ in range(25)]
    assert losses[-1] < 0.2 * losses[0]
    assert ents_of(tiny_nlp(TEXT)) == expected


def test_rehearsal_is_of_the_student_as_it_was_when_training_was_resumed(tiny_nlp, component):
    tiny_nlp.resume_training()
    rehearsed = component._rehearsal_model
    before = weights_of(tiny_nlp)
    drift_losses = {}
    tiny_nlp.update([make_example(tiny_nlp, TEXT)], sgd=Adam(0.01), losses=drift_losses)
    component.rehearse([make_example(tiny_nlp, TEXT)])
    assert component._rehearsal_model is rehearsed
    kept = torch.cat([w.detach().flatten() for w in rehearsed.shims[0]._model.get().parameters()])
    assert torch.equal(kept, before)
    assert not torch.equal(weights_of(tiny_nlp), before)


def test_first_rehearsal_is_of_the_student_as_it_is(tiny_nlp, component):
    loss = component.rehearse([make_example(tiny_nlp, TEXT)])["universal_ner"]
    assert component._rehearsal_model is not None
    gold = [(0, 1, "person"), (2, 3, "person"), (4, 5, "city")]
    assert loss == pytest.approx(component.update([make_example(tiny_nlp, TEXT, *gold)])["universal_ner"], rel=1e-5)


def test_nothing_to_rehearse_is_no_loss(tiny_nlp, component):
    assert component.rehearse([make_example(tiny_nlp, "")]) == {"universal_ner": 0.0}
    component.labels = []
    assert component.rehearse([make_example(tiny_nlp, TEXT)]) == {"universal_ner": 0.0}


def test_trained_student_is_saved_and_training_goes_on(tiny_nlp, tmp_path):
    example = [make_example(tiny_nlp, TEXT)]
    optimizer = Adam(0.002)
    for _ in range(3):
        loss = tiny_nlp.update(example, sgd=optimizer)["universal_ner"]
    tiny_nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert torch.equal(weights_of(loaded), weights_of(tiny_nlp))
    optimizer = loaded.resume_training()
    optimizer.learn_rate = 0.002
    losses = [loaded.update(example, sgd=optimizer)["universal_ner"] for _ in range(5)]
    assert losses[0] < loss
    assert losses[-1] < losses[0]


def test_prediction_follows_the_weights(tiny_nlp, component):
    before = tiny_nlp(TEXT).spans["universal_ner"].attrs["scores"].tolist()
    copied = copy.deepcopy(component.model)
    drift(tiny_nlp, n_steps=2)
    after = tiny_nlp(TEXT)
    assert after.spans["universal_ner"].attrs["scores"].tolist() != before
    component.model = copied
    doc = tiny_nlp(TEXT)
    assert doc.spans["universal_ner"].attrs["scores"].tolist() == before


def test_parameters_may_be_used_for_a_while(tiny_nlp):
    expected = ents_of(tiny_nlp(TEXT))
    with tiny_nlp.use_params({}):
        assert ents_of(tiny_nlp(TEXT)) == expected


# spaCy's commands


def make_config(folder: Path, train_path: Path, **training: Any) -> Any:
    """Make the config of a short run that fine-tunes the student in a folder."""
    nlp = spacy.blank("en")
    model = {"name": str(folder), "precision": "float32"}
    nlp.add_pipe("universal_ner", config={"model": model, "threshold": 0.3})
    config = nlp.config.copy()
    config["paths"].update({"train": str(train_path), "dev": str(train_path)})
    config["training"].update({"max_steps": 6, "eval_frequency": 2, "patience": 0, **training})
    config["training"]["optimizer"]["learn_rate"] = 0.001
    return config


@pytest.fixture
def gold(tiny_nlp: Language, tmp_path: Path) -> Path:
    """A file with gold entities of two labels."""
    examples = [
        make_example(tiny_nlp, TEXT, (0, 1, "person"), (2, 3, "person"), (4, 5, "city")),
        make_example(tiny_nlp, "Alan Bean flew from Paris to the moon .", (0, 2, "person"), (4, 5, "city")),
    ]
    DocBin(docs=[example.reference for example in examples] * 4).to_disk(tmp_path / "gold.spacy")
    return tmp_path / "gold.spacy"


@pytest.mark.parametrize("max_epochs", [0, -1])
def test_spacy_trains_the_component(tiny_folder, gold, tmp_path, max_epochs):
    config = make_config(tiny_folder, gold, max_epochs=max_epochs)
    nlp = init_nlp(config)
    assert nlp.get_pipe("universal_ner").labels == ("city", "person")
    before = weights_of(nlp)
    (tmp_path / "training").mkdir()
    table = io.StringIO()
    train(nlp, tmp_path / "training", stdout=table)
    trained = spacy.load(tmp_path / "training" / "model-last")
    assert not torch.equal(weights_of(trained), before)
    assert trained.meta["performance"]["ents_f"] == 1.0
    assert "LOSS UNIVE" in table.getvalue()
    assert spacy.load(tmp_path / "training" / "model-best").meta["performance"]["ents_f"] == 1.0


def test_spacy_init_labels_writes_what_initialize_reads(tiny_folder, gold, tmp_path):
    make_config(tiny_folder, gold).to_disk(tmp_path / "config.cfg")
    result = CliRunner().invoke(app, ["init", "labels", str(tmp_path / "config.cfg"), str(tmp_path / "labels")])
    assert result.exit_code == 0, result.output
    labels = json.loads((tmp_path / "labels" / "universal_ner.json").read_text(encoding="utf8"))
    assert labels == {"city": "city", "person": "person"}
