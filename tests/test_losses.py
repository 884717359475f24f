"""Targets and the loss of implication against slow loops."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import make_tokenizer_json
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_uniner.passages import Mention, Passage
from spacy_uniner.students.bert import Pieces
from spacy_uniner.students.losses import Targets, implication_loss
from spacy_uniner.students.rows import Row, Words, cut_rows

TYPES = ("city", "moon", "person")
PIECES = Pieces(make_tokenizer_json())


def lay_out(passages: list[Passage], max_window_pieces: int = 50, overlap_words: int = 4) -> tuple[list[Row], Words]:
    rows, _ = cut_rows(passages, PIECES, max_window_pieces, overlap_words)
    return rows, Words.of(rows, torch.device("cpu"))


@st.composite
def passage_lists(draw: st.DrawFn) -> list[Passage]:
    """Make passages that ask some of `TYPES`, with mentions and unknown runs of up to four words."""
    passages = []
    for _ in range(draw(st.integers(1, 3))):
        words = draw(st.lists(st.sampled_from(["moon", "Alan", "rides", " ", "?!"]), min_size=1, max_size=14))
        types = tuple(sorted(draw(st.sets(st.sampled_from(TYPES)))))
        runs = [
            Mention(start, end, type_)
            for type_ in types
            for start in range(len(words))
            for end in range(start + 1, min(start + 5, len(words) + 1))
        ]
        some = st.lists(st.sampled_from(runs), max_size=4) if runs else st.just([])
        passages.append(Passage(tuple(words), types, tuple(draw(some)), tuple(draw(some))))
    return passages


@settings(deadline=None)
@given(passage_lists(), st.integers(0, 3), st.sampled_from([5, 9, 50]), st.randoms(use_true_random=False))
def test_targets_equal_those_of_a_slow_loop(passages, k, max_window_pieces, random):
    rows, _ = lay_out(passages, max_window_pieces)
    random.shuffle(rows)  # as packing does
    words = Words.of(rows, torch.device("cpu"))
    is_span = words.are_spans(4)[k].tolist()
    truth, is_known = Targets(words, passages, TYPES, 4).of_width(k)
    assert truth.shape == is_known.shape == (len(words.place), len(TYPES))
    for n, (n_passage, start) in enumerate(zip(words.n_passage.tolist(), words.place.tolist())):
        passage = passages[n_passage]
        for n_type, type_ in enumerate(TYPES):
            run = (start, start + k + 1, type_)
            is_mention = run in [(m.start, m.end, m.type) for m in passage.mentions]
            is_unknown = run in [(m.start, m.end, m.type) for m in passage.unknown]
            known = is_span[n] and type_ in passage.types and not is_unknown
            assert is_known[n, n_type] == float(known)
            assert truth[n, n_type] == float(known and is_mention)


def test_targets_have_one_row_a_span_and_one_column_a_type():
    passages = [Passage(("Alan", "met", "Sally"), ("person",), (Mention(2, 3, "person"),))]
    truth, is_known = Targets(lay_out(passages)[1], passages, TYPES, 3).of_width(0)
    assert truth.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert is_known.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 1]]


def test_mention_longer_than_its_window_is_passed_over():
    # Words of so many pieces that windows share few of them; the row that the mention starts in is laid out last.
    words = ("?!?!",) * 5
    passages = [Passage(words, ("moon",), (Mention(0, 3, "moon"),))]
    rows, _ = lay_out(passages, max_window_pieces=8, overlap_words=4)
    assert [row.window.end - row.window.start for row in rows] == [2, 2, 2, 2]
    laid_out = Words.of(rows[::-1], torch.device("cpu"))
    targets = Targets(laid_out, passages, ("moon",), 5)
    assert [float(targets.of_width(k)[0].sum()) for k in range(5)] == [0.0] * 5


# Implication


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 1000))
def test_implication_loss_equals_that_of_a_slow_loop(n_types, n_mentions, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 4.0 * torch.randn(n_types, n_types, generator=generator)
    is_known = torch.randint(0, 2, (n_mentions, n_types), generator=generator).float()
    truth = torch.randint(0, 2, (n_mentions, n_types), generator=generator).float() * is_known
    cost, n_pairs = 0.0, 0
    for m in range(n_mentions):
        for narrow in range(n_types):
            for wide in range(n_types):
                if narrow != wide and truth[m, narrow] and is_known[m, wide]:
                    chance = 1.0 / (1.0 + math.exp(-float(logits[narrow, wide])))
                    cost -= math.log(chance if truth[m, wide] else 1.0 - chance)
                    n_pairs += 1
    expected = cost / max(n_pairs, 1)
    assert float(implication_loss(logits, truth, is_known)) == pytest.approx(expected, abs=1e-4)


def test_types_that_never_meet_cost_nothing():
    truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(implication_loss(torch.randn(2, 2), truth, is_known=truth)) == 0.0


def test_being_right_about_implication_costs_less():
    truth = torch.tensor([[1.0, 1.0], [0.0, 1.0]])  # each of the first type is of the second, not the reverse
    right = torch.tensor([[0.0, 5.0], [-5.0, 0.0]])
    is_known = torch.ones(2, 2)
    assert float(implication_loss(right, truth, is_known)) < float(implication_loss(-right, truth, is_known))
