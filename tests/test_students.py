"""The suite that every student passes, and what is special to the encoder student."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import make_encoder_student, make_lessons, teach
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_uniner.passages import Mention, Passage
from spacy_uniner.spans import cut_windows, merge_windows
from spacy_uniner.students import encoder
from spacy_uniner.students.bert import PIECES_IN_STEPS
from spacy_uniner.students.encoder import EncoderStudent
from spacy_uniner.students.heads import HEAD_GAIN, Head
from spacy_uniner.students.rows import SHAPES, shape_of
from spacy_uniner.students.sizes import EncoderSize, choose_dtype
from spacy_uniner.students.weights import student_from_bytes, student_to_bytes

LESSONS = make_lessons()
LOWEST = encoder.LOWEST_FLOOR
ASKED = ("city", "person", "astronaut", "space mission")
CREW = Passage(("the", "crew", "of", "Sally", "Ride", "landed", "near", "Rome"), ASKED)
ALAN = Passage(("In", "Paris", "Alan", "met", "Sally", "."), ASKED)
MOON = Passage(("moon",), ("place", "moon"))


@dataclass(frozen=True)
class Kind:
    """How to make a student, how to write and read it, and how to make it say something of every span.

    lift: makes a student's scores middling, so that none of them is below its floor.
    """

    make: Callable[[], Any]
    to_bytes: Callable[[Any], bytes]
    from_bytes: Callable[[bytes], Any]
    lift: Callable[[Any], Any]


def lift_bias(student: EncoderStudent) -> EncoderStudent:
    """Give a copy whose scores are middling: bias 0, and cosines and priors count only by a fifth."""
    lifted = copy.deepcopy(student)
    with torch.no_grad():
        lifted.span_prior.weight /= 5.0
        lifted.span_prior.bias /= 5.0
        lifted.offsets[:2] = torch.tensor([-math.log(5.0), -encoder.FIRST_BIAS]) / HEAD_GAIN
    return lifted


KINDS = {
    "encoder": Kind(
        make=make_encoder_student,
        to_bytes=student_to_bytes,
        from_bytes=lambda content: student_from_bytes(content, "float32"),
        lift=lift_bias,
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def talkative(kind):
    """A student that has learned something and says something of every span and type."""
    student = kind.make()
    teach(student, LESSONS, n_steps=100)
    return kind.lift(student)


def score(student, passages, floor=0.0) -> list[dict[tuple[int, int, str], float]]:
    """Give the score of each mention, for each passage."""
    found = student.predict(passages, floor).mentions
    return [{(m.start, m.end, m.type): m.score for m in of_one} for of_one in found]


def assert_equal_scores(found, expected):
    """Scores on the floor may be above it once and below it the other time."""
    for one, other in zip(found, expected, strict=True):
        for mention in {*one, *other}:
            found_score, expected_score = (max(scores.get(mention, LOWEST), LOWEST) for scores in (one, other))
            assert found_score == pytest.approx(expected_score, abs=1e-5)


def bare(mentions: tuple[Mention, ...]) -> list[tuple[int, int, str]]:
    return [(m.start, m.end, m.type) for m in mentions]


# Learning


def test_two_sentences_are_learned_by_heart(kind):
    student, lessons = kind.make(), LESSONS[:2]
    losses = teach(student, lessons, n_steps=150)
    assert losses[-1] < 0.05 * losses[0]
    output = student.predict(lessons, 0.5)
    for lesson, mentions in zip(lessons, output.mentions, strict=True):
        assert bare(mentions) == sorted(bare(lesson.mentions))
    assert output.implied == {("astronaut", "person")}


def test_gradient_reaches_every_parameter_that_learns(kind):
    student = kind.make()
    teach(student, LESSONS, n_steps=2)  # what starts at zero hides what is behind it
    student.zero_grad()
    student.train()
    student.losses(LESSONS).sum().backward()
    learns = {name: parameter for name, parameter in student.named_parameters() if parameter.requires_grad}
    assert learns
    assert [name for name, parameter in learns.items() if parameter.grad is None or not parameter.grad.any()] == []


def test_losses_are_one_number_a_passage(kind):
    losses = kind.make().losses(LESSONS)
    assert tuple(losses.shape) == (4,)
    assert losses.dtype == torch.float32
    assert (losses > 0).all()


def test_losses_of_a_batch_are_those_of_its_passages(talkative):
    # Each is asked one type, so nothing is learned of how types imply each other, which a batch learns as a whole.
    passages = [
        Passage(CREW.words, ("person",), (Mention(3, 5, "person"),)),
        Passage(ALAN.words, ("city",), (Mention(1, 2, "city"),)),
        Passage(("moon",), ("person",)),
    ]
    with torch.no_grad():
        expected = torch.cat([talkative.losses([passage]) for passage in passages])
        torch.testing.assert_close(talkative.losses(passages), expected, atol=1e-4, rtol=1e-4)


def test_what_is_unknown_costs_nothing(talkative):
    known = Passage(CREW.words, ("person", "city"), (Mention(3, 5, "person"),))
    unknown = replace(known, unknown=(Mention(7, 8, "city"),))
    wrong = replace(known, mentions=(*known.mentions, Mention(7, 8, "city")))
    with torch.no_grad():
        as_no, as_unknown, as_yes = (float(talkative.losses([passage])) for passage in (known, unknown, wrong))
    assert as_unknown < min(as_no, as_yes)


def test_mention_too_long_to_be_scored_is_passed_over(talkative):
    without = Passage(CREW.words, ("place",))
    too_long = Passage(CREW.words, ("place",), (Mention(0, 8, "place"),))
    with torch.no_grad():
        assert float(talkative.losses([too_long])) == float(talkative.losses([without]))


@pytest.mark.parametrize("passages", [[Passage(())], [Passage(("moon",))], [Passage((), ("city",)), Passage(("a",))]])
def test_passages_of_which_nothing_can_be_learned_have_no_loss(kind, passages):
    losses = kind.make().losses(passages)
    losses.sum().backward()
    assert losses.tolist() == [0.0] * len(passages)


# Scores depend on the passage and the type alone


def test_every_span_of_a_talkative_student_has_a_score(talkative):
    n_spans = 8 + 7 + 6 + 5  # of one to four words
    assert len(score(talkative, [CREW])[0]) == n_spans * len(ASKED)


def test_batch_equals_its_parts(talkative):
    passages = [CREW, MOON, Passage(()), ALAN, CREW]
    assert_equal_scores(score(talkative, passages), [score(talkative, [passage])[0] for passage in passages])


def test_neighbours_change_no_score(talkative):
    neighbours = [replace(passage, types=("place", "company")) for passage in (ALAN, CREW, MOON)]
    assert_equal_scores(score(talkative, [CREW, *neighbours])[:1], score(talkative, [CREW]))


def test_padding_changes_no_score(talkative):
    longer = Passage(CREW.words + ALAN.words, ("place",))
    assert_equal_scores(score(talkative, [MOON, longer])[:1], score(talkative, [MOON]))


def test_order_of_types_changes_no_score(talkative):
    assert_equal_scores(score(talkative, [replace(CREW, types=ASKED[::-1])]), score(talkative, [CREW]))


def test_other_types_asked_change_no_score(talkative):
    expected = {run: value for run, value in score(talkative, [CREW])[0].items() if run[2] == "person"}
    assert_equal_scores(score(talkative, [replace(CREW, types=("person",))]), [expected])


def test_only_types_asked_of_a_passage_are_found_there(talkative):
    found = talkative.predict([replace(CREW, types=("city",)), replace(ALAN, types=("person",)), MOON], 0.0).mentions
    assert [{mention.type for mention in of_one} for of_one in found] == [{"city"}, {"person"}, {"place", "moon"}]


def test_mentions_are_sorted(talkative):
    (found,) = talkative.predict([CREW], 0.0).mentions
    assert bare(found) == sorted(bare(found))


@pytest.mark.parametrize("floor", [0.0, 0.3, 0.5, 0.9])
def test_floor_keeps_what_scores_above_it(talkative, floor):
    (everything,) = score(talkative, [CREW])
    expected = {run: value for run, value in everything.items() if value > floor}
    (found,) = score(talkative, [CREW], floor)
    assert found == pytest.approx(expected, abs=1e-5)


def test_nothing_scores_above_a_floor_of_one(talkative):
    assert score(talkative, [CREW], 1.0) == [{}]


def test_types_that_meet_only_below_the_floor_imply_nothing(talkative):
    assert talkative.predict([CREW], 0.0).implied != frozenset()
    assert talkative.predict([CREW], 1.0).implied == frozenset()


def test_bytes_bring_back_the_same_student(kind, talkative):
    read = kind.from_bytes(kind.to_bytes(talkative))
    assert_equal_scores(score(read, [CREW, ALAN, MOON]), score(talkative, [CREW, ALAN, MOON]))
    assert read.predict([CREW], 0.0).implied == talkative.predict([CREW], 0.0).implied


# Any text


@pytest.mark.parametrize("words", [(), (" ",), (" ", "\n\n", "\t", "\u00a0", "\u200b")])
def test_passage_without_visible_words_has_no_mentions(talkative, words):
    assert talkative.predict([Passage(words, ASKED)], 0.0).mentions == [()]


def test_no_passages_have_no_mentions(talkative):
    assert talkative.predict([], 0.0).mentions == []


def test_passage_of_which_nothing_is_asked_has_no_mentions(talkative):
    assert talkative.predict([replace(CREW, types=())], 0.0).mentions == [()]
    assert score(talkative, [replace(CREW, types=()), MOON])[1] == score(talkative, [MOON])[0]


def test_white_space_neither_starts_nor_ends_a_mention(talkative):
    found = score(talkative, [Passage(("\n", "Alan", " ", "Bean", "  "), ("person",))])[0]
    assert set(found) == {(1, 2, "person"), (3, 4, "person"), (1, 4, "person")}


@pytest.mark.parametrize("word", ["x" * 100_000, "!" * 100_000, "é" * 100_000, "🚀" * 100_000, " " * 100_000])
def test_huge_word_is_read_and_its_neighbours_are_found(talkative, word):
    (found,) = score(talkative, [Passage(("Alan", word, "Rome"), ("person", "city"))])
    assert {(0, 1, "person"), (2, 3, "city")} <= set(found)


@pytest.mark.parametrize(
    "words",
    [
        ("👩‍🚀", "met", "Alan", "🇫🇷"),  # joined emoji and a flag
        ("e\u0301", "\u0301\u0301\u0301", "Z\u0351\u036b\u0343alan"),  # combining characters, some with no base
        ("ذهب", "نيل", "أرمسترونغ", "إلى", "القمر"),  # right to left
        ("\u202e", "moon", "\u202c"),  # marks that turn the direction
        ("アポロ", "11号"),
        ("\x00", "\ufffd", "\U0010ffff"),
    ],
)
def test_writing_of_any_kind_is_read(talkative, words):
    (mentions,) = talkative.predict([Passage(words, ASKED)], 0.0).mentions
    assert all(mention.end <= len(words) and mention.type in ASKED for mention in mentions)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Passage,
            words=st.lists(st.text(max_size=12), max_size=12).map(tuple),
            types=st.lists(st.text(min_size=1).filter(str.strip), max_size=3, unique=True).map(tuple),
        ),
        max_size=3,
    ),
    st.floats(0, 1),
)
def test_no_text_and_no_type_is_too_strange(talkative, passages, floor):
    output = talkative.predict(passages, floor)
    for passage, mentions in zip(passages, output.mentions, strict=True):
        for mention in mentions:
            assert 0 <= mention.start < mention.end <= len(passage.words)
            assert mention.type in passage.types
            assert floor < mention.score <= 1.0
    assert tuple(talkative.losses(passages).shape) == (len(passages),)


# Long passages


def make_context_free() -> EncoderStudent:
    """Make a student to which a word means the same in every place and beside every other word."""
    student = lift_bias(make_encoder_student())
    with torch.no_grad():
        student.bert.positions.weight.zero_()
        for layer in student.bert.layers:
            layer.attention_out.weight.zero_()
            layer.attention_out.bias.zero_()
    return student


def test_long_passage_finds_what_a_short_one_finds_everywhere():
    around, name = ("the", "crew", "of"), ("Sally", "Ride", "Alan", "Bean")  # as long as the longest span
    words = (around + name) * 429
    student = make_context_free()
    short = score(student, [Passage(around + name + around, ("person",))])[0]
    (long,) = score(student, [Passage(words, ("person",))])
    assert len(words) > 3000
    n_rows = len(student._cut([Passage(words)]))
    assert n_rows > 60  # so the repetition lies across their borders in all ways
    for start in range(0, len(words) - 7, 7):
        for (first, last, type_), expected in short.items():
            if first >= 1 and last <= 7:  # the first and last word of the passage have no neighbour
                assert long[start + first, start + last, type_] == pytest.approx(expected, abs=1e-5)


def test_long_passage_equals_its_windows_read_one_by_one():
    student = lift_bias(make_encoder_student())
    words = tuple(f"the crew of Sally {n} rides ?! near Rome {'x' * (n % 30)}" for n in range(300))
    words = tuple(word for sentence in words for word in sentence.split())
    assert len(words) > 2900
    n_pieces = [min(len(ids), 48) for ids in student.pieces.cut(words)]
    windows = cut_windows(n_pieces, student.size.max_window_pieces, student.size.window_overlap_words)
    alone = [student.predict([Passage(words[w.start : w.end], ASKED)], 0.0).mentions[0] for w in windows]
    expected = {(m.start, m.end, m.type): m.score for m in merge_windows(alone, windows)}
    assert_equal_scores(score(student, [Passage(words, ASKED)]), [expected])


def test_losses_of_a_passage_of_huge_words_can_be_taken():
    student = make_encoder_student()
    words = ("?!" * 20,) * 6  # windows of one word each
    passages = [Passage(words, ("city",), tuple(Mention(start, start + 2, "city") for start in range(5)))]
    assert torch.isfinite(student.losses(passages)).all()


# The encoder student


def score_slowly(student: EncoderStudent, passage: Passage) -> dict[tuple[int, int, str], float]:
    """Score every span of a passage that fits one window against every type, one after the other."""

    def encode(pieces: list[int]) -> torch.Tensor:
        ids = torch.tensor([student.pieces.first, *pieces, student.pieces.last])
        return student.bert(ids, torch.tensor([len(ids)]))  # (n_pieces + 2, width)

    pieces = student.pieces.cut(passage.words)
    states = encode([piece for word in pieces for piece in word])[1:-1].split([len(word) for word in pieces])
    words = [state.mean(0) for state in states]
    shapes = [0, *map(shape_of, passage.words), 0]
    tables = HEAD_GAIN * student.span_shapes.weight.view(4, len(SHAPES), -1)
    scale = encoder.FIRST_SCALE * math.exp(HEAD_GAIN * float(student.offsets[0]))
    bias = encoder.FIRST_BIAS + HEAD_GAIN * float(student.offsets[1])
    found = {}
    for type_ in passage.types:
        pooled = F.normalize(encode(list(student.pieces.cut([type_])[0])).mean(0), dim=0) * 8**0.5
        vector = F.normalize(pooled + student.type_residual(F.gelu(student.type_hidden(pooled))), dim=0)
        for start in range(len(words)):
            for end in range(start + 1, min(len(words), start + student.size.max_span_words) + 1):
                first = student.span_start(words[start]) + tables[0, shapes[start + 1]] + tables[1, shapes[start]]
                last = student.span_end(words[end - 1]) + tables[3, shapes[end]] + tables[2, shapes[end + 1]]
                hidden = F.gelu(first + last + HEAD_GAIN * student.span_words.weight[end - start - 1])
                span = torch.stack(words[start:end]).mean(0) + student.span_residual(hidden)
                logit = scale * float(F.normalize(span, dim=0) @ vector) + bias + float(student.span_prior(hidden))
                found[start, end, type_] = 1.0 / (1.0 + math.exp(-logit))
    return found


@pytest.fixture(scope="module")
def student():
    """A talkative encoder student; tests may count what it remembers, but not train it."""
    student = make_encoder_student()
    teach(student, LESSONS, n_steps=30)
    return lift_bias(student)


def test_scores_equal_those_of_a_slow_loop(student):
    with torch.no_grad():
        expected = score_slowly(student, CREW)
    assert_equal_scores(score(student, [CREW]), [expected])


def test_losses_equal_those_of_a_slow_loop(student):
    passage = Passage(CREW.words, ("person",), (Mention(3, 5, "person"),))
    with torch.no_grad():
        scores = score_slowly(student, passage)
        expected = sum(-math.log(value if run == (3, 5, "person") else 1.0 - value) for run, value in scores.items())
        assert float(student.losses([passage])) == pytest.approx(expected, abs=1e-3)


def test_types_are_encoded_once(student):
    student = copy.deepcopy(student)
    first = student.predict([CREW], 0.0)
    n_encoded = student.n_types_encoded
    assert student.predict([CREW], 0.0) == first
    assert student.n_types_encoded == n_encoded
    student.predict([replace(CREW, types=(*ASKED, "moon"))], 0.0)
    assert student.n_types_encoded == n_encoded + 1


def test_remembered_types_are_bounded_and_change_nothing(student, monkeypatch):
    expected = score(student, [CREW])
    monkeypatch.setattr(encoder, "MAX_REMEMBERED_TYPES", 5)
    student = copy.deepcopy(student)
    for n in range(4):
        student.predict([replace(CREW, types=(f"type {n}", f"kind {n}"))], 0.0)
        assert len(student._type_vectors) <= 5
    assert_equal_scores(score(student, [CREW]), expected)


def test_more_types_than_are_encoded_at_once_keep_their_vectors(student):
    types = tuple(f"{'x' * (n % 7)} {n}" for n in range(150))
    (together,) = score(student, [replace(MOON, types=types)])
    assert len(together) == 150
    for type_ in types[::40]:
        assert score(student, [replace(MOON, types=(type_,))])[0][0, 1, type_] == pytest.approx(
            together[0, 1, type_], abs=1e-5
        )


def test_scores_are_compared_in_parts_when_there_are_many(student, monkeypatch):
    expected = score(student, [CREW])
    monkeypatch.setattr(encoder, "MAX_SCORES", 5)
    assert_equal_scores(score(student, [CREW]), expected)


def test_training_makes_it_forget_what_it_remembered():
    student = make_encoder_student()
    student.predict(LESSONS, 0.5)
    teach(student, LESSONS, n_steps=100)
    fresh = student_from_bytes(student_to_bytes(student), "float32")
    assert_equal_scores(score(student, LESSONS), score(fresh, LESSONS))


def test_words_and_types_that_lose_pieces_are_counted():
    student = make_encoder_student()
    student.predict([Passage(("!" * 1000, "moon"), ("?" * 1000, "city"))], 0.5)
    assert student.n_cut == 2


def test_embeddings_stay_as_they_are_while_it_learns():
    student = make_encoder_student()
    before = [student.bert.words.weight.clone(), student.bert.positions.weight.clone()]
    teach(student, LESSONS, n_steps=5)
    assert torch.equal(student.bert.words.weight, before[0])
    assert torch.equal(student.bert.positions.weight, before[1])


def test_half_precision_scores_are_near_those_of_float32(student):
    half = student_from_bytes(student_to_bytes(student), "bfloat16")
    assert half.dtype == torch.bfloat16
    (found,), (expected,) = score(half, [CREW]), score(student, [CREW])
    assert found.keys() == expected.keys()
    assert max(abs(found[run] - expected[run]) for run in expected) < 0.05


def test_half_precision_scores_do_not_depend_on_neighbours(student):
    # The sieve compares in half precision; what passes it is scored in float32.
    half = student_from_bytes(student_to_bytes(student), "bfloat16")
    (many,), (one,) = score(half, [CREW]), score(half, [replace(CREW, types=("person",))])
    assert_equal_scores([one], [{run: value for run, value in many.items() if run[2] == "person"}])


def test_precision_may_be_chosen():
    assert choose_dtype("float32") == torch.float32
    assert choose_dtype("bfloat16") == torch.bfloat16
    assert choose_dtype("auto") in (torch.float32, torch.bfloat16)


def test_windows_must_fit_the_encoder(student):
    with pytest.raises(ValueError, match=r"Windows of 255 pieces and two special ones do not fit .* 256 positions"):
        replace(student.size, max_window_pieces=255)


def test_windows_must_share_twice_the_longest_span(student):
    with pytest.raises(ValueError, match=r"share at least twice the longest span \(8 words\), got 7"):
        replace(student.size, window_overlap_words=7)


def test_sizes_come_back_from_what_is_saved_of_them(student):
    assert EncoderSize.from_dict(asdict(student.size)) == student.size


# What keeps memory flat and randomness alone


def test_products_in_bfloat16_have_rows_in_steps_whatever_the_texts_are(monkeypatch):
    """oneDNN keeps a program for every number of rows, so there must be few of them."""
    student = make_encoder_student()
    student.dtype = torch.bfloat16
    numbers = []
    linear = F.linear

    def watch(states, weight, bias=None):
        if weight.dtype == torch.bfloat16:
            numbers.append(states.numel() // states.shape[-1])
        return linear(states, weight, bias)

    monkeypatch.setattr(F, "linear", watch)
    for n_words in range(1, 40, 3):
        student.predict([Passage(("moon", "Alan!")[:1] * n + ("Alan!",), ASKED) for n in (n_words, 2)], 0.0)
    assert len(numbers) > 100
    assert {n % PIECES_IN_STEPS for n in numbers} == {0}


def test_predicting_draws_no_random_numbers():
    student = make_encoder_student()
    before = torch.random.get_rng_state()
    student.predict([Passage(("Alan", "Bean"), ASKED)], 0.0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_folded_head_gives_the_same_on_the_same_device():
    head = Head(3, 2)
    states = torch.randn(4, 3)
    torch.testing.assert_close(head.fold(torch.float32)(states), head(states))
    assert head.to("meta").fold(torch.bfloat16).weight.device.type == "meta"
