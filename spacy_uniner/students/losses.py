"""What an encoder student should have said of each span, and what it costs to have said otherwise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..passages import Mention, Passage
from .rows import Words


class Targets:
    """What each span of a batch is a mention of, and of which types that is known.

    words: the words of the batch's rows.
    passages: the passages that the rows are cut from.
    types: all types asked in the batch; their order is the last axis.
    n_widths: the longest span, in words.
    """

    def __init__(self, words: Words, passages: Sequence[Passage], types: Sequence[str], n_widths: int) -> None:
        self.words = words
        self.are_spans = words.are_spans(n_widths)
        self.n_type = {type_: n for n, type_ in enumerate(types)}
        self.asked = torch.zeros(len(passages), len(types), dtype=torch.bool, device=words.place.device)
        places = zip(words.n_passage.tolist(), words.place.tolist(), words.is_core.tolist(), strict=True)
        self.n_word = {(n, place): i for i, (n, place, is_core) in enumerate(places) if is_core}
        for n_passage, passage in enumerate(passages):
            self.asked[n_passage, [self.n_type[type_] for type_ in passage.types]] = True
        self.mentions = self._by_width(passages, (passage.mentions for passage in passages))
        self.unknown = self._by_width(passages, (passage.unknown for passage in passages))

    def _by_width(
        self, passages: Sequence[Passage], mentions: Iterable[Sequence[Mention]]
    ) -> dict[int, list[tuple[int, int]]]:
        """Give the places of mentions, as number of the word and number of the type, by their width in words - 1.

        Those that go beyond their row, as long ones of words with many pieces may, are left out: no span is theirs.
        """
        n_left = self.words.n_left.tolist()
        places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for n_passage, of_one in enumerate(mentions):
            for mention in of_one:
                n_word = self.n_word[n_passage, mention.start]
                if mention.end - mention.start <= n_left[n_word]:
                    places[mention.end - mention.start - 1].append((n_word, self.n_type[mention.type]))
        return places

    def of_width(self, k: int) -> tuple[Tensor, Tensor]:
        """Mark the spans of k + 1 words.

        RETURNS: 1.0 where a span is a mention of a type, else 0.0; and 1.0 where that is known, else 0.0, as where no
            span is. Shapes: (n_words, n_types), float32.
        """
        is_known = (self.asked[self.words.n_passage] & self.are_spans[k][:, None]).float()
        truth = torch.zeros_like(is_known)
        for places, marked, value in ((self.unknown[k], is_known, 0.0), (self.mentions[k], truth, 1.0)):
            if places:
                n_word, n_type = zip(*places, strict=True)
                marked[list(n_word), list(n_type)] = value
        return truth * is_known, is_known


def implication_loss(logits: Tensor, truth: Tensor, is_known: Tensor) -> Tensor:
    """Learn P(wide | narrow) from the mentions on which types met: a mention of type a speaks for "a implies b" if it
    is also one of b, and against it if it is known not to be.

    logits: what the student says. Shape: (n_types, n_types), float32; narrow, wide.
    truth: which types each mention has. Shape: (n_mentions, n_types), float32.
    is_known: of which types that is known. Shape: (n_mentions, n_types), float32.
    RETURNS: the mean over all pairs and mentions, in nats. Shape: (), float32.
    SOURCE: our choice, so that one of two types may give way; see `spans.resolve_overlaps`.
    """
    n_for = truth.T @ truth  # (n_types, n_types)
    n_against = truth.T @ (is_known - truth)  # (n_types, n_types)
    n_for = n_for - torch.diag(n_for.diagonal())
    cost = n_for * F.softplus(-logits) + n_against * F.softplus(logits)
    return cost.sum() / (n_for.sum() + n_against.sum()).clamp(min=1.0)
