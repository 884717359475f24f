"""The named metrics: hand-made cases, and what must hold for any passage."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_uniner.benchmark.metrics import (
    METRICS,
    Counts,
    count_overlapping_pairs,
    macro_f1,
    micro,
    normalise,
    parse_as_released,
    partial_counts,
    pool,
    strict_counts,
    string_set_counts,
)
from spacy_uniner.passages import Mention, Passage

TYPES = ("band", "person")
# Some surfaces become equal or empty when they are normalised, and "[live]" and "]" break the released parser.
WORDS = ("The", "the", "Beatles", "beatles", "a", "U.S.", "US", "[live]", "]", '"', "Ünal", ".")


def make_passage(text, *mentions, types=TYPES):
    return Passage(tuple(text.split()), types, tuple(Mention(*mention) for mention in mentions))


def make_found(*mentions):
    return [Mention(*mention) for mention in mentions]


def counts_of(metric, gold, found):
    counts = micro(METRICS[metric](gold, found))
    return counts.n_correct, counts.n_found, counts.n_gold


@st.composite
def passages_with_found(draw, words=WORDS, max_mentions=6):
    text = draw(st.lists(st.sampled_from(words), min_size=1, max_size=7))
    runs = [(start, end) for start in range(len(text)) for end in range(start + 1, len(text) + 1)]
    mentions = st.builds(lambda run, type_: Mention(*run, type_), st.sampled_from(runs), st.sampled_from(TYPES))
    gold, found = (draw(st.lists(mentions, max_size=max_mentions)) for _ in range(2))
    return Passage(tuple(text), TYPES, tuple(gold)), found


@pytest.mark.parametrize(
    "counts, precision, recall, f1, is_empty",
    [
        (Counts(2, 4, 3), 0.5, 2 / 3, 4 / 7, False),
        (Counts(1.5, 2, 2), 0.75, 0.75, 0.75, False),
        (Counts(0, 0, 3), 0.0, 0.0, 0.0, False),  # nothing found
        (Counts(0, 3, 0), 0.0, 0.0, 0.0, False),  # nothing to find
        (Counts(0, 0, 0), 0.0, 0.0, 0.0, True),  # not 1.0: there was nothing to be right about
    ],
)
def test_counts_give_scores_and_zero_where_undefined(counts, precision, recall, f1, is_empty):
    assert (counts.precision, counts.recall, counts.f1) == pytest.approx((precision, recall, f1))
    assert counts.is_empty is is_empty


def test_counts_add_up():
    assert Counts(1, 2, 3) + Counts(0.5, 1, 1) == Counts(1.5, 3, 4)


@pytest.mark.parametrize(
    "found, strict, partial",
    [
        ([(0, 2, "band"), (3, 4, "person")], (2, 2, 2), 2.0),
        ([], (0, 0, 2), 0.0),
        ([(0, 2, "person")], (0, 1, 2), 0.0),  # the right words, the wrong type
        ([(1, 2, "band")], (0, 1, 2), 0.5),  # inside of the gold
        ([(0, 3, "band"), (2, 4, "person")], (0, 2, 2), 1.0),  # both too long
        ([(2, 3, "band")], (0, 1, 2), 0.0),  # touches, shares no word
        ([(0, 1, "band"), (1, 2, "band")], (0, 2, 2), 0.5),  # two halves of one gold mention: credited once
        ([(0, 2, "band"), (1, 2, "band")], (1, 2, 2), 1.0),  # exact first, then nothing is left to overlap
        ([(0, 2, "band"), (0, 2, "band")], (1, 1, 2), 1.0),  # given twice, counts once
        ([(0, 4, "band")], (0, 1, 2), 0.5),
    ],
)
def test_strict_and_partial_count_by_hand(found, strict, partial):
    gold = make_passage("The Beatles met Dylan", (0, 2, "band"), (3, 4, "person"))
    assert counts_of("strict", gold, make_found(*found)) == strict
    assert counts_of("partial", gold, make_found(*found)) == (partial, *strict[1:])


def test_counts_are_by_type_and_have_every_type_asked():
    gold = make_passage("The Beatles met Dylan", (0, 2, "band"), types=("band", "city", "person"))
    found = make_found((0, 2, "band"), (3, 4, "person"))
    expected = {"band": Counts(1, 1, 1), "city": Counts(0, 0, 0), "person": Counts(0, 1, 0)}
    assert strict_counts(gold, found) == expected
    assert partial_counts(gold, found) == string_set_counts(gold, found) == expected


@pytest.mark.parametrize("metric", METRICS)
def test_mention_of_a_type_that_was_not_asked_is_named(metric):
    gold = make_passage("The Beatles met Dylan")
    with pytest.raises(ValueError, match=r"'city' was found, which was not asked\. Asked: band, person"):
        METRICS[metric](gold, make_found((0, 1, "city")))


def test_partial_matches_as_many_as_can_be_not_the_first_that_come():
    # From left to right, the long gold mention would take the first found one, the only one for the short.
    gold = make_passage("a b c d e f", (0, 6, "band"), (1, 2, "band"))
    assert counts_of("partial", gold, make_found((1, 3, "band"), (4, 5, "band"))) == (1.0, 2, 2)


@pytest.mark.parametrize(
    "surface, normalised",
    [
        ("U.S.", "us"),
        ("US", "us"),
        ("The Beatles", "beatles"),
        ("the  A-Team ", "ateam"),  # punctuation goes first, so that "A" is no article any more
        ("a", ""),
        ("...", ""),
        ("Theatre", "theatre"),
        ("Ünal", "ünal"),
    ],
)
def test_normalise_does_as_squad_does(surface, normalised):
    assert normalise(surface) == normalised


@pytest.mark.parametrize(
    "reply, surfaces",
    [
        ('["x", "y"]', ["x", "y"]),
        ("[]", []),
        ('["x","y"] extra', ["x", "y"]),
        ('Sure: ["x"]', []),
        (' ["x"]', []),
        ("['x']", []),
        ('["x",\n"y"]', []),  # the dot does not match a line break
        ('["x [live]", "y"]', []),  # cut behind "live"
        ("[1]", ["1"]),
        ("", []),
    ],
)
def test_parse_as_released_reads_what_the_script_reads(reply, surfaces):
    assert parse_as_released(reply) == surfaces


@pytest.mark.parametrize(
    "text, mentions, found, counts",
    [
        ("The Beatles and beatles", [(0, 2, "band")], [(3, 4, "band")], (1, 1, 1)),  # where it stands does not count
        ("U.S. US", [(0, 1, "band"), (1, 2, "band")], [(1, 2, "band")], (1, 1, 1)),  # twice in the gold, counts once
        ("Dylan", [(0, 1, "person")], [(0, 1, "band")], (0, 1, 1)),  # sets are by type
        ("a an", [(0, 1, "band")], [(1, 2, "band")], (1, 1, 1)),  # both are the empty string, which is an element
        ("Bob Dylan", [(0, 2, "person")], [(1, 2, "person")], (0, 1, 1)),
    ],
)
def test_string_sets_count_normalised_surfaces_once(text, mentions, found, counts):
    gold = make_passage(text, *mentions)
    assert counts_of("string-set", gold, make_found(*found)) == counts
    assert counts_of("string-set-quirks", gold, make_found(*found)) == counts


def test_bracket_in_a_mention_loses_the_whole_list_of_its_type_with_quirks_only():
    gold = make_passage("Help [live] by Wings and Dylan", (0, 2, "band"), (3, 4, "band"), (5, 6, "person"))
    assert counts_of("string-set", gold, gold.mentions) == (3, 3, 3)
    assert string_set_counts(gold, gold.mentions, quirks=True) == {
        "band": Counts(0, 0, 0),  # gold and found alike
        "person": Counts(1, 1, 1),
    }
    found = make_found((3, 4, "band"))
    assert string_set_counts(gold, found, quirks=True)["band"] == Counts(0, 1, 0)  # a right answer counts as spurious


def test_pool_adds_up_by_type_and_micro_over_types():
    by_type = pool([{"band": Counts(1, 2, 1)}, {"band": Counts(0, 0, 1), "person": Counts(1, 1, 1)}])
    assert by_type == {"band": Counts(1, 2, 2), "person": Counts(1, 1, 1)}
    assert micro(by_type) == Counts(2, 3, 3)
    assert pool([]) == {}
    assert micro({}).is_empty


def test_macro_f1_is_over_types_that_have_something():
    by_type = {
        "band": Counts(1, 2, 2),  # 0.5
        "city": Counts(0, 0, 0),  # says nothing
        "event": Counts(0, 1, 0),  # only found: 0.0
        "person": Counts(1, 1, 1),  # 1.0
    }
    assert macro_f1(by_type) == pytest.approx(0.5)
    assert macro_f1({"city": Counts(0, 0, 0)}) == 0.0
    assert macro_f1({}) == 0.0


@pytest.mark.parametrize("metric", METRICS)
@given(case=passages_with_found())
def test_perfect_prediction_is_one(metric, case):
    gold, _ = case
    counts = micro(METRICS[metric](gold, gold.mentions))
    assert counts.is_empty or counts.f1 == counts.precision == counts.recall == 1.0
    if metric != "string-set-quirks":  # whose parser may lose the gold
        assert counts.is_empty == (not gold.mentions)


@pytest.mark.parametrize("metric", METRICS)
@given(case=passages_with_found(), data=st.data())
def test_order_and_repetition_of_mentions_change_nothing(metric, case, data):
    gold, found = case
    other_gold = Passage(gold.words, gold.types, tuple(data.draw(st.permutations(gold.mentions))))
    other_found = data.draw(st.permutations(found + found[:2]))
    assert METRICS[metric](other_gold, other_found) == METRICS[metric](gold, found)


@pytest.mark.parametrize("metric", METRICS)
@given(case=passages_with_found())
def test_nothing_is_credited_twice(metric, case):
    gold, found = case
    for counts in METRICS[metric](gold, found).values():
        assert 0 <= counts.n_correct <= min(counts.n_found, counts.n_gold)
        assert 0.0 <= counts.f1 <= 1.0


@given(case=passages_with_found())
def test_strict_is_at_most_partial(case):
    gold, found = case
    partial = partial_counts(gold, found)
    for type_, strict in strict_counts(gold, found).items():
        assert strict.n_correct <= partial[type_].n_correct
        assert (strict.n_found, strict.n_gold) == (partial[type_].n_found, partial[type_].n_gold)


@given(case=passages_with_found(words=("x", "y")))
def test_quirks_change_nothing_where_the_parser_loses_nothing(case):
    gold, found = case
    assert string_set_counts(gold, found, quirks=True) == string_set_counts(gold, found, quirks=False)


@given(case=passages_with_found(max_mentions=5))
def test_partial_is_what_trying_all_matchings_gives(case):
    gold, found = case
    for type_, counts in partial_counts(gold, found).items():
        sides = [{(m.start, m.end) for m in mentions if m.type == type_} for mentions in (gold.mentions, found)]
        exact = sides[0] & sides[1]
        expected = len(exact) + 0.5 * count_slowly(sorted(sides[0] - exact), sorted(sides[1] - exact))
        assert counts.n_correct == expected


@pytest.mark.parametrize("n_found", [1500, 1499])
def test_chain_of_a_thousand_overlapping_runs_is_matched(n_found):
    # The last gold run can only have a partner if all before it take another; with one found less, it has none.
    gold = [(2 * n, 2 * n + 2) for n in range(1500)]
    found = [(2 * n + 1, 2 * n + 3) for n in range(n_found)]
    assert count_overlapping_pairs(gold, found) == n_found
    assert count_overlapping_pairs(gold[::-1], found) == n_found


def count_slowly(right, left):
    """Try every way to give each run of the shorter list another of the longer one."""
    short, long = sorted((right, left), key=len)
    return max(
        sum(a[0] < b[1] and b[0] < a[1] for a, b in zip(short, chosen))
        for chosen in itertools.permutations(long, len(short))
    )
