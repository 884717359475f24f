"""The log of draws: what is written when, what a kill leaves, and what is refused."""

from __future__ import annotations

import json

import pytest

from spacy_uniner.draw_log import DrawLog, make_plan, read_draw_log, share_by_part
from spacy_uniner.schedules import ConstantShare, StepShare

PLAN = make_plan(StepShare(), 250, seed=3)
SOURCES = ("d" * 125 + "o" * 125) + "o" * 10


def write(path, sources: str, *, is_closed: bool = True, plan=PLAN) -> None:
    log = DrawLog(path, plan)
    for source in sources:
        log.add(source == "d")
    if is_closed:
        log.write()


def test_log_has_the_plan_and_a_line_for_each_hundred(tmp_path):
    write(tmp_path / "runs" / "log.jsonl", SOURCES)
    header, *lines = map(json.loads, (tmp_path / "runs" / "log.jsonl").read_text("utf8").splitlines())
    assert header == {"n_examples": 250, "seed": 3, "shares": [1.0] * 100 + [0.0] * 101}
    assert [(line["n_examples"], line["n_distilled"]) for line in lines] == [(100, 100), (200, 125), (260, 125)]
    assert lines[1]["drawn"] == "d" * 25 + "o" * 75
    drawn = read_draw_log(tmp_path / "runs" / "log.jsonl")
    assert (drawn.plan, drawn.sources) == (PLAN, SOURCES)


def test_what_is_drawn_again_is_written_once(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, SOURCES[:7])  # as initialization does
    write(path, SOURCES[:100])
    write(path, SOURCES[:230], is_closed=False)  # a kill
    assert read_draw_log(path).sources == SOURCES[:200]
    write(path, SOURCES)
    assert read_draw_log(path).sources == SOURCES


def test_streams_that_are_open_at_once_write_each_line_once(tmp_path):
    one, other = (DrawLog(tmp_path / "log.jsonl", PLAN) for _ in range(2))
    for source in SOURCES:
        one.add(source == "d")
        other.add(source == "d")
    other.write()
    one.write()
    assert read_draw_log(tmp_path / "log.jsonl").sources == SOURCES


def test_log_that_is_removed_meanwhile_is_written_anew(tmp_path):
    log = DrawLog(tmp_path / "log.jsonl", PLAN)
    for source in SOURCES[:100]:
        log.add(source == "d")
    (tmp_path / "log.jsonl").unlink()
    for source in SOURCES[100:]:
        log.add(source == "d")
    log.write()
    assert read_draw_log(tmp_path / "log.jsonl").sources == SOURCES


@pytest.mark.parametrize("n_cut", [1, 50, 150])
def test_line_that_a_kill_cut_off_is_written_again(tmp_path, n_cut):
    path = tmp_path / "log.jsonl"
    write(path, SOURCES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-n_cut])
    assert SOURCES.startswith(read_draw_log(path).sources)
    write(path, SOURCES)
    assert path.read_bytes() == whole


def test_header_that_a_kill_cut_off_is_written_again(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"n_exam', encoding="utf8")
    write(path, SOURCES)
    assert read_draw_log(path).sources == SOURCES


@pytest.mark.parametrize(
    "plan",
    [make_plan(StepShare(), 251, 3), make_plan(StepShare(), 250, 4), make_plan(ConstantShare(1.0), 250, 3)],
)
def test_log_of_another_plan_is_refused(tmp_path, plan):
    write(tmp_path / "log.jsonl", SOURCES)
    with pytest.raises(ValueError, match="is the log of another plan: of 250 Examples with seed 3, not of 25"):
        DrawLog(tmp_path / "log.jsonl", plan)


def test_log_of_other_draws_is_refused(tmp_path):
    write(tmp_path / "log.jsonl", SOURCES)
    with pytest.raises(ValueError, match="tells of other draws than this schedule makes"):
        write(tmp_path / "log.jsonl", "o" * 100, is_closed=False)


@pytest.mark.parametrize(
    "content, reason",
    [
        ("", "is not a log of draws"),
        ("nothing\n", "is not a log of draws .JSONDecodeError"),
        ("[1]\n", "is not a log of draws .TypeError"),
        ('{"n_examples": 3}\n', "is not a log of draws .KeyError: 'seed'"),
        ('{"n_examples": 3, "seed": 0, "shares": [1.0]}\n{"drawn": "d"}\n', "KeyError: 'n_examples'"),
        ('{"n_examples": 3, "seed": 0, "shares": [1.0]}\n{"n_examples": 2, "drawn": "d"}\n', "lines are missing"),
        ('{"n_examples": 3, "seed": 0, "shares": [1.0]}\n{"n_examples": 1, "drawn": "x"}\n', "other sources"),
    ],
)
def test_file_that_is_no_log_is_refused(tmp_path, content, reason):
    (tmp_path / "log.jsonl").write_text(content, encoding="utf8")
    with pytest.raises(ValueError, match=reason):
        read_draw_log(tmp_path / "log.jsonl")


def test_share_is_counted_part_by_part():
    assert share_by_part("ddodoo" + "d", 3) == [2 / 3, 1 / 3, 1.0]
    assert share_by_part("", 3) == []
