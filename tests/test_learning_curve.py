"""Learning curves: what is kept of a training, also over a kill, and the picture of it."""

from __future__ import annotations

import io
import json

import pytest
import spacy

from spacy_uniner.benchmark.curves import draw_curves
from spacy_uniner.learning_curve import CurveLogger, Evaluation, best_of, read_curve


def make_info(step: int, score: float) -> dict:
    """Make what spaCy's training loop tells its logger."""
    return {"epoch": 0, "step": step, "score": score, "losses": {"ner": 2.0}, "other_scores": {"ents_f": score}}


def set_up(path, n_steps_before: int = 0):
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    training = {"max_steps": 10, "eval_frequency": 5, "score_weights": {"ents_f": 1.0, "ents_p": None, "ents_r": None}}
    rate = {"@schedules": "spacy_uniner.continued.v1", "n_steps_before": n_steps_before} if n_steps_before else 0.001
    nlp.config["training"] = training | {"optimizer": {"learn_rate": rate}}
    out = io.StringIO()
    log, finish = CurveLogger(path)(nlp, out, out)
    return log, finish, out


def test_every_evaluation_is_kept_and_printed(tmp_path):
    log, finish, out = set_up(tmp_path / "deep" / "curve.jsonl")
    log(make_info(0, 0.0))
    log(None)  # a step without an evaluation
    log(make_info(5, 0.5))
    finish()
    assert read_curve(tmp_path / "deep" / "curve.jsonl") == [
        Evaluation(0, 0.0, {"ents_f": 0.0}, {"ner": 2.0}),
        Evaluation(5, 0.5, {"ents_f": 0.5}, {"ner": 2.0}),
    ]
    assert "50.00" in out.getvalue()


def test_a_run_that_goes_on_goes_on_with_the_file(tmp_path):
    path = tmp_path / "curve.jsonl"
    log, *_ = set_up(path)
    for step in (0, 5, 10, 15):
        log(make_info(step, step / 100))
    log, *_ = set_up(path, n_steps_before=10)  # the checkpoint is older than the last evaluation
    for step in (0, 5, 10):
        log(make_info(step, step / 10))
    assert [(one.step, one.score) for one in read_curve(path)] == [
        (0, 0.0),
        (5, 0.05),
        (10, 0.1),
        (15, 0.5),
        (20, 1.0),
    ]


def test_a_new_run_begins_the_file_anew(tmp_path):
    path = tmp_path / "curve.jsonl"
    log, *_ = set_up(path)
    log(make_info(5, 0.5))
    set_up(path)
    assert read_curve(path) == []


def test_a_line_cut_off_by_a_kill_is_passed_over(tmp_path):
    path = tmp_path / "curve.jsonl"
    log, *_ = set_up(path)
    log(make_info(5, 0.5))
    with path.open("a", encoding="utf8") as file:
        file.write('{"step": 10, "sco')
    assert [one.step for one in read_curve(path)] == [5]


@pytest.mark.parametrize("line", ["nothing", json.dumps({"step": 1}), "[]"])
def test_a_line_of_another_form_is_refused(tmp_path, line):
    (tmp_path / "curve.jsonl").write_text(line + "\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"curve.jsonl, line 1: no evaluation"):
        read_curve(tmp_path / "curve.jsonl")


def test_the_best_evaluation_is_the_first_of_the_best():
    curve = [Evaluation(step, score, {}, {}) for step, score in ((0, 0.1), (5, 0.7), (10, 0.7), (15, 0.2))]
    assert best_of(curve).step == 5


def test_curves_are_drawn(tmp_path):
    curve = [Evaluation(step, step / 20, {}, {"ner": 10.0}) for step in (0, 5, 10)]
    draw_curves({"one": curve, "two": curve[:1]}, tmp_path / "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text(encoding="utf8")


def test_a_run_without_evaluations_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Run 'one' has no evaluation by now"):
        draw_curves({"one": []}, tmp_path / "curves.svg")
