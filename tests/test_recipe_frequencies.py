"""Head, torso and tail of types."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from spacy_uniner.passages import Mention, Passage
from spacy_uniner.recipe.frequencies import count_types, cut_bands, draw_frequencies


def test_each_mention_counts():
    passage = Passage(("a", "b"), ("x", "y"), (Mention(0, 1, "x"), Mention(1, 2, "x"), Mention(0, 1, "y")))
    assert count_types([passage, passage]) == {"x": 4, "y": 2}


def test_bands_are_cut_by_rank():
    counts = Counter({f"t{n:03}": 100 if n < 2 else 10 if n < 20 else 1 for n in range(200)})
    head, torso, tail = cut_bands(counts)
    assert (head.n_types, torso.n_types, tail.n_types) == (2, 18, 180)
    assert (head.n_mentions, torso.n_mentions, tail.n_mentions) == (200, 180, 180)
    assert head.share == pytest.approx(200 / 560)
    assert head.top == ("t000", "t001")
    assert tail.top == tuple(f"t{n:03}" for n in range(20, 30))


def test_few_types_are_all_in_some_band():
    bands = cut_bands(Counter({"city": 3, "actor": 3, "river": 1}))
    assert [band.top for band in bands] == [("actor",), (), ("city", "river")]
    assert [band.n_types for band in cut_bands(Counter())] == [0, 0, 0]


def test_picture_is_written(tmp_path):
    counts = Counter({f"t{n}": 1 + 500 // (n + 1) for n in range(300)})
    draw_frequencies(counts, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_not_drawn(tmp_path):
    with pytest.raises(ValueError, match=r"no mentions to draw"):
        draw_frequencies(Counter(), tmp_path / "picture.png")


def test_without_matplotlib_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"pip install spacy-uniner\[distill\]"):
        draw_frequencies(Counter({"city": 1}), tmp_path / "picture.png")
