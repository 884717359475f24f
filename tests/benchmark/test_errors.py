"""Errors by kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_uniner.benchmark.errors import sort_errors
from spacy_uniner.passages import Mention, Passage

TYPES = ("band", "person")
A = Mention(0, 2, "band")  # The Beatles
B = Mention(3, 5, "person")  # Bob Dylan
GOLD = Passage(("The", "Beatles", "met", "Bob", "Dylan"), TYPES, (A, B))
N_WORDS = 6


@st.composite
def passages_with_found(draw):
    runs = [(start, end) for start in range(N_WORDS) for end in range(start + 1, N_WORDS + 1)]
    mentions = st.builds(lambda run, type_: Mention(*run, type_), st.sampled_from(runs), st.sampled_from(TYPES))
    gold, found = (draw(st.lists(mentions, max_size=6, unique=True)) for _ in range(2))
    return Passage(("x",) * N_WORDS, TYPES, tuple(gold)), found


@pytest.mark.parametrize(
    "found, expected",
    [
        ([A, B], {"correct": (A, B)}),
        ([], {"missed": (A, B)}),
        ([A, B, Mention(2, 3, "person")], {"correct": (A, B), "spurious": (Mention(2, 3, "person"),)}),
        ([B, Mention(0, 2, "person")], {"correct": (B,), "wrong_type": ((A, Mention(0, 2, "person")),)}),
        ([B, Mention(1, 2, "band")], {"correct": (B,), "wrong_boundary": ((A, Mention(1, 2, "band")),)}),
        # type and boundary wrong: nothing says that it is an answer to this gold mention
        ([B, Mention(1, 2, "person")], {"correct": (B,), "missed": (A,), "spurious": (Mention(1, 2, "person"),)}),
        # the same words with the wrong type come before other words with the right one
        (
            [B, Mention(0, 2, "person"), Mention(0, 1, "band")],
            {"correct": (B,), "wrong_type": ((A, Mention(0, 2, "person")),), "spurious": (Mention(0, 1, "band"),)},
        ),
        # a gold mention that is correct is no partner for anything else
        ([A, B, Mention(0, 1, "band")], {"correct": (A, B), "spurious": (Mention(0, 1, "band"),)}),
        # two halves: one is the wrong boundary, one is too many
        (
            [B, Mention(0, 1, "band"), Mention(1, 2, "band")],
            {
                "correct": (B,),
                "wrong_boundary": ((A, Mention(0, 1, "band")),),
                "spurious": (Mention(1, 2, "band"),),
            },
        ),
    ],
)
def test_errors_are_sorted_by_hand(found, expected):
    kinds = ("correct", "missed", "spurious", "wrong_type", "wrong_boundary")
    errors = sort_errors(GOLD, found)
    assert {kind: getattr(errors, kind) for kind in kinds if getattr(errors, kind)} == expected


def test_correct_mentions_keep_the_score_with_which_they_were_found():
    errors = sort_errors(GOLD, [Mention(0, 2, "band", 0.4), Mention(0, 2, "band", 0.9), Mention(0, 2, "band", 0.6)])
    assert errors.correct == (Mention(0, 2, "band", 0.9),)
    assert errors.missed == (B,)


@given(case=passages_with_found())
def test_every_mention_stands_in_exactly_one_kind(case):
    gold, found = case
    errors = sort_errors(gold, found)
    pairs = errors.wrong_type + errors.wrong_boundary
    of_gold = [*errors.correct, *errors.missed, *(pair[0] for pair in pairs)]
    of_found = [*errors.correct, *errors.spurious, *(pair[1] for pair in pairs)]
    assert sorted(of_gold, key=repr) == sorted(gold.mentions, key=repr)
    assert sorted(of_found, key=repr) == sorted(found, key=repr)


@given(case=passages_with_found())
def test_kinds_are_what_they_say_and_nothing_more_could_be_paired(case):
    gold, found = case
    errors = sort_errors(gold, found)
    assert set(errors.correct) == set(gold.mentions) & set(found)
    assert all((a.start, a.end) == (b.start, b.end) and a.type != b.type for a, b in errors.wrong_type)
    assert all(a.type == b.type and a.start < b.end and b.start < a.end for a, b in errors.wrong_boundary)
    for a in errors.missed:
        for b in errors.spurious:
            assert (a.start, a.end) != (b.start, b.end)
            assert not (a.type == b.type and a.start < b.end and b.start < a.end)


@given(case=passages_with_found(), data=st.data())
def test_order_of_mentions_changes_nothing(case, data):
    gold, found = case
    other = Passage(gold.words, gold.types, tuple(data.draw(st.permutations(gold.mentions))))
    assert sort_errors(other, data.draw(st.permutations(found))) == sort_errors(gold, found)
