"""Pictures of mixing, and the command that says what was drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from spacy import registry
from spacy.util import load_config
from typer.testing import CliRunner

from spacy_uniner.benchmark.mixing import draw_log, draw_schedules
from spacy_uniner.cli import app
from spacy_uniner.draw_log import DrawLog, Drawn, make_plan
from spacy_uniner.schedules import PowerDecayShare, StepShare, plan_draws

ROOT = Path(__file__).parent.parent


def drawn_of(schedule, n_planned: int, n_drawn: int) -> Drawn:
    draws = plan_draws(schedule, n_planned)
    return Drawn(make_plan(schedule, n_planned, 0), "".join("d" if next(draws) else "o" for _ in range(n_drawn)))


def curve_of(figure, n: int = 0) -> list[tuple[float, float]]:
    return [tuple(point) for point in figure.axes[n].lines[0].get_xydata()]


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that are made."""
    from spacy_uniner.benchmark import mixing

    made, make = [], mixing.make_figure
    monkeypatch.setattr(mixing, "make_figure", lambda *size: made.append(make(*size)) or made[-1])
    return made


def test_each_schedule_has_a_field_with_its_name_and_curve(figures, tmp_path):
    schedules = {"a": StepShare(), "b": PowerDecayShare(), "c": StepShare(), "d": StepShare(), "e": PowerDecayShare(2)}
    draw_schedules(schedules, tmp_path / "new" / "picture.svg")
    (figure,) = figures
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == list("abcde")
    assert curve_of(figure, 1)[100] == (0.5, 0.5)
    assert curve_of(figure, 4)[100] == (0.5, 0.25)
    assert "<svg" in (tmp_path / "new" / "picture.svg").read_text("utf8")


def test_log_is_drawn_beside_its_plan(figures, tmp_path):
    draw_log(drawn_of(PowerDecayShare(), 1000, 700), tmp_path / "picture.png")
    axes = figures[0].axes[0]
    shares = axes.patches[0].get_data()
    assert list(shares.edges) == list(range(0, 701, 20))
    assert list(shares.values) == pytest.approx([1 - (n + 0.5) / 50 for n in range(35)], abs=0.05)
    assert curve_of(figures[0])[:2] == [(0.0, 1.0), (5.0, 0.995)]
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_log_longer_than_its_plan_is_drawn_whole(figures, tmp_path):
    draw_log(drawn_of(StepShare(), 10, 13), tmp_path / "picture.svg")
    axes = figures[0].axes[0]
    assert list(axes.patches[0].get_data().values) == [1.0] * 5 + [0.0] * 8
    assert axes.get_xlim() == (0.0, 13.0)


def test_same_picture_makes_the_same_file(tmp_path):
    for name in ("one", "other"):
        draw_schedules({"step": StepShare()}, tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_picture_of_the_docs_names_every_schedule_of_the_config(figures, tmp_path):
    counts = {"variables.n_distilled": 14000, "variables.n_original": 7000}
    blocks = load_config(ROOT / "configs" / "curriculum.cfg", overrides=counts, interpolate=True)["schedules"]
    schedules = registry.resolve({"schedules": blocks})["schedules"]
    draw_schedules({name.replace("_", " "): schedule for name, schedule in schedules.items()}, tmp_path / "new.svg")
    picture = (ROOT / "docs" / "schedules.svg").read_text("utf8")
    assert all(f"<!-- {axes.get_title()} -->" in picture for axes in figures[0].axes if axes.get_visible())


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ValueError, match="There is no schedule to draw"):
        draw_schedules({}, tmp_path / "picture.svg")
    with pytest.raises(ValueError, match="Nothing was drawn by now"):
        draw_log(drawn_of(StepShare(), 10, 0), tmp_path / "picture.svg")


def test_pictures_without_matplotlib_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"pip install spacy-uniner\[benchmark\]"):
        draw_schedules({"step": StepShare()}, tmp_path / "picture.svg")


# The command


def write_log(path: Path, n_drawn: int) -> Path:
    log = DrawLog(path, make_plan(StepShare(), 1200, 0))
    draws = plan_draws(StepShare(), 1200)
    for _ in range(n_drawn):
        log.add(next(draws))
    log.write()
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, ["mixing", *map(str, arguments)])


def test_command_says_what_was_drawn_and_draws_it(tmp_path):
    result = run(write_log(tmp_path / "log.jsonl", 1000), "--output", tmp_path / "picture.svg")
    assert result.exit_code == 0, result.output
    assert "1,000 of 1,200 planned Examples drawn: 600 distilled, 400 original." in " ".join(result.output.split())
    assert (tmp_path / "picture.svg").is_file()


def test_command_without_output_needs_no_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run(write_log(tmp_path / "log.jsonl", 5))
    assert result.exit_code == 0, result.output
    assert "5 of 1,200 planned Examples drawn: 5 distilled, 0 original." in result.output


def test_command_refuses_a_file_that_is_no_log(tmp_path):
    (tmp_path / "log.jsonl").write_text("nothing\n", encoding="utf8")
    result = run(tmp_path / "log.jsonl")
    assert result.exit_code == 2
    assert "is not a log of draws" in " ".join(result.output.replace("│", " ").split())
