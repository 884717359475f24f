"""Tables, Markdown, pictures and the page."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest
from fakes import CREWS, LEXICON, TRAVELS, Lexicon

from spacy_uniner.benchmark import page
from spacy_uniner.benchmark.page import lay_flat, render_page
from spacy_uniner.benchmark.plots import draw
from spacy_uniner.benchmark.report import (
    Published,
    compare,
    make_tables,
    read_published,
    tabulate_speed,
    write_markdown,
)
from spacy_uniner.benchmark.run import Runner, Settings
from spacy_uniner.passages import Mention

PUBLISHED = [Published("GLiNER-L", "strict", {"travels": 77.0}, 60.9, "a paper")]


def run(folder, system=LEXICON, datasets=(TRAVELS, CREWS)):
    return Runner(system, folder, {"person": ["human"]}, ["river"], Settings(n_resamples=50)).run(list(datasets))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def tables(report):
    return {table.title.split(",")[0].split(" (")[0]: table for table in make_tables(report, PUBLISHED)}


def test_accuracy_has_a_row_a_dataset_and_both_means(tables):
    rows = {row[0]: row for row in tables["Accuracy"].rows}
    assert list(rows) == ["travels", "crews", "mean over rows", "mean over datasets"]
    assert rows["travels"][1:5] == ("3", "80.0", "80.0", "80.0")
    assert all(len(row) == len(tables["Accuracy"].header) for row in tables["Accuracy"].rows)


def test_every_table_has_rows_as_long_as_its_header(report):
    for table in make_tables(report, PUBLISHED):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.header)}


def test_published_numbers_are_marked_as_such(tables):
    (title,) = (title for title in tables if title.startswith("Beside published"))
    rows = tables[title].rows
    assert rows[0][0] == "lexicon (measured here)"
    assert rows[1] == ("GLiNER-L (published)", "strict", "77.0", "60.9")


def test_without_published_numbers_there_is_no_such_table(report):
    assert not any(table.title.startswith("Beside") for table in make_tables(report))


@pytest.mark.parametrize("mb, title", [(1234.0, "Speed; 1,234 MB of memory at most"), (None, "Speed")])
def test_speed_is_over_all_datasets_and_titled_with_the_memory(mb, title):
    rows = [
        {"n_words": 100, "speed": [{"n_types": 5, "words_per_second": 100.0}]},
        {
            "n_words": 300,
            "speed": [{"n_types": 5, "words_per_second": 100.0}, {"n_types": 25, "words_per_second": 50.0}],
        },
    ]
    table = tabulate_speed({"peak_memory_mb": mb, "datasets": rows})
    assert table.title == title
    assert table.rows == (("5", "100"), ("25", "50"))


def test_lengths_are_added_up_over_datasets(tables):
    rows = {row[0]: row for row in tables["By length of text"].rows}
    assert rows["1 to 10"][1] == "10"


def test_markdown_has_all_tables_and_the_command(report):
    tables = make_tables(report, PUBLISHED)
    text = write_markdown(report, tables)
    assert text.startswith("# lexicon\n")
    assert report["command"] in text
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [table.title for table in tables]


def test_published_entry_that_lacks_a_field_is_named(tmp_path):
    path = tmp_path / "published.yml"
    path.write_text("published:\n- {system: a, metric: strict, source: b}\n- {system: c}\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"published.yml, entry 2: needs system, metric, scores and source \('metric'"):
        read_published(path)


# Comparing


def test_comparison_of_a_run_with_itself_shows_no_difference(tmp_path):
    run(tmp_path / "one"), run(tmp_path / "other")
    table = compare(tmp_path / "one" / "results.json", tmp_path / "other" / "results.json", n_resamples=200)
    assert [row[0] for row in table.rows] == ["travels", "crews", "mean"]
    assert {row[3] for row in table.rows} == {"+0.0"}
    assert all(float(row[5]) > 0.9 for row in table.rows)


def test_comparison_tells_which_is_better(tmp_path):
    run(tmp_path / "one", Lexicon(LEXICON.table[1:])), run(tmp_path / "other")
    table = compare(tmp_path / "one" / "results.json", tmp_path / "other" / "results.json", n_resamples=200)
    assert table.rows[0][1:4] == ("66.7", "80.0", "+13.3")


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    run(tmp_path / "one", datasets=[TRAVELS]), run(tmp_path / "other", datasets=[CREWS])
    paths = [tmp_path / name / "results.json" for name in ("one", "other")]
    with pytest.raises(ValueError, match=r"have no dataset in common. Run both on the same suite"):
        compare(*paths)
    Runner(LEXICON, tmp_path / "short", {}, [], Settings(limit=1, n_resamples=50)).run([TRAVELS])
    with pytest.raises(ValueError, match=r"'travels' is not of the same sentences \(3 and 1\)"):
        compare(paths[0], tmp_path / "short" / "results.json")


# Pictures and the page


def test_pictures_are_drawn_as_svg_and_png(report, tmp_path):
    paths = draw(report, PUBLISHED, tmp_path)
    assert [path.name for path in paths] == ["f1.svg", "reliability.svg", "thresholds.svg"]
    for path in paths:
        assert "<svg" in path.read_text(encoding="utf8")
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_missing_matplotlib_is_named(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match=r"Pictures need matplotlib. Install it with"):
        draw(report, (), tmp_path)


class Articles(HTMLParser):
    """Collects the kinds of errors of each article, and whatever would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "article":
            self.kinds.append(values["data-kinds"])
        if tag in ("script", "link", "img", "iframe"):
            self.loaded += [values[name] for name in ("src", "href") if name in values]


def render(report, tmp_path):
    tables = make_tables(report, PUBLISHED)
    gold = {dataset.name: dataset.passages for dataset in (TRAVELS, CREWS)}
    return render_page(report, tables, draw(report, PUBLISHED, tmp_path), gold)


def test_page_shows_errors_by_kind_and_loads_nothing(report, tmp_path):
    html = render(report, tmp_path)
    articles = Articles()
    articles.feed(html)
    # Rome is a person; Sally is found without Ride, and one city is missed
    assert articles.kinds == ["wrong type", "wrong boundary", "wrong type"]
    assert articles.loaded == []
    assert html.count("<svg") >= 3
    assert "1 of 3 sentences have errors; shown are 1." in html


def test_page_escapes_what_comes_from_data(report, tmp_path):
    html = render(report, tmp_path)
    assert "<b>" not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert "&lt;b&gt;" in html


def test_page_says_how_many_errors_it_leaves_out(report, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MAX_PASSAGES", 1)
    assert "2 of 2 sentences have errors; shown are 1." in render(report, tmp_path)


def test_marks_that_overlap_stand_in_layers_of_their_own():
    marks = [(Mention(*run, "city"), "") for run in ((0, 3), (1, 2), (3, 4), (2, 3), (0, 5))]
    layers = [[(m.start, m.end) for m, _ in layer] for layer in lay_flat(marks)]
    assert layers == [[(0, 5)], [(0, 3), (3, 4)], [(1, 2), (2, 3)]]
    assert lay_flat([]) == [[]]
