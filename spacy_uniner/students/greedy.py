"""Greedy answers to many queries about a text: what their prompts have in common is read once.

SOURCE: our choice. Prompts are tokenized whole and compared as tokens, so it does not matter how a tokenizer treats
    the place where a query begins: what is computed is what every prompt by itself would give.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ..conversation import STOP, parse_reply
from .answers import QUOTE, Answer

_EVERYBODY, _NOBODY = -1, -2  # whose a token is, if not a row's
_OPEN = ("empty", "no list", "cut off", "lines")  # what `parse_reply` says while a list is not closed


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of one part as tokens.

    shared: what all of them begin with, at least one token.
    rests: what is left of each, at least one token.
    """

    shared: tuple[int, ...]
    rests: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]]) -> Prompts:
        """Split prompts behind the longest run of tokens that they share."""
        n_most = min(map(len, prompts)) - 1
        n_shared = next((n for n, ids in enumerate(zip(*prompts)) if n == n_most or len(set(ids)) > 1), n_most)
        return cls(tuple(prompts[0][:n_shared]), tuple(tuple(prompt[n_shared:]) for prompt in prompts))

    @property
    def n_rest(self) -> int:
        """Tokens of the longest rest."""
        return max(map(len, self.rests))


@dataclass(slots=True)
class _Row:
    """One answer in the making.

    n_part, n_type: whose answer it is.
    rest: what is left of its prompt.
    n_shared: where the rest begins, in tokens.
    ids, logprobs, closes: what the model said at each token, as in `Answer`.
    """

    n_part: int
    n_type: int
    rest: tuple[int, ...]
    n_shared: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    closes: list[float] = field(default_factory=list)
    is_done: bool = False

    @property
    def fresh(self) -> tuple[int, ...]:
        """The tokens that the model has not read yet."""
        return (self.ids[-1],) if self.ids else self.rest

    @property
    def place(self) -> int:
        """Where the first of these stands, in tokens."""
        return self.n_shared + (len(self.rest) + len(self.ids) - 1 if self.ids else 0)


class GreedyDecoder:
    """Answers prompts token by token, always with the likeliest.

    All rows of a part stand one behind the other in one sequence, behind what they share, which is neither read nor
    held more than once. A mask lets a token see what is shared and its own row.

    model: a causal language model of transformers, with an attention that takes such masks.
    tokenizer: its tokenizer.
    max_new_tokens: where an answer is cut that does not end by itself.
    max_batch_tokens: how many tokens are held at once, padding included, which bounds the memory.
    """

    def __init__(self, model: Any, tokenizer: Any, max_new_tokens: int, max_batch_tokens: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.max_batch_tokens = max_batch_tokens
        self.stops = find_stops(model, tokenizer)
        vocabulary = tokenizer.get_vocab()
        self._may_end = {n for token, n in vocabulary.items() if "]" in token or STOP[-1] in token}
        quotes = sorted(n for token, n in vocabulary.items() if token.startswith(QUOTE))
        self._quotes = torch.tensor(quotes, device=model.device, dtype=torch.long)
        self._keeps_some = "logits_to_keep" in inspect.signature(model.forward).parameters

    @torch.inference_mode()
    def answer(self, prompts: Sequence[Prompts]) -> list[list[Answer]]:
        """Answer all prompts.

        RETURNS: for each part, an answer for each of its prompts.
        RAISES: ValueError if the model computes what is no number.
        """
        answers: list[list[Answer]] = [[Answer("")] * len(part.rests) for part in prompts]
        for group in self._group(prompts):
            cache, owners = self._read_shared([prompts[n_part].shared for n_part in group])
            rows = [
                [_Row(n_part, n_type, rest, len(prompts[n_part].shared)) for n_type, rest in enumerate(part.rests)]
                for n_part, part in ((n_part, prompts[n_part]) for n_part in group)
            ]
            n_rows = self._count_rows(prompts[group[0]]) if len(group) == 1 else max(map(len, rows))
            for at in range(0, max(map(len, rows)), n_rows):
                is_last = at + n_rows >= max(map(len, rows))
                own = cache if is_last else copy.deepcopy(cache)
                self._extend([of_part[at : at + n_rows] for of_part in rows], own, owners)
            for row in (row for of_part in rows for row in of_part):
                answers[row.n_part][row.n_type] = self._to_answer(row)
        return answers

    def _count_rows(self, part: Prompts) -> int:
        """Count how many rows of a part fit a batch; at least one."""
        return max(1, (self.max_batch_tokens - len(part.shared)) // (part.n_rest + self.max_new_tokens))

    def _group(self, prompts: Sequence[Prompts]) -> Iterator[list[int]]:
        """Put parts of similar length together as long as they fit a batch; a part that does not is by itself."""
        group: list[int] = []
        for n_part in sorted(range(len(prompts)), key=lambda n: len(prompts[n].shared)):
            if group and self._size([prompts[n] for n in (*group, n_part)]) > self.max_batch_tokens:
                yield group
                group = []
            group.append(n_part)
        if group:
            yield group

    def _size(self, parts: Sequence[Prompts]) -> int:
        """Count the tokens that a batch of these takes at most, padding included."""
        n_asked = max(sum(map(len, part.rests)) for part in parts)
        n_answered = max(len(part.rests) for part in parts) * self.max_new_tokens
        return len(parts) * (max(len(part.shared) for part in parts) + n_asked + n_answered)

    def _read_shared(self, shared: Sequence[tuple[int, ...]]) -> tuple[Any, Tensor]:
        """Run the model over what prompts share.

        RETURNS: its key/value cache, and whose each token is: everybody's or nobody's. Shape: (n_parts, n_tokens).
        """
        from transformers import DynamicCache

        ids = _pad(shared, 0)
        mask = _pad([[1] * len(of_part) for of_part in shared], 0)
        cache = DynamicCache()
        device = self.model.device
        self.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=(mask.cumsum(dim=1) - 1).to(device),
            past_key_values=cache,
            use_cache=True,
            **({"logits_to_keep": 1} if self._keeps_some else {}),
        )
        return cache, torch.where(mask == 1, _EVERYBODY, _NOBODY)

    def _extend(self, rows: Sequence[Sequence[_Row]], cache: Any, owners: Tensor) -> None:
        """Write the answers of rows; a row that is done is given no more tokens, a part that is done leaves the batch.

        rows: those of each part.
        cache: of what each part shares; grows.
        owners: whose each token in it is. Shape: (n_parts, n_tokens), int64.
        """
        active = [list(of_part) for of_part in rows]
        for _ in range(self.max_new_tokens):
            keep = [n for n, of_part in enumerate(active) if of_part]
            if not keep:
                return
            if len(keep) < len(active):
                cache.batch_select_indices(torch.tensor(keep, device=self.model.device))
                owners, active = owners[keep], [active[n] for n in keep]
            logits, owners = self._run(active, cache, owners)  # (n_rows, n_vocabulary), (n_parts, n_tokens)
            chosen = logits.argmax(dim=1)  # (n_rows,)
            logprobs = logits.log_softmax(dim=1)
            said = logprobs.gather(1, chosen[:, None])[:, 0]  # (n_rows,)
            closes = logprobs[:, self._quotes].logsumexp(dim=1)  # (n_rows,)
            if not bool(said.isfinite().all()):
                raise ValueError(
                    "The language model computes what is no finite number. Use another dtype than "
                    f"{self.model.dtype}, such as 'float32', or check its weights."
                )
            in_order = [row for of_part in active for row in of_part]
            for row, *step in zip(in_order, chosen.tolist(), said.tolist(), closes.tolist(), strict=True):
                self._take(row, *step)
            active = [[row for row in of_part if not row.is_done] for of_part in active]

    def _run(self, rows: Sequence[Sequence[_Row]], cache: Any, owners: Tensor) -> tuple[Tensor, Tensor]:
        """Run the model over the tokens of rows that it has not read yet; the cache takes them in.

        RETURNS: logits behind the last token of each row, float32, shape: (n_rows, n_vocabulary); and whose each token
            is now, int64, shape: (n_parts, n_tokens).
        """
        n_before = owners.shape[1]
        ids = _pad([[token for row in of_part for token in row.fresh] for of_part in rows], 0)  # (n_parts, n_new)
        places = _pad([[row.place + n for row in of_part for n in range(len(row.fresh))] for of_part in rows], 0)
        new = _pad([[row.n_type for row in of_part for _ in row.fresh] for of_part in rows], _NOBODY)
        owners = torch.cat([owners, new], dim=1)
        order = torch.arange(owners.shape[1])
        sees = (owners[:, None] == new[:, :, None]) & (order <= order[n_before:, None])  # (n_parts, n_new, n_tokens)
        sees |= owners[:, None] == _EVERYBODY
        device, dtype = self.model.device, self.model.dtype
        mask = torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, torch.finfo(dtype).min)[:, None]
        ends = [(n, end - 1) for n, of_part in enumerate(rows) for end in accumulate(len(row.fresh) for row in of_part)]
        kept = sorted({end for _, end in ends}) if self._keeps_some else list(range(ids.shape[1]))
        output = self.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=places.to(device),
            past_key_values=cache,
            use_cache=True,
            **({"logits_to_keep": torch.tensor(kept, device=device)} if self._keeps_some else {}),
        )
        index = {end: n for n, end in enumerate(kept)}
        logits: Tensor = output.logits[[n for n, _ in ends], [index[end] for _, end in ends]].float()
        return logits, owners

    def _take(self, row: _Row, chosen: int, logprob: float, close: float) -> None:
        """Take a token into a row, unless it is one that ends it."""
        row.is_done = chosen in self.stops
        if not row.is_done:
            row.ids.append(chosen)
            row.logprobs.append(logprob)
            row.closes.append(close)
            row.is_done = chosen in self._may_end and is_closed(self._decode(row.ids))

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text

    def _to_answer(self, row: _Row) -> Answer:
        text = self._decode(row.ids).partition(STOP)[0]
        prefixes = (self._decode(row.ids[:n]) for n in range(1, len(row.ids) + 1))
        ends = [min(len(prefix.rstrip("\ufffd")), len(text)) for prefix in prefixes]  # a sign may take several tokens
        for n in range(1, len(ends)):
            ends[n] = max(ends[n], ends[n - 1])
        return Answer(text, tuple(ends), tuple(row.logprobs), tuple(row.closes), not row.is_done)


def _pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Pad rows on their right to one length. RETURNS: shape (n_rows, n_longest), int64."""
    n_longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (n_longest - len(row))] for row in rows], dtype=torch.long)


def find_stops(model: Any, tokenizer: Any) -> frozenset[int]:
    """Find the tokens that end an answer: those that the tokenizer or the model names, and `</s>` if it is one."""
    stops: set[int] = set()
    for named in (tokenizer.eos_token_id, getattr(model.generation_config, "eos_token_id", None)):
        if named is not None:
            stops.update(named if isinstance(named, list) else [named])
    if STOP in tokenizer.get_vocab():
        stops.add(tokenizer.get_vocab()[STOP])
    return frozenset(stops)


def is_closed(text: str) -> bool:
    """Tell whether an answer has ended: its list is closed, or it says `</s>`, which to some tokenizers is no token."""
    return STOP in text or ("]" in text and parse_reply(text).problem not in _OPEN)
