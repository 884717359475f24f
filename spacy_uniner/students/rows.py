"""Passages as rows for an encoder: windows of words in pieces, packed so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..passages import Passage
from ..spans import Window, cut_windows
from .bert import Pieces

IntArray = NDArray[numpy.int64]

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
        n_words = numpy.array([len(row.pieces) for row in rows])
        ends = n_words.cumsum()

        def repeat(values: Iterable[int]) -> IntArray:
            return numpy.repeat(numpy.fromiter(values, dtype="int64"), n_words)

        numbers = numpy.arange(ends[-1])
        place = numbers + repeat(row.window.start for row in rows) - repeat(ends - n_words)
        n_left = repeat(ends) - numbers
        shape = numpy.fromiter(chain.from_iterable(row.shapes for row in rows), dtype="int64")
        is_first = place == repeat(row.window.start for row in rows)
        core_start, core_end = (
            repeat(getattr(row.window, name) for row in rows) for name in ("core_start", "core_end")
        )
        fields = (
            repeat(row.n_passage for row in rows),
            place,
            shape,
            numpy.where(is_first, 0, numpy.roll(shape, 1)),
            numpy.where(n_left == 1, 0, numpy.roll(shape, -1)),
            numpy.fromiter((len(word) > 0 for row in rows for word in row.pieces), dtype="bool"),
            (core_start <= place) & (place < core_end),
            n_left,
        )
        return cls(*(torch.from_numpy(field).to(device) for field in fields))

    def are_spans(self, n_widths: int) -> Tensor:
        """Tell which runs of 1, 2, … `n_widths` words are inside their row, start in its core, and neither start nor
        end in white space. Shape: (n_widths, n_words), bool."""
        n_more = torch.arange(n_widths, device=self.place.device)[:, None]  # (n_widths, 1)
        last = (torch.arange(len(self.place), device=self.place.device) + n_more).clamp(max=len(self.place) - 1)
        return self.is_core & self.has_pieces & (self.n_left > n_more) & self.has_pieces[last]
