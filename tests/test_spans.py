"""Windows of a long text, and what becomes of mentions that overlap."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise, permutations
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spacy_uniner.passages import Mention
from spacy_uniner.spans import (
    Located,
    Window,
    cut_windows,
    let_specific_win,
    locate,
    merge_windows,
    resolve_overlaps,
)

PHYSICIST = frozenset({("physicist", "scientist"), ("physicist", "person"), ("scientist", "person")})
SYNONYMS = frozenset({("film", "movie"), ("movie", "film")})
CIRCLE = frozenset({("a", "b"), ("b", "c"), ("c", "a")})

# Few words, types and scores, so that runs and ties meet often.
TYPES = ("a", "b", "c", "d")
mentions_lists = st.lists(
    st.builds(
        lambda start, n_words, type_, score: Mention(start, start + n_words, type_, score),
        st.integers(0, 9),
        st.integers(1, 6),
        st.sampled_from(TYPES),
        st.sampled_from([0.3, 0.5, 0.7, 0.9]),
    ),
    max_size=14,
)
implications = st.frozensets(st.tuples(st.sampled_from(TYPES), st.sampled_from(TYPES)), max_size=8)
units_lists = st.lists(st.integers(0, 12), max_size=60)


def share_words(one: Mention, other: Mention) -> bool:
    return one.start < other.end and other.start < one.end


def is_within(one: Mention, other: Mention) -> bool:
    return other.start <= one.start and one.end <= other.end


def cross(one: Mention, other: Mention) -> bool:
    return share_words(one, other) and not is_within(one, other) and not is_within(other, one)


def is_same_run(one: Mention, other: Mention) -> bool:
    return (one.start, one.end) == (other.start, other.end)


def resolve_slowly(mentions: Sequence[Mention], overlap: str, implied: frozenset[tuple[str, str]]) -> list[Mention]:
    """Do what `resolve_overlaps` does by comparing everything with everything."""

    def weigh(run: tuple[int, int]) -> tuple[float, int, int]:
        strength = max(m.score for m in mentions if (m.start, m.end) == run)
        return -strength, run[0] - run[1], run[0]

    left = let_specific_win(mentions, implied)
    chosen: list[Mention] = []
    for run in sorted({(m.start, m.end) for m in mentions}, key=weigh):
        best = min((m for m in left if (m.start, m.end) == run), key=lambda m: (-m.score, m.type))
        disturbs = share_words if overlap == "flat" else cross
        if not any(disturbs(best, other) for other in chosen):
            chosen.append(best)
    return sorted(chosen, key=lambda m: (m.start, m.end))


# The specific wins


@pytest.mark.parametrize(
    "scores, left",
    [
        ({"person": 0.9, "physicist": 0.6}, ["physicist"]),  # however much better the wide one is
        ({"person": 0.9, "scientist": 0.7, "physicist": 0.6}, ["physicist"]),
        ({"person": 0.9, "scientist": 0.7}, ["scientist"]),
        ({"person": 0.9, "city": 0.5}, ["city", "person"]),  # neither implies the other
        ({"person": 0.9, "city": 0.5, "physicist": 0.5}, ["city", "physicist"]),
        ({"person": 0.9}, ["person"]),
        ({}, []),
    ],
)
def test_wide_type_gives_way_to_one_that_implies_it(scores, left):
    mentions = [Mention(2, 4, type_, score) for type_, score in scores.items()]
    assert let_specific_win(mentions, PHYSICIST) == [Mention(2, 4, type_, scores[type_]) for type_ in left]


def test_type_gives_way_only_on_the_same_run_of_words():
    mentions = [Mention(0, 2, "person"), Mention(0, 3, "physicist"), Mention(1, 2, "scientist")]
    assert let_specific_win(mentions, PHYSICIST) == [
        Mention(0, 2, "person"),
        Mention(0, 3, "physicist"),
        Mention(1, 2, "scientist"),
    ]


def test_nothing_gives_way_where_nothing_is_implied():
    mentions = [Mention(0, 2, "physicist", 0.5), Mention(0, 2, "person", 0.9)]
    assert let_specific_win(mentions, frozenset()) == [mentions[1], mentions[0]]


def test_wide_of_wide_is_not_concluded():
    implied = frozenset({("physicist", "scientist"), ("scientist", "person")})
    mentions = [Mention(0, 2, "person"), Mention(0, 2, "physicist")]
    assert let_specific_win(mentions, implied) == mentions


def test_wide_type_gives_way_even_to_one_that_gives_way_itself():
    implied = frozenset({("physicist", "scientist"), ("scientist", "person")})
    mentions = [Mention(0, 2, type_) for type_ in ("person", "scientist", "physicist")]
    assert let_specific_win(mentions, implied) == [Mention(0, 2, "physicist")]


@pytest.mark.parametrize(
    "film, movie, left",
    [
        (0.8, 0.6, "film"),
        (0.6, 0.8, "movie"),
        (0.7, 0.7, "film"),  # of equal scores the first in the alphabet
    ],
)
def test_better_of_two_synonyms_stays(film, movie, left):
    mentions = [Mention(0, 2, "movie", movie), Mention(0, 2, "film", film)]
    assert [mention.type for mention in let_specific_win(mentions, SYNONYMS)] == [left]


def test_types_that_a_synonym_implies_give_way_too():
    implied = SYNONYMS | {("movie", "artwork")}
    mentions = [Mention(0, 2, "film", 0.9), Mention(0, 2, "movie", 0.5), Mention(0, 2, "artwork", 0.9)]
    assert let_specific_win(mentions, implied) == [Mention(0, 2, "film", 0.9)]


def test_type_that_implies_itself_stays():
    assert let_specific_win([Mention(0, 2, "a")], frozenset({("a", "a")})) == [Mention(0, 2, "a")]


def test_best_of_a_circle_stays():
    mentions = [Mention(0, 2, "a", 0.5), Mention(0, 2, "b", 0.7), Mention(0, 2, "c", 0.6)]
    assert let_specific_win(mentions, CIRCLE) == [Mention(0, 2, "b", 0.7)]


def test_what_a_circle_implies_does_not_stay_in_its_place():
    implied = CIRCLE | {("a", "thing")}
    mentions = [Mention(0, 2, type_, 0.5) for type_ in "abc"] + [Mention(0, 2, "thing", 0.9)]
    assert let_specific_win(mentions, implied) == [Mention(0, 2, "a", 0.5)]


def test_circle_gives_way_to_what_implies_one_of_it():
    implied = CIRCLE | {("physicist", "a")}
    mentions = [Mention(0, 2, type_, 0.9) for type_ in "abc"] + [Mention(0, 2, "physicist", 0.5)]
    assert let_specific_win(mentions, implied) == [Mention(0, 2, "physicist", 0.5)]


def test_circle_keeps_its_best_beside_types_that_have_no_part_in_it():
    mentions = [Mention(0, 2, type_, 0.5) for type_ in "abcd"]
    assert [mention.type for mention in let_specific_win(mentions, CIRCLE)] == ["a", "d"]


@given(mentions_lists, implications)
@example([Mention(0, 2, type_) for type_ in "abc"], CIRCLE)
def test_no_run_of_words_loses_all_of_its_mentions(mentions, implied):
    left = let_specific_win(mentions, implied)
    assert {(m.start, m.end) for m in left} == {(m.start, m.end) for m in mentions}


@given(mentions_lists, implications)
def test_who_is_implied_by_nobody_stays(mentions, implied):
    left = let_specific_win(mentions, implied)
    for mention in mentions:
        if not any(
            is_same_run(mention, other) and mention.type != other.type and (other.type, mention.type) in implied
            for other in mentions
        ):
            assert mention in left


@given(mentions_lists, st.permutations(TYPES))
def test_without_circles_nobody_who_is_implied_stays(mentions, ranks):
    implied = frozenset(combinations(ranks, 2))  # each is narrower than all that follow
    left = let_specific_win(mentions, implied)
    for one, other in combinations(left, 2):
        assert not is_same_run(one, other) or one.type == other.type


# Overlaps: flat


@pytest.mark.parametrize(
    "weak",
    [
        Mention(2, 4, "b", 0.5),  # the same run
        Mention(3, 4, "b", 0.5),  # within
        Mention(1, 5, "b", 0.5),  # around
        Mention(1, 3, "b", 0.5),  # crossing from the left
        Mention(3, 6, "b", 0.5),  # crossing from the right
    ],
)
def test_stronger_of_two_that_share_a_word_is_kept(weak):
    strong = Mention(2, 4, "a", 0.6)
    assert resolve_overlaps([weak, strong], "flat") == (strong,)
    assert resolve_overlaps([strong, weak], "flat") == (strong,)


def test_neighbours_share_no_word():
    mentions = (Mention(0, 2, "a", 0.5), Mention(2, 4, "b", 0.9), Mention(4, 5, "a", 0.7))
    assert resolve_overlaps(mentions, "flat") == mentions


def test_mention_comes_back_if_its_rival_fell_to_a_stronger_one():
    first, rival, strong = Mention(0, 2, "a", 0.5), Mention(1, 4, "a", 0.7), Mention(3, 5, "a", 0.9)
    assert resolve_overlaps([first, rival, strong], "flat") == (first, strong)


@pytest.mark.parametrize(
    "mentions, kept",
    [
        ([Mention(0, 2, "a", 0.5), Mention(1, 4, "a", 0.5)], Mention(1, 4, "a", 0.5)),  # the longer
        ([Mention(2, 4, "a", 0.5), Mention(1, 3, "b", 0.5)], Mention(1, 3, "b", 0.5)),  # of one length, the earlier
        ([Mention(0, 2, "b", 0.5), Mention(0, 2, "a", 0.5)], Mention(0, 2, "a", 0.5)),  # of one run, by alphabet
    ],
)
@pytest.mark.parametrize("overlap", ["flat", "nested"])
def test_tie_goes_to_the_longer_then_the_earlier_then_by_alphabet(mentions, kept, overlap):
    assert resolve_overlaps(mentions, overlap) == (kept,)


@pytest.mark.parametrize("overlap", ["flat", "nested"])
def test_specific_type_is_as_strong_as_the_wide_one_that_gave_way(overlap):
    mentions = [Mention(0, 2, "person", 0.9), Mention(0, 2, "physicist", 0.4), Mention(1, 3, "city", 0.7)]
    assert resolve_overlaps(mentions, overlap, PHYSICIST) == (Mention(0, 2, "physicist", 0.4),)


def test_specific_type_alone_is_only_as_strong_as_it_is():
    mentions = [Mention(0, 2, "physicist", 0.4), Mention(1, 3, "city", 0.7)]
    assert resolve_overlaps(mentions, "flat", PHYSICIST) == (Mention(1, 3, "city", 0.7),)


@pytest.mark.parametrize("overlap", ["flat", "nested"])
def test_best_of_those_left_on_a_run_is_chosen(overlap):
    scores = {"person": 0.9, "physicist": 0.4, "philosopher": 0.6, "city": 0.5}
    mentions = [Mention(0, 2, type_, score) for type_, score in scores.items()]
    assert resolve_overlaps(mentions, overlap, PHYSICIST) == (Mention(0, 2, "philosopher", 0.6),)


@pytest.mark.parametrize("overlap", ["flat", "nested"])
def test_without_implications_the_best_score_is_chosen(overlap):
    mentions = [Mention(0, 2, "person", 0.9), Mention(0, 2, "physicist", 0.4)]
    assert resolve_overlaps(mentions, overlap) == (Mention(0, 2, "person", 0.9),)


# Overlaps: nested and any


def test_nested_mentions_stay_and_crossing_ones_go():
    kept = [Mention(0, 6, "a", 0.9), Mention(0, 2, "b", 0.5), Mention(1, 2, "a", 0.5), Mention(3, 6, "a", 0.7)]
    gone = [Mention(1, 4, "b", 0.4), Mention(5, 7, "b", 0.8)]
    assert resolve_overlaps(kept + gone, "nested") == (kept[1], kept[0], kept[2], kept[3])


def test_nested_runs_have_one_type_each():
    mentions = [Mention(0, 3, "a", 0.5), Mention(0, 3, "b", 0.6), Mention(0, 2, "a", 0.4), Mention(0, 2, "b", 0.3)]
    assert resolve_overlaps(mentions, "nested") == (Mention(0, 2, "a", 0.4), Mention(0, 3, "b", 0.6))


def test_any_overlap_keeps_everything_in_order():
    mentions = [
        Mention(0, 2, "person", 0.9),
        Mention(0, 2, "physicist", 0.4),
        Mention(0, 3, "city", 0.5),
        Mention(1, 4, "city", 0.5),
    ]
    assert resolve_overlaps(mentions[::-1], "any", PHYSICIST) == tuple(mentions)


@pytest.mark.parametrize("overlap", ["flat", "nested", "any"])
def test_no_mentions_are_resolved_to_none(overlap):
    assert resolve_overlaps([], overlap, PHYSICIST) == ()


# Overlaps: what always holds


@given(mentions_lists, implications)
def test_flat_mentions_share_no_word(mentions, implied):
    kept = resolve_overlaps(mentions, "flat", implied)
    assert not any(share_words(one, other) for one, other in combinations(kept, 2))


@given(mentions_lists, implications)
def test_nested_mentions_never_cross_and_are_never_of_one_run(mentions, implied):
    kept = resolve_overlaps(mentions, "nested", implied)
    assert not any(cross(one, other) or is_same_run(one, other) for one, other in combinations(kept, 2))


@given(mentions_lists, implications, st.sampled_from(["flat", "nested"]))
def test_who_is_not_kept_is_in_the_way_of_someone_who_is(mentions, implied, overlap):
    kept = resolve_overlaps(mentions, overlap, implied)
    disturbs = share_words if overlap == "flat" else cross
    for mention in mentions:
        assert any(is_same_run(mention, other) or disturbs(mention, other) for other in kept)


@given(mentions_lists, implications, st.sampled_from(["flat", "nested", "any"]), st.randoms())
def test_order_of_mentions_changes_nothing(mentions, implied, overlap, rng):
    shuffled = rng.sample(mentions, len(mentions))
    assert resolve_overlaps(shuffled, overlap, implied) == resolve_overlaps(mentions, overlap, implied)
    assert let_specific_win(shuffled, implied) == let_specific_win(mentions, implied)


@given(mentions_lists, implications, st.sampled_from(["flat", "nested", "any"]))
def test_what_is_resolved_is_resolved_once_and_for_all(mentions, implied, overlap):
    kept = resolve_overlaps(mentions, overlap, implied)
    assert set(kept) <= set(mentions)
    assert resolve_overlaps(kept, overlap, implied) == kept


@given(mentions_lists, implications, st.sampled_from(["flat", "nested"]))
@example([Mention(s, e, "a") for s, e in permutations(range(9), 2) if s < e], frozenset(), "nested")
def test_fast_resolution_equals_the_slow_one(mentions, implied, overlap):
    assert list(resolve_overlaps(mentions, overlap, implied)) == resolve_slowly(mentions, overlap, implied)


@pytest.mark.parametrize("overlap", ["flat", "nested"])
def test_long_documents_do_not_take_long(overlap):
    rng = random.Random(0)
    starts = [rng.randrange(60_000) for _ in range(60_000)]
    mentions = [Mention(start, start + rng.randint(1, 12), rng.choice(TYPES), rng.random()) for start in starts]
    mentions += [Mention(i, 61_000 - i, "long", 0.01) for i in range(1_000)]
    if overlap == "nested":
        mentions.append(Mention(0, 61_000, "all", 1.0))  # lies near all others
    began = time.process_time()
    kept = resolve_overlaps(mentions, overlap, CIRCLE)
    assert time.process_time() - began < 10.0  # here 0.6 seconds; a search through all that lie near took 17
    assert len(kept) > 8_000


# Windows


def test_short_text_is_one_window():
    assert cut_windows([1, 2, 3], 6, 2) == [Window(0, 3, 0, 3)]


def test_empty_text_has_no_window():
    assert cut_windows([], 6, 2) == []


def test_windows_share_words_and_their_cores_meet_in_the_middle():
    assert cut_windows([1] * 20, 10, 4) == [Window(0, 10, 0, 8), Window(6, 16, 8, 14), Window(12, 20, 14, 20)]


def test_windows_are_cut_by_units_and_not_by_words():
    assert cut_windows([2, 2, 2, 4, 1, 1, 1, 1], 6, 0) == [
        Window(0, 3, 0, 3),
        Window(3, 6, 3, 6),
        Window(6, 8, 6, 8),
    ]


def test_word_that_is_larger_than_a_window_is_one_by_itself():
    assert cut_windows([1, 1, 9, 1, 1], 6, 2) == [Window(0, 2, 0, 2), Window(2, 3, 2, 3), Window(3, 5, 3, 5)]


def test_words_without_units_take_no_room():
    assert cut_windows([0, 2, 0, 2, 0, 0], 2, 0) == [Window(0, 3, 0, 3), Window(3, 6, 3, 6)]
    assert cut_windows([0, 0, 0], 1, 1) == [Window(0, 3, 0, 3)]
    assert cut_windows([0, 9, 0], 1, 1) == [Window(0, 1, 0, 1), Window(1, 2, 1, 2), Window(2, 3, 2, 3)]


def test_windows_share_fewer_words_where_the_next_word_needs_the_room():
    # With all four words shared, the second window would end where the first one does.
    assert cut_windows([1] * 10 + [8], 10, 4) == [Window(0, 10, 0, 9), Window(8, 11, 9, 11)]


def test_windows_share_at_most_half_of_the_first_one():
    assert cut_windows([1] * 10, 6, 100) == [Window(0, 6, 0, 4), Window(3, 9, 4, 7), Window(6, 10, 7, 10)]


@pytest.mark.parametrize("max_units, overlap_words", [(0, 2), (-1, 2), (6, -1)])
def test_windows_must_hold_something(max_units, overlap_words):
    with pytest.raises(
        ValueError, match=f"max_units >= 1 and overlap_words >= 0, got {max_units} and {overlap_words}. Let windows"
    ):
        cut_windows([1, 2, 3], max_units, overlap_words)


@given(units_lists, st.integers(1, 20), st.integers(0, 10))
def test_cores_hold_every_word_once(n_units, max_units, overlap_words):
    windows = cut_windows(n_units, max_units, overlap_words)
    cores = [place for window in windows for place in range(window.core_start, window.core_end)]
    assert cores == list(range(len(n_units)))
    assert all(w.start <= w.core_start < w.core_end <= w.end for w in windows)


@given(units_lists, st.integers(1, 20), st.integers(0, 10))
def test_window_holds_at_most_so_many_units_or_a_single_word(n_units, max_units, overlap_words):
    for window in cut_windows(n_units, max_units, overlap_words):
        assert sum(n_units[window.start : window.end]) <= max_units or window.end - window.start == 1


@given(units_lists, st.integers(1, 20), st.integers(0, 10))
def test_every_window_goes_further_and_shares_no_more_than_asked(n_units, max_units, overlap_words):
    windows = cut_windows(n_units, max_units, overlap_words)
    for left, right in pairwise(windows):
        assert left.start < right.start
        assert left.end < right.end
        assert 0 <= left.end - right.start <= overlap_words


@given(units_lists, st.integers(1, 20), st.integers(0, 10))
def test_windows_share_as_many_words_as_there_is_room_for(n_units, max_units, overlap_words):
    for left, right in pairwise(cut_windows(n_units, max_units, overlap_words)):
        n_shared = left.end - right.start
        fits_one_more = sum(n_units[right.start - 1 : left.end + 1]) <= max_units
        assert n_shared in (overlap_words, (left.end - left.start) // 2) or not fits_one_more


# Merging


def find_in_windows(mentions: Sequence[Mention], windows: Sequence[Window]) -> list[list[Mention]]:
    """Do what a perfect finder does: find in each window all that lie in it."""
    return [
        [
            Mention(mention.start - window.start, mention.end - window.start, mention.type, mention.score)
            for mention in mentions
            if window.start <= mention.start and mention.end <= window.end
        ]
        for window in windows
    ]


def test_mention_counts_in_the_window_whose_core_holds_its_start():
    windows = [Window(0, 10, 0, 8), Window(6, 14, 8, 14)]
    of_first = [Mention(2, 3, "a", 0.6), Mention(7, 9, "b", 0.7), Mention(8, 9, "c", 0.8)]
    of_second = [Mention(1, 3, "b", 0.9), Mention(2, 3, "c", 0.5), Mention(7, 8, "a", 0.4)]
    assert merge_windows([of_first, of_second], windows) == (
        Mention(2, 3, "a", 0.6),
        Mention(7, 9, "b", 0.7),
        Mention(8, 9, "c", 0.5),
        Mention(13, 14, "a", 0.4),
    )


def test_merged_mentions_are_sorted_by_start_end_and_type():
    mentions = [Mention(1, 2, "a"), Mention(0, 2, "b"), Mention(0, 2, "a"), Mention(0, 1, "c")]
    assert merge_windows([mentions], [Window(0, 3, 0, 3)]) == tuple(mentions[::-1])


def test_mention_given_twice_keeps_its_better_score():
    mentions = [Mention(0, 2, "a", 0.5), Mention(0, 2, "a", 0.8), Mention(0, 2, "a", 0.6), Mention(0, 2, "b", 0.1)]
    assert merge_windows([mentions], [Window(0, 3, 0, 3)]) == (Mention(0, 2, "a", 0.8), Mention(0, 2, "b", 0.1))


def test_no_windows_have_no_mentions():
    assert merge_windows([], []) == ()


def test_every_window_needs_its_mentions():
    with pytest.raises(ValueError, match=r"Got mentions of 1 windows, but there are 2. Give one list of mentions"):
        merge_windows([[Mention(0, 1, "a")]], [Window(0, 2, 0, 2), Window(2, 4, 2, 4)])


@given(st.integers(0, 60), st.integers(4, 20), st.data())
def test_merging_finds_every_mention_of_half_the_overlap_once(n_words, max_units, data):
    overlap_words = data.draw(st.integers(0, max_units // 2))
    longest = max(1, overlap_words // 2)
    mentions = [
        Mention(start, end, "a")
        for start in range(n_words)
        for end in range(start + 1, min(start + longest, n_words) + 1)
    ]
    windows = cut_windows([1] * n_words, max_units, overlap_words)
    assert merge_windows(find_in_windows(mentions, windows), windows) == tuple(mentions)


@given(units_lists, st.integers(1, 20), st.integers(0, 10), mentions_lists)
def test_merging_finds_every_mention_of_half_of_what_windows_really_share(n_units, max_units, overlap_words, mentions):
    windows = cut_windows(n_units, max_units, overlap_words)
    n_shared = [left.end - right.start for left, right in pairwise(windows)] + [2 * len(n_units)]
    n_shared_at = [n for window, n in zip(windows, n_shared) for _ in range(window.core_start, window.core_end)]
    best: dict[tuple[int, int, str], Mention] = {}
    for mention in mentions:
        if mention.end <= len(n_units) and mention.end - mention.start <= max(1, n_shared_at[mention.start] // 2):
            best[mention.start, mention.end, mention.type] = mention
    expected = tuple(best[key] for key in sorted(best))
    assert merge_windows(find_in_windows(expected, windows), windows) == expected


# Surface forms in words that others have cut


@pytest.mark.parametrize(
    "surface, text, runs",
    [
        ("John", "John met Johnathan and John", [(0, 1), (4, 5)]),  # all of them, and not in Johnathan
        ("nathan", "John met Johnathan", []),  # nor at its end
        ("met John", "John met Johnathan", []),
        ("U.S.", "the U.S. and the U . S .", [(1, 2), (4, 8)]),
        ("U. S.", "the U.S. and", [(1, 2)]),
        ("U.S", "the U.S. and", []),  # ends inside a word
        ("New  York\n", "in New York City", [(1, 3)]),
        ("rock'n'roll", "rock 'n' roll", [(0, 3)]),
        ("la la", "la la la", [(0, 2), (1, 3)]),  # places may overlap
        ("İstanbul", "in İstanbul , İ stanbul", [(1, 2), (3, 5)]),
        ("Rome", "İİİ Rome İ", [(1, 2)]),  # behind letters that get longer in lower case
        ("rome", "İİİ Rome İ ROME", [(1, 2), (3, 4)]),
        ("i̇stanbul", "in İstanbul", [(1, 2)]),
        ("STRASSE", "die Straße , die strasse", [(1, 2), (4, 5)]),
        ("s", "ß", []),  # half a letter
        ("ΣΟΦΟΣ", "ο σοφός σοφος", [(2, 3)]),
        ("Apple", "apple Apple APPLE", [(1, 2)]),  # as it is written, if it is anywhere
        ("日本", "日本 大学 日本大学", [(0, 1)]),
        ("🚀", "a 🚀 b", [(1, 2)]),
    ],
)
def test_surface_is_located_from_word_border_to_word_border(surface, text, runs):
    assert locate([surface], text.split(" ")) == (tuple(runs), () if runs else (surface,))


def test_runs_of_all_surfaces_are_sorted_and_lost_ones_told_once():
    words = ["Ann", "met", "Bob", "and", "Ann"]
    found = locate(["Bob", "Eve", "ann", "Ann", "", "Eve", " "], words)
    assert found == Located(runs=((0, 1), (2, 3), (4, 5)), lost=("Eve", "", " "))


def test_words_of_white_space_are_in_runs_but_at_no_border():
    assert locate(["New York"], ["\n", "New", " ", "York", "  "]).runs == ((1, 4),)


@pytest.mark.parametrize("surfaces, words", [([], ["a"]), (["a"], []), ([], [])])
def test_nothing_is_located_in_nothing(surfaces, words):
    assert locate(surfaces, words) == ((), tuple(surfaces))


words_lists = st.lists(st.text(st.sampled_from("aAbBßsİi̇. \u00a0"), max_size=3), max_size=12)


def squeeze(text: str) -> str:
    return "".join(text.split())


def locate_slowly(surface: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Compare with every run that has characters in its first and last word."""
    runs = [
        (start, end)
        for start in range(len(words))
        for end in range(start + 1, len(words) + 1)
        if squeeze(words[start]) and squeeze(words[end - 1])
    ]
    spelled = {run: squeeze("".join(words[run[0] : run[1]])) for run in runs}
    exact = [run for run in runs if spelled[run] == squeeze(surface)]
    return exact or [run for run in runs if spelled[run].casefold() == squeeze(surface).casefold()]


@given(st.lists(st.text(st.sampled_from("aAbBßsİi̇. "), max_size=6), max_size=5), words_lists)
def test_located_runs_spell_their_surfaces(surfaces, words):
    runs = {surface: locate_slowly(surface, words) for surface in surfaces}
    found = locate(surfaces, words)
    assert found.runs == tuple(sorted({run for places in runs.values() for run in places}))
    assert found.lost == tuple(surface for surface in runs if not runs[surface])


def count_steps(call: Callable[[], Any]) -> int:
    """Count the operations of the interpreter during a call."""
    n_steps = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal n_steps
        frame.f_trace_opcodes = True
        n_steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return n_steps


@pytest.mark.parametrize("kind", ["found", "lost", "common start", "one word"])
def test_locating_takes_steps_in_proportion_to_the_text(kind):
    def make(n_words: int) -> tuple[list[str], list[str]]:
        surfaces = {
            "found": [f"w{n} w{n + 1}" for n in range(100)],
            "lost": [f"x{n} y" for n in range(100)],
            "common start": [f"the w{n} x" for n in range(100)],
            "one word": ["a " * n for n in range(1, 101)],
        }[kind]
        if kind == "one word":
            return surfaces, ["a"] * n_words
        return surfaces, [f"w{n // 2}" if n % 2 else "the" for n in range(n_words)]

    n_small, n_large = (count_steps(lambda n=n: locate(*make(n))) for n in (500, 2000))
    assert n_large < 6 * n_small  # 4 if linear, 16 if quadratic


def test_many_surfaces_are_located_in_a_very_long_passage():
    words = [f"w{n % 50_000}" for n in range(100_000)]
    found = locate([f"W{n} w{n + 1}" for n in range(100)], words)
    assert len(found.runs) == 200
    assert not found.lost
