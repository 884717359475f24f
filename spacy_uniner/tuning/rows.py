"""Conversations in pieces: what is read and what is learned, row by row and in batches."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from ..conversation import System, Turn, write_turns
from ..recipe.conversations import Conversation
from .settings import Learned, Tuning

logger = logging.getLogger(__name__)

IGNORED = -100  # what the loss leaves out


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation in pieces.

    ids: its pieces.
    labels: the same, and `IGNORED` where nothing is learned.
    n_lost: queries that did not fit.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    n_lost: int = 0


def encode_turns(
    turns: Sequence[Turn],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_pieces: int,
    system: System = "text",
    learned: Learned = "answers",
) -> Row:
    """Write a conversation in pieces, as its prompts are written: in one string.

    An answer is learned from behind `ASSISTANT:` to its `</s>`, both white space and stop included, so that what is
    learned is what a model has to write behind a prompt. Queries are left out from the end until the rest fits.
    """
    header = len(write_turns((), system))
    ends = [header]
    for turn in turns:
        ends.append(ends[-1] + len(write_turns((turn,), system)) - header)
    encoding = tokenizer(write_turns(turns, system), return_offsets_mapping=True)
    ids: list[int] = encoding["input_ids"]
    offsets: list[tuple[int, int]] = encoding["offset_mapping"]
    labels = [IGNORED] * len(ids)
    fits, n_fit = 0, 0
    first = 1 if learned == "released" or len(turns) == 2 else 3
    for place in range(1, len(turns), 2):
        start, end = ends[place] + len("ASSISTANT:"), ends[place + 1]
        pieces = [n for n, (low, high) in enumerate(offsets) if high > start and high <= end and high > low]
        if pieces[-1] >= max_pieces:
            break
        fits, n_fit = pieces[-1] + 1, place + 1
        if place >= first:
            labels[pieces[0] : pieces[-1] + 1] = ids[pieces[0] : pieces[-1] + 1]
    return Row(tuple(ids[:fits]), tuple(labels[:fits]), (len(turns) - n_fit) // 2)


class ConversationRows(Dataset[dict[str, list[int]]]):
    """Conversations in pieces, they and their queries in a new order each epoch.

    An epoch is of whole batches: the conversations left over, other ones each epoch, are not in it. (After a kill,
    transformers 4.53 would lose the step of a last batch that is not whole.) If there is no whole batch, some
    conversations come more than once.

    A conversation of which not even the first answer fits is left out; how many, and how many queries, is reported.

    shuffled: whether the orders change; if not, all conversations are there. The text always stays first.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        tokenizer: PreTrainedTokenizerBase,
        tuning: Tuning,
        *,
        shuffled: bool = True,
    ) -> None:
        self.epoch = 0
        self._order: tuple[int, list[int]] = (-1, [])  # of an epoch, and which it is
        self._tokenizer = tokenizer
        self._tuning = tuning
        self._shuffled = shuffled
        self._conversations = []
        n_lost = 0
        for conversation in conversations:
            row = self._encode(conversation.turns)
            n_lost += row.n_lost
            if any(label != IGNORED for label in row.labels):
                self._conversations.append(conversation)
        n_left_out = len(conversations) - len(self._conversations)
        if n_lost:
            logger.warning(
                "%d queries of %d conversations do not fit into %d pieces; %d conversations are left out altogether.",
                n_lost,
                len(conversations),
                tuning.max_pieces,
                n_left_out,
            )
        if not self._conversations:
            raise ValueError(
                f"None of {len(conversations)} conversations fits into {tuning.max_pieces} pieces. Allow more pieces, "
                "or cut the texts shorter."
            )

    def __len__(self) -> int:
        n_all, n_batch = len(self._conversations), self._tuning.batch_size
        return max(1, n_all // n_batch) * n_batch if self._shuffled else n_all

    def __getitem__(self, place: int) -> dict[str, list[int]]:
        """Give a conversation in pieces, its queries in the order of this epoch."""
        row = self._encode(self.turns_of(place))
        return {"input_ids": list(row.ids), "labels": list(row.labels)}

    def turns_of(self, place: int) -> tuple[Turn, ...]:
        """Give the turns of a conversation in the order of this epoch; it hangs on seed, epoch and place alone."""
        if not self._shuffled:
            return self._conversations[place].turns
        if self._order[0] != self.epoch:
            rng = random.Random(f"{self._tuning.seed} {self.epoch}")
            self._order = self.epoch, rng.sample(range(len(self._conversations)), len(self._conversations))
        turns = self._conversations[self._order[1][place % len(self._conversations)]].turns
        pairs = [turns[n : n + 2] for n in range(2, len(turns), 2)]
        random.Random(f"{self._tuning.seed} {self.epoch} {place}").shuffle(pairs)
        return (*turns[:2], *(turn for pair in pairs for turn in pair))

    def _encode(self, turns: Sequence[Turn]) -> Row:
        tuning = self._tuning
        return encode_turns(
            turns, self._tokenizer, max_pieces=tuning.max_pieces, system=tuning.system, learned=tuning.learned
        )


def pad_rows(rows: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Put rows under each other, padded at the end to the longest.

    RETURNS: "input_ids", "labels" and "attention_mask", each (n_rows, n_pieces), int64.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    batch: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "attention_mask": []}
    for row in rows:
        n_pieces, n_missing = len(row["input_ids"]), longest - len(row["input_ids"])
        batch["input_ids"].append(row["input_ids"] + [0] * n_missing)
        batch["labels"].append(row["labels"] + [IGNORED] * n_missing)
        batch["attention_mask"].append([1] * n_pieces + [0] * n_missing)
    return {name: torch.tensor(values) for name, values in batch.items()}


def pack_rows(rows: Sequence[dict[str, list[int]]], dtype: torch.dtype, *, masked: bool) -> dict[str, Tensor]:
    """Put rows behind each other into one, so that none sees another.

    dtype: of the mask, that of the model's computation.
    masked: with a mask; without one the attention must tell the rows by their positions, as flash attention does.
    RETURNS: "input_ids", "labels" and "position_ids", which begin again with each row: (1, n_pieces), int64; and
        "attention_mask", 0 where a piece is seen and the lowest number elsewhere: (1, 1, n_pieces, n_pieces).
    """
    sizes = [len(row["input_ids"]) for row in rows]
    batch = {name: torch.tensor([[n for row in rows for n in row[name]]]) for name in ("input_ids", "labels")}
    batch["position_ids"] = torch.cat([torch.arange(size) for size in sizes])[None]
    if masked:
        owner = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(sizes))
        seen = (owner[:, None] == owner).tril()  # (n_pieces, n_pieces)
        mask = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype).masked_fill(seen, 0.0)
        batch["attention_mask"] = mask[None, None]
    return batch
