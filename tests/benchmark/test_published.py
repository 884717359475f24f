"""The file of numbers that others published: nothing without a source, nothing out of range, means that are means."""

from __future__ import annotations

import pytest
import srsly

from spacy_uniner.benchmark.report import read_published
from spacy_uniner.configs_folder import find_configs

PATH = find_configs() / "published.yml"
ENTRIES = srsly.read_yaml(PATH)["published"]
CROSSNER = {f"crossner-{domain}" for domain in ("ai", "literature", "music", "politics", "science")}
DATASETS = CROSSNER | {"mit-movie", "mit-restaurant"}
FIELDS = {"system", "size", "metric", "split", "scores", "source"}
# What the file says it does not know; they must not come back with a figure from memory.
WITHOUT_SCORES = {"GLiNER-S", "GNER-T5-base", "GNER-T5-large", "GNER-T5-xl", "B2NER-20B"}

each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=[entry["system"] for entry in ENTRIES])


@each_entry
def test_entry_has_its_fields_and_a_source(entry):
    assert FIELDS <= set(entry) <= FIELDS | {"mean", "note"}
    assert all(isinstance(entry[name], str) and entry[name].strip() for name in FIELDS - {"scores"})
    assert entry.get("note", "a note says something").strip()
    assert "[" in entry["source"]  # the mark of a source
    assert entry["metric"] in {"strict", "string-set", "token", "not stated"}
    assert entry["split"] == "test"


@each_entry
def test_scores_are_percentages_of_the_seven_datasets(entry):
    assert set(entry["scores"]) <= DATASETS
    assert entry["scores"] or "mean" in entry  # else the entry says nothing
    values = [*entry["scores"].values(), *([entry["mean"]] if "mean" in entry else [])]
    assert all(isinstance(value, float) and 0.0 <= value <= 100.0 for value in values)
    assert max(values) > 1.0  # percent, not shares


@each_entry
def test_stated_mean_is_the_mean_of_the_seven(entry):
    if set(entry["scores"]) == DATASETS:
        mean = sum(entry["scores"].values()) / len(DATASETS)
        assert entry["mean"] == pytest.approx(mean, abs=0.15) or "mean" in entry.get("note", "")


def test_systems_stand_once():
    systems = [entry["system"] for entry in ENTRIES]
    assert len(set(systems)) == len(systems)


def test_what_was_not_seen_in_a_source_is_left_out():
    by_system = {entry["system"]: entry for entry in ENTRIES}
    assert {name for name, entry in by_system.items() if not entry["scores"]} == WITHOUT_SCORES
    assert set(by_system["GLiNER-M"]["scores"]) == CROSSNER
    assert set(by_system["GNER-T5-xxl"]["scores"]) == {"mit-movie", "mit-restaurant"}
    assert not any(name.startswith(("USM", "SLIMER", "KIF")) for name in by_system)


def test_metrics_of_others_are_told_apart():
    metrics = {entry["system"]: entry["metric"] for entry in ENTRIES}
    assert metrics["UniNER-7B"] == "string-set"
    assert metrics["GLiNER-L"] == metrics["NuNER Zero-span"] == "strict"
    assert [name for name, metric in metrics.items() if metric == "token"] == ["NuNER Zero"]


def test_benchmark_reads_the_file():
    published = read_published(PATH)
    assert [other.system for other in published] == [entry["system"] for entry in ENTRIES]
    (gliner,) = (other for other in published if other.system == "GLiNER-L")
    assert (gliner.metric, gliner.mean, gliner.scores["crossner-ai"]) == ("strict", 60.9, 57.2)
