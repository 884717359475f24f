"""The encoder student: words once, types once, and every span scored against every type by a dot product.

SOURCE: our choice. A bi-encoder after GLiNER (Zaratiana et al. 2023, section 3), whose span and type vectors start as
what the sentence encoder gives already (the mean of states) and learn only what to add to it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..passages import Mention, Passage
from . import StudentOutput
from .bert import Bert, BertSize, Pieces
from .losses import Targets, implication_loss
from .rows import SHAPES, Row, Words, cut_rows, pack

Precision = Literal["auto", "float32", "bfloat16"]

MAX_PIECES_PER_TYPE = 126
MAX_REMEMBERED_TYPES = 20_000
TRAINING_PIECES = 2048
PREDICTION_PIECES = 1024
TYPES_AT_ONCE = 64
MAX_SCORES = 8_000_000
HEAD_GAIN = 10.0
FIRST_SCALE = 12.0
FIRST_BIAS = -8.0
LOWEST_FLOOR = 0.01


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """The sizes of an encoder student.

    bert: the encoder inside.
    max_span_words: longest span that is scored, in words.
    n_hidden: width of the layer between words and what is added to a span's mean.
    n_implication: width of the vectors that tell which type implies which.
    max_window_pieces: longest window that is encoded at once, in pieces.
    window_overlap_words: how many words neighbouring windows share.
    RAISES: ValueError if the windows do not fit the encoder or share too little.
    """

    bert: BertSize
    max_span_words: int = 12
    n_hidden: int = 192
    n_implication: int = 96
    max_window_pieces: int = 254
    window_overlap_words: int = 32

    def __post_init__(self) -> None:
        if self.max_window_pieces + 2 > self.bert.max_position_embeddings:
            raise ValueError(
                f"Windows of {self.max_window_pieces} pieces and two special ones do not fit the encoder's "
                f"{self.bert.max_position_embeddings} positions. Use shorter windows."
            )
        if self.window_overlap_words < 2 * self.max_span_words:
            raise ValueError(
                f"Windows must share at least twice the longest span ({2 * self.max_span_words} words), "
                f"got {self.window_overlap_words}."
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderSize:
        """Make the sizes from what `dataclasses.asdict` gave."""
        return cls(**{**values, "bert": BertSize(**values["bert"])})


class Head(nn.Linear):
    """A linear layer that learns `HEAD_GAIN` times as fast as the pretrained layers under the same optimizer.

    SOURCE: equalized learning rate, Karras et al. 2018, section 4.1; the gain is our choice.
    """

    def __init__(self, n_in: int, n_out: int, *, zero: bool = False) -> None:
        super().__init__(n_in, n_out)
        nn.init.normal_(self.weight, std=0.0 if zero else 1.0 / (HEAD_GAIN * math.sqrt(n_in)))
        nn.init.zeros_(self.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Shapes as in `nn.Linear`."""
        return F.linear(states, HEAD_GAIN * self.weight, HEAD_GAIN * self.bias)


class EncoderStudent(nn.Module):
    """Finds mentions of any type by comparing span vectors with type vectors.

    size: the sizes of its parts.
    pieces: the tokenizer that belongs to the encoder.
    precision: of the encoder's forward pass; "auto" is bfloat16 where the processor multiplies in it, else float32.
    """

    def __init__(self, size: EncoderSize, pieces: Pieces, precision: Precision = "auto") -> None:
        super().__init__()
        width = size.bert.hidden_size
        self.size = size
        self.pieces = pieces
        self.dtype = choose_dtype(precision)
        self.bert = Bert(size.bert)
        for table in (self.bert.words, self.bert.positions, self.bert.segments):
            table.weight.requires_grad_(False)
        self.type_hidden = Head(width, size.n_hidden)
        self.type_residual = Head(size.n_hidden, width, zero=True)
        self.span_start = Head(width, size.n_hidden)
        self.span_end = Head(width, size.n_hidden)
        self.span_words = nn.Embedding(size.max_span_words, size.n_hidden)
        self.span_shapes = nn.Embedding(4 * len(SHAPES), size.n_hidden)
        self.span_residual = Head(size.n_hidden, width, zero=True)
        self.span_prior = Head(size.n_hidden, 1, zero=True)
        self.narrow = Head(width, size.n_implication)
        self.wide = Head(width, size.n_implication)
        self.offsets = nn.Parameter(torch.zeros(3))  # of the log temperature, the bias, the bias of implication
        for embedding in (self.span_words, self.span_shapes):
            nn.init.normal_(embedding.weight, std=0.02)
        self.n_types_encoded = 0
        self.n_cut = 0
        self._fingerprint = b""
        self._fast_bert: list[Bert] = []  # in a list, so that it is no part of the module and its weights
        self._type_vectors: dict[str, Tensor] = {}
        self._asked: tuple[tuple[str, ...], Tensor] = ((), torch.empty(0))

    def losses(self, passages: Sequence[Passage]) -> Tensor:
        """Give each passage's loss in nats: the binary cross-entropy of its spans against the types asked of it, plus
        that of which of its types imply which.

        Mentions longer than the longest span cannot be learned and are passed over.

        RETURNS: Shape: (n_passages,), float32.
        """
        types = sorted({type_ for passage in passages for type_ in passage.types})
        batches = list(pack(self._cut(passages), TRAINING_PIECES))
        device = self.offsets.device
        if not types or not batches:
            return torch.zeros(len(passages), device=device) + 0.0 * self.offsets.sum()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            vectors = self._encode_types(types, self.bert)  # (n_types, width)
            states = torch.cat([self._encode_words(rows, self.bert) for rows in batches])  # (n_words, width)
        words = Words.of([row for rows in batches for row in rows], device)
        targets = Targets(words, passages, types)
        losses = torch.zeros(len(passages), device=device)
        met: list[tuple[Tensor, Tensor]] = []
        for k, (spans, prior) in enumerate(self._span_vectors(words, states)):
            cosine = F.normalize(spans, dim=1) @ vectors.T  # (n_spans, n_types)
            logits = self._scale() * cosine + (self._bias() + prior)[:, None]
            truth, is_known = targets.of_width(k)  # each (n_spans, n_types)
            loss = F.binary_cross_entropy_with_logits(logits, truth, weight=is_known, reduction="none")
            losses = losses.index_add(0, words.n_passage[: len(spans)], loss.sum(1))
            is_mention = truth.any(1)
            met.append((truth[is_mention], is_known[is_mention]))
        truths, knowns = (torch.cat(of_widths) for of_widths in zip(*met, strict=True))
        return losses + implication_loss(self._implication_logits(vectors.detach()), truths, knowns)

    @torch.no_grad()
    def predict(self, passages: Sequence[Passage], floor: float) -> StudentOutput:
        """Find the mentions of each passage's types that score above `floor`, but never below `LOWEST_FLOOR`."""
        self._forget_if_changed()
        n_cut_before = self.n_cut
        found: list[list[Mention]] = [[] for _ in passages]
        asked = [frozenset(passage.types) for passage in passages]
        rows = [row for row in self._cut(passages) if asked[row.n_passage]]
        for batch in pack(rows, PREDICTION_PIECES):
            types = tuple(sorted(set().union(*(asked[row.n_passage] for row in batch))))
            words = Words.of(batch, self.offsets.device)
            states = self._encode_words(batch, self._fast())  # (n_words, width)
            for n_passage, mention in self._decode(words, states, types, max(floor, LOWEST_FLOOR)):
                if mention.type in asked[n_passage]:
                    found[n_passage].append(mention)
        mentions = [tuple(sorted(of_one, key=lambda m: (m.start, m.end, m.type))) for of_one in found]
        implied = self._implied(mentions)
        return StudentOutput(mentions=mentions, implied=implied, n_cut=self.n_cut - n_cut_before)

    def _decode(
        self, words: Words, states: Tensor, types: tuple[str, ...], floor: float
    ) -> Iterator[tuple[int, Mention]]:
        """Give the mentions that score above `floor`, each with the number of its passage.

        Spans that no type could lift over the floor are left out first. The comparison with all types, in the
        precision of the forward pass, only sieves; what passes is scored in float32, so that a score depends neither
        on the other types asked nor on the other passages.
        """
        vectors = self._remembered(types)  # (n_types, width)
        scale, bias = self._scale(), self._bias()
        floor_logit = math.log(floor / (1.0 - floor)) if floor < 1.0 else math.inf
        margin = 1e-4 if self.dtype == torch.float32 else 0.02
        n_at_once = max(1, MAX_SCORES // len(types))
        for k, (spans, prior) in enumerate(self._span_vectors(words, states)):
            needed = (floor_logit - bias - prior) / scale - margin  # the cosine that lifts a span, (n_spans,)
            n_word = ((needed < 1.0) & words.is_span(k)).nonzero().squeeze(1)  # (n_kept,)
            unit = F.normalize(spans[n_word], dim=1)  # (n_kept, width)
            for part, kept in zip(unit.split(n_at_once), n_word.split(n_at_once), strict=True):
                rough = part.to(self.dtype) @ vectors.to(self.dtype).T  # (n_part, n_types)
                n_span, n_type = (rough > needed[kept, None]).nonzero(as_tuple=True)  # each (n_passed,)
                cosine = (part[n_span] * vectors[n_type]).sum(1)  # (n_passed,)
                where = kept[n_span]
                scores = torch.sigmoid(scale * cosine + bias + prior[where])
                columns = (words.n_passage[where], words.place[where], n_type, scores)
                for passage, start, of_type, score in zip(*(column.tolist() for column in columns), strict=True):
                    if score > floor:
                        yield passage, Mention(start, start + k + 1, types[of_type], score)

    def _implied(self, mentions: Sequence[Sequence[Mention]]) -> frozenset[tuple[str, str]]:
        """Tell, of all types that met on one run of words, which implies which."""
        pairs: set[tuple[str, str]] = set()
        for of_one in mentions:
            for _, run in groupby(of_one, key=lambda m: (m.start, m.end)):
                pairs.update(permutations([mention.type for mention in run], 2))
        if not pairs:
            return frozenset()
        types = tuple(sorted({narrow for narrow, _ in pairs}))
        number = {type_: n for n, type_ in enumerate(types)}
        implies = (self._implication_logits(self._remembered(types)) > 0.0).tolist()
        return frozenset((narrow, wide) for narrow, wide in pairs if implies[number[narrow]][number[wide]])

    def _cut(self, passages: Sequence[Passage]) -> list[Row]:
        rows, n_cut_words = cut_rows(passages, self.pieces, self.size.max_window_pieces, self.size.window_overlap_words)
        self.n_cut += n_cut_words
        return rows

    def _encode_words(self, rows: Sequence[Row], bert: Bert) -> Tensor:
        """Encode rows and pool the pieces of each word.

        RETURNS: the mean of each word's piece states; zeros for white space. Shape: (n_words, width), float32.
        """
        states = self._encode([[piece for word in row.pieces for piece in word] for row in rows], bert)
        n_longest = states.shape[1]
        places: list[int] = []
        starts: list[int] = []
        for n_row, row in enumerate(rows):
            place = n_row * n_longest + 1
            for word in row.pieces:
                starts.append(len(places))
                places.extend(range(place, place + len(word)))
                place += len(word)
        device = states.device
        return F.embedding_bag(
            torch.tensor(places, device=device, dtype=torch.int64),
            states.flatten(0, 1).float(),  # (n_rows * longest, width)
            torch.tensor(starts, device=device, dtype=torch.int64),
            mode="mean",
        )

    def _encode_types(self, types: Sequence[str], bert: Bert) -> Tensor:
        """Encode type names or descriptions.

        RETURNS: unit vectors. Shape: (n_types, width), float32.
        """
        self.n_types_encoded += len(types)
        ids = self.pieces.cut(types)
        self.n_cut += sum(len(of_one) > MAX_PIECES_PER_TYPE for of_one in ids)
        ids = [of_one[:MAX_PIECES_PER_TYPE] for of_one in ids]
        order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
        pooled = torch.empty(len(ids), self.size.bert.hidden_size, device=self.offsets.device)
        for first in range(0, len(ids), TYPES_AT_ONCE):
            part = order[first : first + TYPES_AT_ONCE]
            states = self._encode([ids[n] for n in part], bert).float()  # (n_part, longest, width)
            n_pieces = torch.tensor([len(ids[n]) + 2 for n in part], device=states.device)
            is_piece = torch.arange(states.shape[1], device=states.device) < n_pieces[:, None]
            pooled[part] = (states * is_piece[:, :, None]).sum(1) / n_pieces[:, None]  # (n_part, width)
        pooled = F.normalize(pooled, dim=1) * pooled.shape[1] ** 0.5  # (n_types, width)
        return F.normalize(pooled + self.type_residual(F.gelu(self.type_hidden(pooled))), dim=1)

    def _encode(self, ids: Sequence[Sequence[int]], bert: Bert) -> Tensor:
        """Encode texts in pieces, with the special pieces around them.

        RETURNS: Shape: (n_texts, longest, width).
        """
        device = self.offsets.device
        n_longest = max(map(len, ids)) + 2
        padded = [
            [self.pieces.first, *of_one, self.pieces.last, *[0] * (n_longest - len(of_one) - 2)] for of_one in ids
        ]
        n_pieces = torch.tensor([len(of_one) + 2 for of_one in ids], device=device)
        return bert(torch.tensor(padded, device=device), n_pieces)  # type: ignore[no-any-return]

    def _span_vectors(self, words: Words, states: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the vectors of all spans, one width after the other: of spans of one word, of two words, …

        Span `i` of width k + 1 is `words[i : i + k + 1]`, wherever a row ends; `Words.is_span` tells which are inside.

        states: the states of the words. Shape: (n_words, width), float32.
        RETURNS: for each k, span vectors and the prior logit that a span is a mention of anything.
            Shapes: (n_words - k, width) and (n_words - k,), float32.
        """
        own, before, after, own_last = (HEAD_GAIN * self.span_shapes.weight).chunk(4)  # each (n_shapes, n_hidden)
        starts = self.span_start(states) + own[words.shape] + before[words.shape_before]  # (n_words, n_hidden)
        ends = self.span_end(states) + own_last[words.shape] + after[words.shape_after]  # (n_words, n_hidden)
        total = torch.zeros_like(states)
        for k in range(min(self.size.max_span_words, len(states))):
            n_spans = len(states) - k
            total = total[:n_spans] + states[k:]  # (n_spans, width)
            hidden = F.gelu(starts[:n_spans] + ends[k:] + HEAD_GAIN * self.span_words.weight[k])  # (n_spans, n_hidden)
            yield total / (k + 1) + self.span_residual(hidden), self.span_prior(hidden).squeeze(1)

    def _scale(self) -> Tensor:
        return FIRST_SCALE * torch.exp(HEAD_GAIN * self.offsets[0])

    def _bias(self) -> Tensor:
        return FIRST_BIAS + HEAD_GAIN * self.offsets[1]

    def _implication_logits(self, vectors: Tensor) -> Tensor:
        """Tell which type implies which: above 0 where the row's type implies the column's.

        vectors: unit vectors. Shape: (n_types, width), float32.
        RETURNS: Shape: (n_types, n_types), float32.
        """
        scaled = vectors * vectors.shape[1] ** 0.5
        width = self.size.n_implication**0.5
        logits: Tensor = self.narrow(scaled) @ self.wide(scaled).T / width + HEAD_GAIN * self.offsets[2]
        return logits

    def _forget_if_changed(self) -> None:
        """Drop what was computed with other weights. Every update moves those of the last layer and the offsets."""
        moving = (*self.bert.layers[-1].parameters(recurse=True), self.offsets)
        fingerprint = b"".join(part.detach().flatten()[:16].cpu().numpy().tobytes() for part in moving)
        if fingerprint != self._fingerprint:
            self._fingerprint = fingerprint
            self._fast_bert = []
            self._type_vectors = {}
            self._asked = ((), torch.empty(0))

    def _fast(self) -> Bert:
        """Give the encoder with its linear layers in the precision of the forward pass."""
        if not self._fast_bert:
            shared = {id(table): table for table in (self.bert.words, self.bert.positions, self.bert.segments)}
            fast = copy.deepcopy(self.bert, shared).eval()
            for module in fast.modules():
                if isinstance(module, nn.Linear):
                    module.to(self.dtype)
            self._fast_bert = [fast]
        return self._fast_bert[0]

    def _remembered(self, types: tuple[str, ...]) -> Tensor:
        """Give the vectors of types, encoding only those not met before. Shape: (n_types, width), float32."""
        asked, vectors = self._asked
        if asked == types:
            return vectors
        known = self._type_vectors
        new = [type_ for type_ in types if type_ not in known]
        if len(known) + len(new) > MAX_REMEMBERED_TYPES:
            known, new = {}, list(types)
        known = known | dict(zip(new, self._encode_types(new, self._fast()), strict=True)) if new else known
        vectors = torch.stack([known[type_] for type_ in types])
        self._type_vectors = known
        self._asked = (types, vectors)
        return vectors


def choose_dtype(precision: Precision) -> torch.dtype:
    """Choose the number format of the encoder's forward pass."""
    if precision == "auto":
        # Not public in torch, and not in every version of it; where it is missing, float32 is always right.
        multiplies_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return torch.bfloat16 if multiplies_bfloat16() else torch.float32
    return torch.float32 if precision == "float32" else torch.bfloat16
