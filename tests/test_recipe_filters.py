"""What is left out of a teacher's mentions, and texts that are nearly the same."""

from __future__ import annotations

import sys

import pytest

from spacy_uniner.passages import Mention, Passage
from spacy_uniner.recipe.duplicates import find_duplicates
from spacy_uniner.recipe.filters import filter_mentions, judge_mention


@pytest.mark.parametrize(
    "surface, type_, reason",
    [
        ("Rome", "city", None),
        ("Rome", "MISC", "ELSE type"),
        ("Rome", " None ", "ELSE type"),
        ("Rome", "n/a", "ELSE type"),
        ("Rome", "other city", None),
        ("東京", "city", "not English"),
        ("Москва", "city", "not English"),
        ("Karel Čapek", "writer", None),
        ("β-catenin", "protein", None),  # most letters are Latin
        ("1,024", "number", None),
        ("--", "sign", "no letter or digit"),
        ("Rome", "a city that is old and large", "long type"),
        ("Rome", "a city that is old", None),
    ],
)
def test_mentions_are_judged(surface, type_, reason):
    assert judge_mention(surface, type_, max_type_words=5) == reason


def test_a_type_that_lost_all_mentions_is_no_negative():
    passage = Passage(
        ("Tokyo", "東京", "--", "Rome"),
        ("city", "name", "other", "river", "misc"),
        (Mention(0, 1, "city"), Mention(1, 2, "city"), Mention(2, 3, "name"), Mention(3, 4, "other")),
        (Mention(3, 4, "city"), Mention(0, 1, "name")),
    )
    kept, lost = filter_mentions(passage, max_type_words=5)
    assert kept.types == ("city", "river")
    assert kept.mentions == (Mention(0, 1, "city"),)
    assert kept.unknown == (Mention(3, 4, "city"),)
    assert lost == {"not English": 1, "no letter or digit": 1, "ELSE type": 1}


LONG = "the quick brown fox jumps over the lazy dog and runs into the deep green forest near the old mill at the river"


def test_a_text_that_is_nearly_the_same_is_found():
    texts = ["Something else that nobody has said before.", LONG, LONG.replace("mill", "farm"), LONG.upper() + "!"]
    assert find_duplicates(texts, 0.7) == [2, 3]


def test_only_what_is_as_alike_as_the_threshold_is_left_out():
    changed = LONG.replace("mill", "farm")  # 18 of 24 runs are shared: 0.75
    assert find_duplicates([LONG, changed], 0.95) == []
    assert find_duplicates([LONG, LONG], 1.0) == [1]


def test_texts_that_share_a_topic_stay():
    assert find_duplicates(["A fox jumps over a dog.", "A dog jumps over a fox.", "", "word"], 0.7) == []


def test_short_texts_are_compared_as_a_whole():
    assert find_duplicates(["Go home!", "go home", "go away"], 0.7) == [1]


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_a_threshold_out_of_its_range_is_refused(threshold):
    with pytest.raises(ValueError, match=rf"must be in \(0, 1\], got {threshold}"):
        find_duplicates(["a"], threshold)


def test_without_datasketch_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(ValueError, match=r"pip install spacy-uniner\[distill\]"):
        find_duplicates(["a"], 0.5)
