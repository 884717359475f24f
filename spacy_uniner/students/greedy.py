"""Greedy answers to many queries about a text: what their prompts have in common is read once.

SOURCE: our choice. Prompts are tokenized whole and compared as tokens, so it does not matter how a tokenizer treats
    the place where a query begins: what is computed is what every prompt by itself would give.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..conversation import STOP, parse_reply
from .answers import QUOTE, Answer

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
    """One answer in the making; a step is what the model said at one token.

    n_part, n_type: whose answer it is.
    rest: what is left of its prompt.
    """

    n_part: int
    n_type: int
    rest: tuple[int, ...]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    closes: list[float] = field(default_factory=list)
    is_done: bool = False


class GreedyDecoder:
    """Answers prompts token by token, always with the likeliest.

    model: a causal language model of transformers.
    tokenizer: its tokenizer.
    max_new_tokens: where an answer is cut that does not end by itself.
    max_batch_tokens: how many tokens are held at once, padding included, which bounds the memory.
    max_tokens: the longest prompt and answer together, and the widest batch, in tokens.
    """

    def __init__(self, model: Any, tokenizer: Any, max_new_tokens: int, max_batch_tokens: int, max_tokens: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.max_batch_tokens = max_batch_tokens
        self.max_tokens = max_tokens
        self.stops = find_stops(model, tokenizer)
        vocabulary = tokenizer.get_vocab()
        self._may_end = {n for token, n in vocabulary.items() if "]" in token or STOP[-1] in token}
        quotes = sorted(n for token, n in vocabulary.items() if token.startswith(QUOTE))
        self._quotes = torch.tensor(quotes, device=model.device, dtype=torch.long)
        self._only_last = (
            {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
        )

    @torch.inference_mode()
    def answer(self, prompts: Sequence[Prompts]) -> list[list[Answer]]:
        """Answer all prompts.

        RETURNS: for each part, an answer for each of its prompts.
        RAISES: ValueError if the model computes what is no number.
        """
        answers: list[list[Answer]] = [[Answer("")] * len(part.rests) for part in prompts]
        for group in self._group(prompts):
            rows = [_Row(n_part, n_type, rest) for n_part in group for n_type, rest in enumerate(prompts[n_part].rests)]
            cache, mask = self._read_shared([prompts[n_part].shared for n_part in group])
            n_rows = max(1, self.max_batch_tokens // self._width([prompts[n_part] for n_part in group]))
            for at in range(0, len(rows), n_rows):
                chunk = rows[at : at + n_rows]
                of_part = torch.tensor([group.index(row.n_part) for row in chunk], device=mask.device)
                own = cache if len(rows) <= n_rows else copy.deepcopy(cache)
                own.batch_select_indices(of_part)
                self._extend(chunk, own, mask[of_part])
            for row in rows:
                answers[row.n_part][row.n_type] = self._to_answer(row)
        return answers

    def _width(self, prompts: Sequence[Prompts]) -> int:
        """Tokens that a row of a batch of these takes: shared, rest and answer, each padded by itself."""
        return max(len(part.shared) for part in prompts) + max(part.n_rest for part in prompts) + self.max_new_tokens

    def _group(self, prompts: Sequence[Prompts]) -> Iterator[list[int]]:
        """Put parts of similar length together as long as their rows fit the batch; a part with more is by itself."""
        group: list[int] = []
        for n_part in sorted(range(len(prompts)), key=lambda n: len(prompts[n].shared)):
            together = [prompts[n] for n in (*group, n_part)]
            width, n_rows = self._width(together), sum(len(part.rests) for part in together)
            if group and (width > self.max_tokens or width * n_rows > self.max_batch_tokens):
                yield group
                group = []
            group.append(n_part)
        if group:
            yield group

    def _read_shared(self, shared: Sequence[tuple[int, ...]]) -> tuple[Any, Tensor]:
        """Run the model over what prompts share.

        RETURNS: its key/value cache, and which of it counts. Shape: (n_parts, n_tokens), int64.
        """
        from transformers import DynamicCache

        ids, mask = self._pad(shared, on_left=False)
        cache = DynamicCache()
        self._run(ids, mask, cache)
        return cache, mask

    def _extend(self, rows: Sequence[_Row], cache: Any, mask: Tensor) -> None:
        """Write the answers of rows.

        Rests are padded on their left, so that all rows write next to each other; a row that is done leaves the batch.

        cache: of what each row shares with others; grows.
        mask: which of it counts. Shape: (n_rows, n_tokens), int64.
        """
        ids, rest_mask = self._pad([row.rest for row in rows], on_left=True)
        mask = torch.cat([mask, rest_mask], dim=1)
        active = list(rows)
        for _ in range(self.max_new_tokens):
            logits = self._run(ids, mask, cache)  # (n_active, n_vocabulary)
            chosen = logits.argmax(dim=1)  # (n_active,)
            logprobs = logits.log_softmax(dim=1)
            said = logprobs.gather(1, chosen[:, None])[:, 0]  # (n_active,)
            closes = logprobs[:, self._quotes].logsumexp(dim=1)  # (n_active,)
            if not bool(said.isfinite().all()):
                raise ValueError(
                    "The language model computes what is no finite number. Use another dtype than "
                    f"{self.model.dtype}, such as 'float32', or check its weights."
                )
            for row, *step in zip(active, chosen.tolist(), said.tolist(), closes.tolist(), strict=True):
                self._take(row, *step)
            keep = [n for n, row in enumerate(active) if not row.is_done]
            if not keep:
                return
            if len(keep) < len(active):
                kept = torch.tensor(keep, device=mask.device)
                cache.batch_select_indices(kept)
                mask, chosen = mask[kept], chosen[kept]
                active = [active[n] for n in keep]
            ids = chosen[:, None]
            mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)

    def _run(self, ids: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """Run the model over the last tokens of a batch; the cache takes them in.

        RETURNS: logits behind the last token of each row. Shape: (n_rows, n_vocabulary), float32.
        """
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            **self._only_last,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def _pad(self, rows: Sequence[tuple[int, ...]], on_left: bool) -> tuple[Tensor, Tensor]:
        """Pad token ids to one length. RETURNS: the ids and the mask, each (n_rows, n_tokens), int64."""
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for n, row in enumerate(rows):
            at = slice(width - len(row), width) if on_left else slice(0, len(row))
            ids[n, at] = torch.tensor(row, dtype=torch.long)
            mask[n, at] = 1
        return ids.to(self.model.device), mask.to(self.model.device)

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
