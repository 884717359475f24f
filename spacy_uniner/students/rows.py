"""Passages as rows for an encoder: windows of words in pieces, packed so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..passages import Passage
from ..spans import Window, cut_windows
from .bert import Pieces

MAX_PIECES_PER_WORD = 48
SHAPES = ("none", "lower", "title", "upper", "mixed", "digits", "alphanumeric", "other")


@dataclass(frozen=True, slots=True)
class Row:
    """A window of a passage, ready to be encoded.

    n_passage: which passage of the batch it is cut from.
    window: its place there, in words.
    pieces: the piece ids of each of its words.
    shapes: the shape of each of its words, an index into `SHAPES`.
    """

    n_passage: int
    window: Window
    pieces: tuple[tuple[int, ...], ...]
    shapes: tuple[int, ...]

    @property
    def n_pieces(self) -> int:
        """Pieces in the row, the two special ones included."""
        return sum(map(len, self.pieces)) + 2


def cut_rows(
    passages: Sequence[Passage], pieces: Pieces, max_window_pieces: int, window_overlap_words: int
) -> tuple[list[Row], int]:
    """Cut passages into rows.

    A word of more than `MAX_PIECES_PER_WORD` pieces keeps the first of them.

    RETURNS: the rows, in the order of the passages, and the number of words that lost pieces.
    """
    rows: list[Row] = []
    n_cut_words = 0
    for n_passage, passage in enumerate(passages):
        ids = pieces.cut(passage.words)
        for i, word_ids in enumerate(ids):
            if len(word_ids) > MAX_PIECES_PER_WORD:
                ids[i] = word_ids[:MAX_PIECES_PER_WORD]
                n_cut_words += 1
        shapes = [shape_of(word) for word in passage.words]
        for window in cut_windows([len(word_ids) for word_ids in ids], max_window_pieces, window_overlap_words):
            words = slice(window.start, window.end)
            rows.append(Row(n_passage, window, tuple(ids[words]), tuple(shapes[words])))
    return rows, n_cut_words


def shape_of(word: str) -> int:
    """Tell how a word is written, which an uncased encoder cannot see.

    RETURNS: an index into `SHAPES`; "none" is kept for places outside the text.
    """
    if word.islower():
        name = "lower" if word.isalpha() else "alphanumeric" if any(map(str.isdigit, word)) else "lower"
    elif word.istitle():
        name = "title"
    elif word.isupper():
        name = "upper"
    elif word.isalpha():
        name = "mixed"
    elif word.isdigit():
        name = "digits"
    elif any(map(str.isalnum, word)):
        name = "alphanumeric"
    else:
        name = "other"
    return SHAPES.index(name)


def pack(rows: Iterable[Row], max_pieces: int) -> Iterator[list[Row]]:
    """Sort rows by length and pack them into batches of at most `max_pieces` pieces, padding included.

    A longer row is a batch by itself.
    """
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: row.n_pieces):
        if batch and (len(batch) + 1) * row.n_pieces > max_pieces:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Words:
    """The words of rows, one row after the other. Every field: shape (n_words,).

    n_passage: which passage a word is from.
    place: its offset there, in words.
    shape, shape_before, shape_after: how it and its neighbours in the row are written.
    has_pieces: whether the encoder sees it at all.
    is_core: whether spans that start here belong to this row.
    n_left: words from here to the end of the row.
    """

    n_passage: Tensor
    place: Tensor
    shape: Tensor
    shape_before: Tensor
    shape_after: Tensor
    has_pieces: Tensor
    is_core: Tensor
    n_left: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], device: torch.device) -> Words:
        """Lay out the words of `rows`."""
        columns: list[list[int]] = [[] for _ in cls.__slots__]
        for row in rows:
            window, n_words = row.window, len(row.pieces)
            values = (
                [row.n_passage] * n_words,
                range(window.start, window.end),
                row.shapes,
                (0, *row.shapes[:-1]),
                (*row.shapes[1:], 0),
                [len(word) > 0 for word in row.pieces],
                [window.core_start <= place < window.core_end for place in range(window.start, window.end)],
                range(n_words, 0, -1),
            )
            for column, of_row in zip(columns, values, strict=True):
                column.extend(of_row)
        return cls(*(torch.tensor(column, device=device) for column in columns))

    def is_span(self, k: int) -> Tensor:
        """Tell which runs of k + 1 words are inside their row, start in its core, and neither start nor end in white
        space. Shape: (n_words - k,), bool."""
        n_spans = len(self.place) - k
        ends = self.has_pieces[k:]
        return self.is_core[:n_spans] & self.has_pieces[:n_spans] & ends & (self.n_left[:n_spans] > k)
