"""Rows against slow loops: how words are cut, packed, laid out, and which runs of them are spans."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from conftest import make_tokenizer_json
from hypothesis import given
from hypothesis import strategies as st

from spacy_uniner.passages import Passage
from spacy_uniner.spans import Window
from spacy_uniner.students.bert import Pieces
from spacy_uniner.students.rows import MAX_PIECES_PER_WORD, SHAPES, Row, Words, cut_rows, pack, shape_of

CPU = torch.device("cpu")
NONE, LOWER, TITLE = (SHAPES.index(name) for name in ("none", "lower", "title"))

LEFT = Row(0, Window(0, 4, 0, 3), pieces=((5,), (6, 7), (), (8,)), shapes=(1, 2, 7, 3))
RIGHT = Row(0, Window(2, 6, 3, 6), pieces=((), (8,), (9,), (5, 5)), shapes=(7, 3, 1, 2))
OTHER = Row(4, Window(0, 1, 0, 1), pieces=((6,),), shapes=(5,))


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return Pieces(make_tokenizer_json())


def make_row(n_pieces: int) -> Row:
    """Make a row of one word that takes so many pieces, without the special ones."""
    return Row(0, Window(0, 1, 0, 1), pieces=(tuple(range(n_pieces)),), shapes=(LOWER,))


# How a word is written


@pytest.mark.parametrize(
    "word, shape",
    [
        ("moon", "lower"),
        ("don't", "lower"),
        ("covid-19", "alphanumeric"),
        ("Apollo", "title"),
        ("A", "title"),
        ("U.S.", "title"),
        ("NASA", "upper"),
        ("NASA-2", "upper"),
        ("iPhone", "mixed"),
        ("書", "mixed"),  # a script without case
        ("1969", "digits"),
        ("٣", "digits"),
        ("3.5", "alphanumeric"),
        ("e\u0301", "lower"),  # a combining accent
        ("!", "other"),
        (" ", "other"),
        ("🚀", "other"),
        ("", "other"),
    ],
)
def test_shape_tells_how_a_word_is_written(word, shape):
    assert SHAPES[shape_of(word)] == shape


@given(st.text())
def test_no_word_has_the_shape_of_places_outside_the_text(word):
    assert NONE < shape_of(word) < len(SHAPES)


# Cutting


def test_short_passages_are_one_row_each_and_empty_ones_none(pieces):
    passages = [Passage(("Alan", "Bean")), Passage(()), Passage(("moon",))]
    rows, n_cut_words = cut_rows(passages, pieces, max_window_pieces=10, window_overlap_words=2)
    assert [(row.n_passage, row.window) for row in rows] == [(0, Window(0, 2, 0, 2)), (2, Window(0, 1, 0, 1))]
    assert [row.pieces for row in rows] == [tuple(pieces.cut(["Alan", "Bean"])), tuple(pieces.cut(["moon"]))]
    assert [row.shapes for row in rows] == [(TITLE, TITLE), (LOWER,)]
    assert [row.n_pieces for row in rows] == [4, 3]
    assert n_cut_words == 0


def test_rows_hold_the_words_of_their_windows(pieces):
    words = ("the", "crew", "of", "Sally", "Ride", "landed", "near", "Rome") * 5
    rows, _ = cut_rows([Passage(words)], pieces, max_window_pieces=12, window_overlap_words=4)
    assert len(rows) > 3
    for row in rows:
        part = words[row.window.start : row.window.end]
        assert row.pieces == tuple(pieces.cut(part))
        assert row.shapes == tuple(map(shape_of, part))
        assert row.n_pieces <= 14
    assert [place for row in rows for place in range(row.window.core_start, row.window.core_end)] == list(range(40))


def test_word_of_many_pieces_keeps_the_first_and_is_counted(pieces):
    (row,), n_cut_words = cut_rows([Passage(("!" * 100_000, "moon"))], pieces, 60, 2)
    assert row.pieces == (pieces.cut(["!"])[0] * MAX_PIECES_PER_WORD, *pieces.cut(["moon"]))
    assert n_cut_words == 1


# Packing


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(1, 60))
def test_packed_batches_hold_every_row_once_and_few_pieces(n_pieces, max_pieces):
    rows = [make_row(n) for n in n_pieces]
    batches = list(pack(rows, max_pieces))
    assert sorted(map(id, chain.from_iterable(batches))) == sorted(map(id, rows))
    for batch in batches:
        assert batch
        assert len(batch) == 1 or len(batch) * max(row.n_pieces for row in batch) <= max_pieces


def test_rows_of_one_length_are_packed_together():
    batches = list(pack([make_row(2), make_row(6), make_row(2), make_row(6), make_row(30)], max_pieces=16))
    assert [[row.n_pieces for row in batch] for batch in batches] == [[4, 4], [8, 8], [32]]


# Laying out


def test_words_are_laid_out_row_by_row():
    words = Words.of([LEFT, RIGHT, OTHER], CPU)
    assert words.n_passage.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 4]
    assert words.place.tolist() == [0, 1, 2, 3, 2, 3, 4, 5, 0]
    assert words.shape.tolist() == [1, 2, 7, 3, 7, 3, 1, 2, 5]
    assert words.shape_before.tolist() == [0, 1, 2, 7, 0, 7, 3, 1, 0]
    assert words.shape_after.tolist() == [2, 7, 3, 0, 3, 1, 2, 0, 0]
    assert words.has_pieces.tolist() == [True, True, False, True, False, True, True, True, True]
    assert words.is_core.tolist() == [True, True, True, False, False, True, True, True, True]
    assert words.n_left.tolist() == [4, 3, 2, 1, 4, 3, 2, 1, 1]


def test_spans_of_one_word_are_the_core_words_with_pieces():
    words = Words.of([LEFT, RIGHT, OTHER], CPU)
    assert words.are_spans(1).tolist() == [[True, True, False, False, False, True, True, True, True]]


@st.composite
def row_lists(draw: st.DrawFn) -> list[Row]:
    """Make rows of up to six words, some of them white space, with any core."""
    rows = []
    for n_passage in range(draw(st.integers(1, 4))):
        word_pieces = draw(st.lists(st.sampled_from([(), (5,), (6, 7)]), min_size=1, max_size=6))
        start = draw(st.integers(0, 3))
        end = start + len(word_pieces)
        core_start = draw(st.integers(start, end))
        window = Window(start, end, core_start, draw(st.integers(core_start, end)))
        rows.append(Row(n_passage, window, tuple(word_pieces), (LOWER,) * len(word_pieces)))
    return rows


@given(row_lists(), st.integers(1, 4))
def test_spans_equal_those_of_a_slow_loop(rows, n_widths):
    expected: list[list[bool]] = [[] for _ in range(n_widths)]
    for row in rows:
        for n, start in enumerate(range(row.window.start, row.window.end)):
            is_core = row.window.core_start <= start < row.window.core_end
            for k in range(n_widths):
                is_inside = n + k < len(row.pieces)
                expected[k].append(is_inside and is_core and bool(row.pieces[n]) and bool(row.pieces[n + k]))
    assert Words.of(rows, CPU).are_spans(n_widths).tolist() == expected
