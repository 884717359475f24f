"""Runs over datasets, and what is written of them."""

from __future__ import annotations

import sys

import pytest
from fakes import CREWS, LEXICON, TRAVELS, Lexicon

from spacy_uniner.benchmark.run import SCHEMA, DatasetGold, Runner, Settings, find_means, find_peak_memory, read_results
from spacy_uniner.benchmark.systems import ClosedPipeline

SETTINGS = Settings(n_resamples=50)


def make_runner(folder, system=LEXICON, settings=SETTINGS):
    return Runner(system, folder, {"person": ["human"]}, ["river"], settings)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return make_runner(tmp_path_factory.mktemp("run")).run([TRAVELS, CREWS])


def test_counts_and_scores_of_a_dataset(report):
    travels = report["datasets"][0]
    strict = travels["metrics"]["strict"]
    assert strict["micro"] == {"p": 80.0, "r": 80.0, "f": 80.0, "n_correct": 4, "n_found": 5, "n_gold": 5}
    assert strict["types"]["city"] == {"p": 100.0, "r": 50.0, "f": 66.67, "n_correct": 1, "n_found": 1, "n_gold": 2}
    assert strict["macro_f1"] == pytest.approx((66.67 + 85.71) / 2, abs=0.01)
    assert set(travels["metrics"]) == {"strict", "partial", "string-set", "string-set-quirks"}
    assert travels["per_passage"] == [[2, 3, 3], [2, 2, 2], [0, 0, 0]]
    assert travels["found"][1] == [[0, 1, "person", 0.8], [3, 4, "city", 0.7]]
    low, high = travels["strict_f1_interval"]
    assert 0.0 <= low <= 80.0 <= high <= 100.0
    assert (travels["n_sentences"], travels["types"]) == (3, ["city", "person"])


def test_scores_below_the_threshold_are_in_the_curve(report):
    curve = {point["threshold"]: point for point in report["datasets"][0]["threshold_curve"]}
    assert curve[0.1]["n_found"] == 7  # the moon is found twice
    assert curve[0.5]["n_found"] == 5
    assert curve[0.9]["n_correct"] == 1


def test_means_are_over_rows_and_over_datasets():
    def row(name, dataset, domain, f1):
        metrics = {m: {"micro": {"f": f1}} for m in ("strict", "partial", "string-set", "string-set-quirks")}
        return {"name": name, "dataset": dataset, "domain": domain, "metrics": metrics}

    rows = [row("a-1", "a", "Law", 10.0), row("a-2", "a", "Law", 30.0), row("b", "b", "STEM", 50.0)]
    means = find_means(rows)["strict"]
    assert means == {"over_rows": 30.0, "over_datasets": 35.0, "by_domain": {"Law": 20.0, "STEM": 50.0}}


def test_results_are_written_and_read(report, tmp_path):
    returned = make_runner(tmp_path).run([TRAVELS])
    read = read_results(tmp_path / "results.json")
    assert read == returned
    assert read["schema"] == SCHEMA
    assert read["system"] == "lexicon"
    assert read["settings"]["n_resamples"] == 50
    assert read["versions"]["spacy-uniner"]


def test_run_that_was_stopped_goes_on_with_the_next_dataset(tmp_path):
    class Stopped(Exception):
        pass

    def stop_after_first(rows):
        yield rows[0]
        raise Stopped

    with pytest.raises(Stopped):
        make_runner(tmp_path).run([TRAVELS, CREWS], progress=stop_after_first)
    system = Lexicon(LEXICON.table)
    report = make_runner(tmp_path, system).run([TRAVELS, CREWS])
    assert [row["name"] for row in report["datasets"]] == ["travels", "crews"]
    n_crews = len(system.asked)
    make_runner(tmp_path / "fresh", system).run([CREWS])
    assert len(system.asked) == 2 * n_crews  # travels was not asked again


def test_weights_are_hashed_once_for_a_run(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Lexicon, "fingerprint", lambda self: asked.append(self) or "a system")
    make_runner(tmp_path).run([TRAVELS, CREWS])
    assert len(asked) == 1


@pytest.mark.parametrize(
    "system, settings, gold",
    [
        (Lexicon(LEXICON.table, own_threshold=0.1), SETTINGS, TRAVELS),
        (LEXICON, Settings(n_resamples=50, limit=2), TRAVELS),
        (LEXICON, SETTINGS, DatasetGold("travels", "travels", "General", TRAVELS.passages[:2])),
    ],
    ids=["another system", "another setting", "other data"],
)
def test_what_is_not_the_same_is_measured_anew(tmp_path, system, settings, gold):
    first = make_runner(tmp_path).run([TRAVELS])
    second = make_runner(tmp_path, system, settings).run([gold])
    assert first["datasets"][0]["fingerprint"] != second["datasets"][0]["fingerprint"]


def test_limit_takes_the_first_sentences(tmp_path):
    report = make_runner(tmp_path, settings=Settings(limit=1, n_resamples=50)).run([TRAVELS])
    assert report["datasets"][0]["per_passage"] == [[2, 3, 3]]


def test_peak_memory_is_left_out_where_python_does_not_say(monkeypatch):
    assert find_peak_memory() > 10.0
    monkeypatch.setitem(sys.modules, "resource", None)
    assert find_peak_memory() is None


def test_system_without_scores_has_no_curve(tmp_path):
    import spacy

    nlp = spacy.blank("en")
    patterns = [{"label": "PER", "pattern": "Alan"}, {"label": "DATE", "pattern": "moon"}]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    report = make_runner(tmp_path, ClosedPipeline(nlp, "ruled", {"PER": "person"})).run([TRAVELS])
    row = report["datasets"][0]
    assert {"calibration", "threshold_curve"}.isdisjoint(row)
    assert row["left_out"] == {"label 'DATE' not mapped": 2}
    assert row["metrics"]["strict"]["micro"]["n_correct"] == 2


@pytest.mark.parametrize(
    "content, reason", [("{", "is not JSON"), ("[]", "the schema is 'None'"), ('{"schema": "x"}', "the schema is 'x'")]
)
def test_file_that_is_no_result_is_refused(tmp_path, content, reason):
    (tmp_path / "results.json").write_text(content, encoding="utf8")
    with pytest.raises(ValueError, match=f"results.json.*{reason}"):
        read_results(tmp_path / "results.json")
