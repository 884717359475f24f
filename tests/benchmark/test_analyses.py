"""Other names, the order of types, distractors, length, speed."""

from __future__ import annotations

import pytest
from fakes import LEXICON, TRAVELS, Lexicon, make_passage

from spacy_uniner.benchmark.analyses import (
    agreement,
    f1_of,
    group_by_length,
    measure_robustness,
    measure_speed,
    rename,
)
from spacy_uniner.benchmark.metrics import Counts
from spacy_uniner.passages import Mention, Passage

GOLD = TRAVELS.passages


def test_paraphrases_are_asked_round_by_round_and_scored_under_the_own_names():
    paraphrases = {"person": ["human", "being"], "city": ["town"]}
    robustness = measure_robustness(LEXICON, GOLD, paraphrases, [])
    # own names: Sally, Alan, Alan and Paris of five gold mentions, and Rome as a person
    assert robustness.f1 == pytest.approx(2 * 4 / (5 + 5))
    # "human" finds Sally alone and "town" nothing; "being" finds nothing, and the city keeps its name
    assert robustness.paraphrase_f1 == pytest.approx((2 * 1 / (1 + 5), 2 * 1 / (1 + 5)))
    assert robustness.agreement == pytest.approx((1 / 5 + 1 / 5) / 2)
    assert robustness.n_passages == 3


def test_without_paraphrases_all_agrees():
    robustness = measure_robustness(LEXICON, GOLD, {}, [])
    assert (robustness.paraphrase_f1, robustness.agreement) == ((), 1.0)


def test_mentions_of_distractors_do_not_count_and_are_asked_beside_the_own_types():
    system = Lexicon(LEXICON.table)
    robustness = measure_robustness(system, GOLD, {}, ["river", "city", "lake"], n_distractors=(2,))
    assert robustness.distractor_f1 == {2: pytest.approx(robustness.f1)}
    assert {"river", "lake", "city", "person"} in [set(types) for types in system.asked]


def test_shuffled_types_are_the_same_types():
    system = Lexicon(LEXICON.table)
    passages = [Passage(("Sally",), tuple("abcdefgh")) for _ in range(5)]
    measure_robustness(system, passages, {}, [])
    assert any(types != tuple("abcdefgh") for types in system.asked)
    assert all(sorted(types) == list("abcdefgh") for types in system.asked)


def test_agreement_is_the_share_of_common_mentions():
    one = [(Mention(0, 1, "a", 0.2), Mention(1, 2, "a")), ()]
    other = [(Mention(0, 1, "a", 0.9),), (Mention(0, 1, "b"),)]
    assert agreement(one, other) == pytest.approx(1 / 3)
    assert agreement([()], [()]) == 1.0


def test_mentions_are_renamed():
    assert rename([Mention(0, 1, "human", 0.5)], {"human": "person"}) == (Mention(0, 1, "person", 0.5),)


def test_f1_is_that_of_exact_mentions():
    gold = [make_passage("Sally met Alan", [(0, 1, "person"), (2, 3, "person")], "s")]
    assert f1_of(gold, [(Mention(0, 1, "person"),)]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("n_words, name", [(1, "1 to 10"), (10, "1 to 10"), (11, "11 to 20"), (41, "over 40")])
def test_passages_are_grouped_by_their_words(n_words, name):
    groups = group_by_length([Passage(("word",) * n_words)], [Counts(1.0, 2, 3)])
    assert groups.pop(name) == Counts(1.0, 2, 3)
    assert all(counts == Counts(0.0, 0, 0) for counts in groups.values())


def test_speed_is_measured_for_as_many_types_as_there_are():
    speeds = measure_speed(LEXICON, GOLD, [f"type {n}" for n in range(30)])
    assert [speed.n_types for speed in speeds] == [5, 25]
    assert all(speed.words_per_second > 0 for speed in speeds)
