"""The encoder student: words once, types once, and every span scored against every type by a dot product.

SOURCE: our choice. A bi-encoder after GLiNER (Zaratiana et al. 2023, section 3), whose span and type vectors start as
what the sentence encoder gives already (the mean of states) and learn only what to add to it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..passages import Mention, Passage
from . import StudentOutput
from .bert import PIECES_IN_STEPS, Bert, Pieces
from .heads import HEAD_GAIN, Fast, Head, in_steps, mean_of_runs
from .losses import Targets, implication_loss
from .rows import SHAPES, Row, Words, cut_rows, pack
from .sizes import EncoderSize, Precision, choose_dtype

MAX_PIECES_PER_TYPE = 126
MAX_REMEMBERED_TYPES = 20_000
TRAINING_PIECES = 2048
PREDICTION_PIECES = 1024
TYPES_AT_ONCE = 64
MAX_SCORES = 8_000_000
SPANS_AT_ONCE = 1024
FIRST_SCALE = 12.0
FIRST_BIAS = -8.0
LOWEST_FLOOR = 0.01


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
        self._fast_parts: list[Fast] = []  # in a list, so that it is no part of the module and its weights
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
        # The fused attention is fast forward, but not backward over rows as short as type names.
        unfused = sdpa_kernel(SDPBackend.MATH)
        with unfused, torch.autocast(device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            vectors = self._encode_types(types, self.bert)  # (n_types, width)
            states = torch.cat([self._encode_words(rows, self.bert) for rows in batches])  # (n_words, width)
        words = Words.of([row for rows in batches for row in rows], device)
        hidden, prior = self._see_spans(words, states, self)  # (n_widths, n_words, n_hidden), (n_widths, n_words)
        targets = Targets(words, passages, types, len(hidden))
        losses = torch.zeros(len(passages), device=device)
        total = torch.zeros_like(states)
        met: list[tuple[Tensor, Tensor]] = []
        for k in range(len(hidden)):
            total = total + F.pad(states[k:], (0, 0, 0, k))  # (n_words, width)
            spans = total / (k + 1) + self.span_residual(hidden[k])  # (n_words, width)
            cosine = F.normalize(spans, dim=1) @ vectors.T  # (n_words, n_types)
            logits = self._scale() * cosine + (self._bias() + prior[k])[:, None]
            truth, is_known = targets.of_width(k)  # each (n_words, n_types)
            loss = F.binary_cross_entropy_with_logits(logits, truth, weight=is_known, reduction="none")
            losses = losses.index_add(0, words.n_passage, loss.sum(1))
            is_mention = truth.any(1)
            met.append((truth[is_mention], is_known[is_mention]))
        truths, knowns = (torch.cat(of_widths) for of_widths in zip(*met, strict=True))
        return losses + implication_loss(self._implication_logits(vectors.detach()), truths, knowns)

    @torch.no_grad()
    def predict(self, passages: Sequence[Passage], floor: float) -> StudentOutput:
        """Find the mentions of each passage's types that score above `floor`, but never below `LOWEST_FLOOR`."""
        floor = max(floor, LOWEST_FLOOR)
        self._forget_if_changed()
        fast = self._fast()
        n_cut_before = self.n_cut
        found: list[list[Mention]] = [[] for _ in passages]
        asked = [frozenset(passage.types) for passage in passages]
        rows = [row for row in self._cut(passages) if asked[row.n_passage]]
        for batch in pack(rows, PREDICTION_PIECES):
            types = tuple(sorted(set().union(*(asked[row.n_passage] for row in batch))))
            words = Words.of(batch, self.offsets.device)
            for n_passage, mention in self._decode(words, self._encode_words(batch, fast.bert), types, floor):
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
        fast = self._fast()
        vectors = self._remembered(types)  # (n_types, width)
        n_extra = -len(types) % PIECES_IN_STEPS  # as in `in_steps`: the types of a batch are of any number
        vectors_to_sieve = F.pad(vectors, (0, 0, 0, n_extra)).to(self.dtype).T  # (width, n_rounded)
        scale, bias = self._scale(), self._bias()
        floor_logit = math.log(floor / (1.0 - floor)) if floor < 1.0 else math.inf
        margin = 1e-4 if self.dtype == torch.float32 else 0.02
        hidden, prior = self._see_spans(words, states, fast)  # (n_widths, n_words, n_hidden), (n_widths, n_words)
        needed = (floor_logit - bias - prior) / scale - margin  # the cosine that lifts a span, (n_widths, n_words)
        n_width, n_word = ((needed < 1.0) & words.are_spans(len(hidden))).nonzero(as_tuple=True)  # each (n_kept,)
        n_at_once = min(SPANS_AT_ONCE, max(1, MAX_SCORES // len(types)))
        for k, start in zip(n_width.split(n_at_once), n_word.split(n_at_once), strict=True):
            residual = in_steps(fast.span_residual, hidden[k, start]).float()  # (n_part, width)
            unit = F.normalize(mean_of_runs(states, start, k + 1) + residual, dim=1)  # (n_part, width)
            rough = in_steps(lambda part: part @ vectors_to_sieve, unit.to(self.dtype))[:, : len(types)]
            n_span, n_type = (rough > needed[k, start, None]).nonzero(as_tuple=True)  # each (n_passed,)
            cosine = (unit[n_span] * vectors[n_type]).sum(1)  # (n_passed,)
            k, start = k[n_span], start[n_span]
            scores = torch.sigmoid(scale * cosine + bias + prior[k, start])
            columns = (words.n_passage[start], words.place[start], k + 1, n_type, scores)
            for passage, place, n_words, of_type, score in zip(*(column.tolist() for column in columns), strict=True):
                if score > floor:
                    yield passage, Mention(place, place + n_words, types[of_type], score)

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
        states, _ = self._encode([list(chain.from_iterable(row.pieces)) for row in rows], bert)  # (n_all, width)
        n_pieces = torch.tensor([row.n_pieces for row in rows])
        is_of_word = torch.ones(len(states), dtype=torch.bool)
        is_of_word[n_pieces.cumsum(0) - n_pieces] = False  # [CLS]
        is_of_word[n_pieces.cumsum(0) - 1] = False  # [SEP]
        n_pieces_of_words = torch.tensor([len(word) for row in rows for word in row.pieces])
        return F.embedding_bag(
            is_of_word.nonzero().squeeze(1).to(states.device),
            states,
            (n_pieces_of_words.cumsum(0) - n_pieces_of_words).to(states.device),
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
            states, n_pieces = self._encode([ids[n] for n in part], bert)  # (n_all, width), (n_part,)
            places = torch.arange(len(states), device=states.device)
            pooled[part] = F.embedding_bag(places, states, n_pieces.cumsum(0) - n_pieces, mode="mean")
        pooled = F.normalize(pooled, dim=1) * pooled.shape[1] ** 0.5  # (n_types, width)
        return F.normalize(pooled + self.type_residual(F.gelu(self.type_hidden(pooled))), dim=1)

    def _encode(self, ids: Sequence[Sequence[int]], bert: Bert) -> tuple[Tensor, Tensor]:
        """Encode texts in pieces, with the special pieces around them.

        RETURNS: the states of all pieces, one text after the other, and the number of each text's. Shapes:
            (n_all, width), float32, and (n_texts,), int64.
        """
        device = self.offsets.device
        flat = [piece for of_one in ids for piece in (self.pieces.first, *of_one, self.pieces.last)]
        n_pieces = torch.tensor([len(of_one) + 2 for of_one in ids], device=device)
        return bert(torch.tensor(flat, device=device), n_pieces).float(), n_pieces

    def _see_spans(self, words: Words, states: Tensor, heads: EncoderStudent | Fast) -> tuple[Tensor, Tensor]:
        """Look at the bounds of all spans: of one word, of two words, …

        Span (k, i) is `words[i : i + k + 1]`, also where that is none; `Words.are_spans` tells which are.

        states: the states of the words. Shape: (n_words, width), float32.
        heads: this student while training; what it has prepared to be fast when it predicts.
        RETURNS: the hidden states of spans, and the prior logit that a span is a mention of anything. Shapes:
            (n_widths, n_words, n_hidden), in the precision of `heads`, and (n_widths, n_words), float32.
        """
        n_words = len(states)
        n_widths = min(self.size.max_span_words, n_words)
        own, before, after, own_last = heads.shapes.chunk(4)  # each (n_shapes, n_hidden)
        starts = in_steps(heads.span_start, states) + own[words.shape] + before[words.shape_before]
        ends = in_steps(heads.span_end, states) + own_last[words.shape] + after[words.shape_after]
        ends = F.pad(ends, (0, 0, 0, n_widths - 1)).unfold(0, n_widths, 1).permute(2, 0, 1)  # (n_widths, n_words, …)
        hidden = F.gelu(starts + ends + heads.widths[:n_widths, None])  # (n_widths, n_words, n_hidden)
        prior = in_steps(heads.span_prior, hidden.flatten(0, 1)).float()
        return hidden, prior.view(n_widths, n_words)

    @property
    def shapes(self) -> Tensor:
        """What the shapes of a span's words and its neighbours add. Shape: (4 * n_shapes, n_hidden)."""
        return HEAD_GAIN * self.span_shapes.weight

    @property
    def widths(self) -> Tensor:
        """What the number of a span's words adds. Shape: (max_span_words, n_hidden)."""
        return HEAD_GAIN * self.span_words.weight

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
            self._fast_parts = []
            self._type_vectors = {}
            self._asked = ((), torch.empty(0))

    def _fast(self) -> Fast:
        """Give what prediction needs of the weights, in the precision of the forward pass."""
        if not self._fast_parts:
            shared = {id(table): table for table in (self.bert.words, self.bert.positions, self.bert.segments)}
            bert = copy.deepcopy(self.bert, shared).eval()
            for module in bert.modules():
                if isinstance(module, nn.Linear):
                    module.to(self.dtype)
            self._fast_parts = [
                Fast(
                    bert,
                    span_start=self.span_start.fold(self.dtype),
                    span_end=self.span_end.fold(self.dtype),
                    span_residual=self.span_residual.fold(self.dtype),
                    span_prior=self.span_prior.fold(self.dtype),
                    shapes=self.shapes.to(self.dtype),
                    widths=self.widths.to(self.dtype),
                )
            ]
        return self._fast_parts[0]

    def _remembered(self, types: tuple[str, ...]) -> Tensor:
        """Give the vectors of types, encoding only those not met before. Shape: (n_types, width), float32."""
        asked, vectors = self._asked
        if asked == types:
            return vectors
        known = self._type_vectors
        new = [type_ for type_ in types if type_ not in known]
        if len(known) + len(new) > MAX_REMEMBERED_TYPES:
            known, new = {}, list(types)
        known = known | dict(zip(new, self._encode_types(new, self._fast().bert), strict=True)) if new else known
        vectors = torch.stack([known[type_] for type_ in types])
        self._type_vectors = known
        self._asked = (types, vectors)
        return vectors
