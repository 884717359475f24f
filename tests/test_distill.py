"""What is held out, what is asked, and what is answered."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from spacy_uniner.distill import Absent, Questions, answer, ask_held_out, rename, runs_of, split_held_out
from spacy_uniner.hierarchy import Hierarchy
from spacy_uniner.passages import Mention, Passage

HIERARCHY = Hierarchy(
    same={"city": ("town",)},
    wider={"city": ("settlement", "place"), "village": ("settlement",), "physicist": ("scientist",)},
    broad={
        **dict.fromkeys(
            ("city", "town", "settlement", "place", "village", "river", "location"), frozenset({"location"})
        ),
        **dict.fromkeys(("physicist", "scientist", "guitarist", "person"), frozenset({"person"})),
    },
)


def mark(source: str, *types_of_words: tuple[str, ...], absent: tuple[str, ...] = ()) -> Passage:
    """Make a marked passage in which every word is a mention, or none if it has no types."""
    mentions = tuple(
        Mention(n, n + 1, type_) for n, types in enumerate(types_of_words) for type_ in dict.fromkeys(types)
    )
    words = tuple(f"word{n}" for n in range(len(types_of_words)))
    asked = dict.fromkeys((*(mention.type for mention in mentions), *absent))
    return Passage(words, tuple(asked), mentions, source=source)


ROME = mark("rome", ("city", "location"), (), absent=("river", "unheard of"))
CURIE = mark("curie", ("physicist", "person"), ("guitarist", "person"))
NOTHING = mark("nothing", (), ())


def make_questions(passages, negatives, n_negatives=0, seed=0) -> Questions:
    return Questions(passages, HIERARCHY, negatives=negatives, n_negatives=n_negatives, seed=seed)


def bare(mentions) -> list[tuple[int, int, str]]:
    return sorted((m.start, m.end, m.type) for m in mentions)


# Holding out


def test_runs_keep_the_order_of_their_types():
    passage = Passage(
        ("a", "b"), ("x", "y", "z"), (Mention(1, 2, "z"), Mention(0, 2, "x"), Mention(1, 2, "y"), Mention(1, 2, "x"))
    )
    assert runs_of(passage) == {(1, 2): ("z", "y", "x"), (0, 2): ("x",)}


def test_about_one_passage_in_so_many_is_held_out():
    passages = [Passage((), source=f"p{n}") for n in range(4000)]
    train, held_out, _ = split_held_out(passages, 20)
    assert len(train) + len(held_out) == 4000
    assert 150 < len(held_out) < 250


def test_what_is_held_out_depends_on_the_source_alone():
    passages = [Passage((), source=f"p{n}") for n in range(200)]
    _, held_out, _ = split_held_out(passages, 5)
    _, of_fewer, _ = split_held_out(passages[50:], 5)
    _, again, _ = split_held_out(reversed(passages), 5)
    assert [p.source for p in of_fewer] == [p.source for p in held_out if p in passages[50:]]
    assert sorted(p.source for p in again) == sorted(p.source for p in held_out)


def test_unseen_types_are_mentioned_by_held_out_passages_alone():
    sources = [f"p{n}" for n in range(100)]
    train, held_out, _ = split_held_out([Passage((), source=source) for source in sources], 5)
    marked = [mark(p.source, ("city", "location")) for p in train]
    marked += [mark(p.source, ("comet", "location"), absent=("river",)) for p in held_out]
    assert split_held_out(marked, 5)[2] == {"comet"}


# Asking


def test_no_negatives_ask_only_for_what_is_there():
    questions = make_questions([ROME, CURIE], "none", n_negatives=50)
    for _ in range(50):
        for asked, marked in zip(questions.ask([ROME, CURIE, NOTHING]), (ROME, CURIE, NOTHING), strict=True):
            assert set(asked.types) == {mention.type for mention in asked.mentions}
            assert set(asked.types) <= {name for m in marked.mentions for name in HIERARCHY.names(m.type)}


def test_uniform_negatives_are_drawn_alike():
    passages = [mark(f"p{n}", ("river", "location")) for n in range(9)] + [mark("q", ("guitarist", "person"))]
    questions = make_questions(passages, "uniform", n_negatives=1)
    counts = Counter(type_ for _ in range(4000) for type_ in questions.ask([NOTHING])[0].types)
    assert counts.keys() == {"river", "location", "guitarist", "person"}
    assert all(900 < count < 1100 for count in counts.values())


def test_frequency_negatives_are_drawn_as_often_as_they_are_mentioned():
    passages = [mark(f"p{n}", ("river", "location")) for n in range(9)] + [mark("q", ("guitarist", "person"))]
    questions = make_questions(passages, "frequency", n_negatives=1)
    counts = Counter(type_ for _ in range(4000) for type_ in questions.ask([NOTHING])[0].types)
    assert counts["river"] + counts["location"] == pytest.approx(3600, abs=100)
    assert counts["guitarist"] + counts["person"] == pytest.approx(400, abs=100)


def test_other_names_count_as_mentioned_too():
    counts = Counter()
    questions = make_questions([ROME], "frequency", n_negatives=1)
    for _ in range(200):
        counts.update(questions.ask([NOTHING])[0].types)
    assert counts.keys() == {"city", "town", "settlement", "place", "location"}


@pytest.mark.parametrize(
    "negatives, is_shared", [("none", False), ("uniform", False), ("frequency", True), ("hard", True)]
)
def test_frequency_and_hard_ask_what_others_of_the_group_are_asked(negatives, is_shared):
    nothing, curie = make_questions([ROME, CURIE], negatives).ask([NOTHING, CURIE])
    assert set(nothing.types) == (set(curie.types) if is_shared else set())
    assert nothing.mentions == ()


@pytest.mark.parametrize(
    "negatives, is_hard", [("none", False), ("uniform", False), ("frequency", False), ("hard", True)]
)
def test_hard_negatives_are_absent_types_and_siblings(negatives, is_hard):
    questions = make_questions([ROME, CURIE], negatives)
    asked = set().union(*(questions.ask([ROME])[0].types for _ in range(100)))
    assert asked - {"city", "town", "settlement", "place", "location"} == ({"river", "village"} if is_hard else set())


def test_hard_negatives_belong_to_their_passage():
    questions = make_questions([ROME, CURIE], "hard")
    asked = set().union(*(questions.ask([ROME, CURIE])[1].types for _ in range(100)))
    assert asked.isdisjoint({"river", "village"})


def test_mention_is_asked_for_by_all_of_its_names_in_turn():
    questions = make_questions([ROME], "none")
    counts = Counter(type_ for _ in range(400) for type_ in questions.ask([ROME])[0].types)
    assert counts.keys() == {"city", "town", "settlement", "place", "location"}
    assert counts["city"] == pytest.approx(100, abs=30)  # by its own name a quarter of the time
    assert counts["town"] == pytest.approx(200, abs=40)  # by another of the same extension half of it
    assert counts["location"] == pytest.approx(160, abs=40)


def test_same_seed_asks_the_same():
    group = [ROME, CURIE, NOTHING]
    one, same, other = (make_questions(group, "hard", n_negatives=3, seed=seed) for seed in (1, 1, 2))
    first = [one.ask(group) for _ in range(5)]
    assert first == [same.ask(group) for _ in range(5)]
    assert first != [other.ask(group) for _ in range(5)]


def test_no_passages_give_no_negatives():
    assert make_questions([], "frequency", n_negatives=5).ask([NOTHING])[0].types == ()


# Answering


def test_answer_tells_yes_unknown_and_no_apart():
    passage = mark("curie", ("physicist", "person"), ("guitarist", "person"), ("city", "location"))
    answered = answer(passage, ["scientist", "physicist", "person", "river"], HIERARCHY)
    assert answered.types == ("person", "physicist", "river", "scientist")
    assert bare(answered.mentions) == [
        (0, 1, "person"),
        (0, 1, "physicist"),
        (0, 1, "scientist"),
        (1, 2, "person"),
    ]
    assert bare(answered.unknown) == [(1, 2, "physicist"), (1, 2, "scientist")]  # a guitarist may be one
    assert (answered.words, answered.source) == (passage.words, "curie")


# Asking held-out passages


def test_held_out_passage_is_asked_its_unseen_its_absent_and_others_types():
    unseen = frozenset({"comet", "pilot"})
    passage = mark("a", ("comet", "location"), ("city", "location"), absent=("unheard of", "river"))
    (asked,) = ask_held_out([passage], unseen, HIERARCHY, n_negatives=2, seed=0)
    assert asked.types == ("comet", "pilot", "unheard of")  # "river" and "city" are known from training
    assert asked.mentions == (Mention(0, 1, "comet"),)


def test_held_out_passage_is_not_asked_a_broad_type_that_training_knows():
    hierarchy = Hierarchy(broad={"city": frozenset({"location"}), "guitarist": frozenset({"person"})})
    passages = [mark("a", ("comet", "location"), absent=("person",))]
    (asked,) = ask_held_out(passages, frozenset({"comet"}), hierarchy, n_negatives=0, seed=0)
    assert asked.types == ("comet",)


def test_held_out_passage_is_asked_no_more_of_others_types_than_told():
    unseen = frozenset(f"type {n}x" for n in range(20))
    passages = [mark("a", ("city", "location"))]
    for n_negatives, expected in ((0, []), (5, [5]), (50, [20])):
        asked = ask_held_out(passages, unseen, HIERARCHY, n_negatives=n_negatives, seed=0)
        assert [len(passage.types) for passage in asked] == expected


def test_held_out_passage_is_not_asked_what_its_marks_leave_open():
    # "long comet" contains "comet": whether the comet is a long one, nobody knows.
    passages = [mark("a", ("comet", "location"))]
    (asked,) = ask_held_out(passages, frozenset({"comet", "long comet"}), HIERARCHY, n_negatives=2, seed=0)
    assert asked.types == ("comet",)


def test_held_out_passage_of_which_nothing_can_be_asked_is_left_out():
    asked = ask_held_out([NOTHING, ROME, CURIE], frozenset(), HIERARCHY, n_negatives=3, seed=0)
    assert [(passage.source, passage.types) for passage in asked] == [("rome", ("unheard of",))]


def test_same_seed_asks_held_out_passages_the_same():
    unseen = frozenset(f"type {n}x" for n in range(20))
    passages = [mark(f"p{n}", ("city", "location")) for n in range(5)]
    first, again, other = (ask_held_out(passages, unseen, HIERARCHY, n_negatives=3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


# Negatives of single passages

MANY = [mark(f"p{n}", (f"type{n % 8}", "thing")) for n in range(24)] + [mark("often", *[("city", "location")] * 60)]


def add(negatives, n_negatives, passage=CURIE, passages=(*MANY, ROME, CURIE), seed=0):
    absent = Absent(passages, HIERARCHY, negatives=negatives, n_negatives=n_negatives, seed=seed)
    return absent.add(passage)


@pytest.mark.parametrize("negatives", ["uniform", "frequency", "hard"])
@pytest.mark.parametrize("n_negatives", [0, 1, 5])
def test_exactly_so_many_absent_types_are_added(negatives, n_negatives):
    asked = add(negatives, n_negatives)
    assert set(asked.types) >= {"physicist", "guitarist", "person"}
    assert len(asked.types) == 3 + n_negatives
    assert bare(asked.mentions) == bare(CURIE.mentions)


def test_no_absent_types_are_added():
    assert set(add("none", 5).types) == {"physicist", "guitarist", "person"}


def test_only_types_that_others_mention_are_added():
    assert set(add("frequency", 99).types) - set(add("none", 0).types) == {
        "city",
        "location",
        "thing",
        *(f"type{n}" for n in range(8)),
    }


def test_frequent_types_are_added_more_often():
    counts = {
        negatives: sum("city" in add(negatives, 1, seed=seed).types for seed in range(100))
        for negatives in ("uniform", "frequency")
    }
    assert counts["uniform"] < 25
    assert counts["frequency"] > 30


def test_hard_ones_are_the_teachers_absent_types_and_siblings():
    others = [*MANY, mark("v", ("village",)), mark("r", ("river",))]
    asked = add("hard", 2, ROME, others)
    assert set(asked.types) == {"city", "location", "river", "village"}
    assert "unheard of" not in add("hard", 20, ROME, others).types


def test_what_may_be_there_is_no_negative():
    others = [*MANY, mark("s", ("settlement",)), mark("c", ("capital city",))]
    assert {"settlement", "capital city"}.isdisjoint(add("frequency", 99, ROME, others).types)


def test_a_mention_is_one_of_each_type_asked_that_its_own_implies():
    passage = mark("both", ("physicist",), ("scientist",))
    assert ("scientist", 0) in {(mention.type, mention.start) for mention in add("none", 0, passage).mentions}


def test_negative_number_of_negatives_is_refused():
    with pytest.raises(ValueError, match=r"must be 0 or more, got -1"):
        add("frequency", -1)


# Other names


def test_types_get_other_names_with_the_same_extension():
    renamed = rename(ROME, HIERARCHY, 1.0, random.Random(0))
    assert renamed.types == ("town", "location", "river", "unheard of")
    assert bare(renamed.mentions) == [(0, 1, "location"), (0, 1, "town")]
    assert rename(ROME, HIERARCHY, 0.0, random.Random(0)) == ROME


def test_a_share_of_the_types_is_renamed():
    rng = random.Random(0)
    assert 20 < sum("town" in rename(ROME, HIERARCHY, 0.3, rng).types for _ in range(100)) < 40


def test_a_name_that_is_taken_or_may_be_true_of_another_mention_is_not_used():
    taken = mark("taken", ("city",), ("town",))
    assert rename(taken, HIERARCHY, 1.0, random.Random(0)) == taken
    hierarchy = Hierarchy(same={"city": ("town",)}, wider={"suburb": ("town",)})
    near = mark("near", ("city",), ("suburb",))
    assert rename(near, hierarchy, 1.0, random.Random(0)) == near


def test_names_that_must_not_be_used_are_not():
    assert rename(ROME, HIERARCHY, 1.0, random.Random(0), frozenset({"town"})) == ROME
